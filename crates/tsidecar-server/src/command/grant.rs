//! `tsidecar grant`: what was granted to whom, at the running daemon.

use hyper::Method;
use serde::Serialize;
use tsidecar_oauth::time::UnixTime;

use super::ask::{CommandError, Daemon, segment};
use super::exit::Exit;
use super::keys::{length, now, wait};
use super::output::{Output, columns, count, plain};
use crate::endpoint::admin::shape::{GrantAnswer, GrantsAnswer, HolderName, RevokeAnswer};

/// What to do with grants.
#[derive(Debug, clap::Subcommand)]
pub enum GrantCommand {
    /// Show grants: to which client, by whom, on which device, and what becomes of each.
    List(Filter),
    /// End grants at once, for good: their codes, access tokens and refresh tokens are void.
    Revoke(Revoke),
}

/// Which grants: those for which everything that is given holds.
#[derive(Debug, Default, clap::Args)]
pub struct Filter {
    /// Only those of this person, by subject, as in `userid:1001`.
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// Only those of this client.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Only those from this device, by its stable id.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
}

/// What to end.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The ids of grants; after `--` when one begins with a dash.
    #[arg(
        value_name = "GRANT_ID",
        required_unless_present_any = ["user", "client", "device"],
        conflicts_with_all = ["user", "client", "device"]
    )]
    ids: Vec<String>,
    #[command(flatten)]
    filter: Filter,
}

/// What came of a revocation, by grant id.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    /// Live until now.
    revoked: Vec<String>,
    /// Revoked before.
    already: Vec<String>,
    /// Asked for, and not there.
    unknown: Vec<String>,
    /// Damaged: it cannot be told whether they were asked for.
    unreadable: Vec<String>,
}

/// Runs the command.
pub async fn run(daemon: &Daemon, command: GrantCommand) -> Result<Output, CommandError> {
    match command {
        GrantCommand::List(filter) => {
            let found = matching(daemon, &filter).await?;
            Ok(Output::done(table(&found, now(daemon).await?), &found))
        }
        GrantCommand::Revoke(asked) if asked.ids.is_empty() => {
            let found = matching(daemon, &asked.filter).await?;
            let live = found.grants.into_iter().filter(|grant| !grant.revoked).map(|grant| grant.id);
            let done = revoke(daemon, live).await?;
            // What was swept meanwhile was not asked for by its id.
            Ok(told(&Outcome { unknown: Vec::new(), unreadable: found.unreadable, ..done }))
        }
        GrantCommand::Revoke(asked) => Ok(told(&revoke(daemon, asked.ids.into_iter()).await?)),
    }
}

/// All grants that a filter names, page by page.
async fn matching(daemon: &Daemon, filter: &Filter) -> Result<GrantsAnswer, CommandError> {
    let (mut found, mut after) = (GrantsAnswer::default(), None);
    loop {
        let page: GrantsAnswer = daemon.get(&path(filter, after.as_deref())).await?;
        found.grants.extend(page.grants);
        found.unreadable.extend(page.unreadable);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

fn path(filter: &Filter, after: Option<&str>) -> String {
    let pairs = [
        ("user", filter.user.as_deref()),
        ("client", filter.client.as_deref()),
        ("device", filter.device.as_deref()),
        ("after", after),
    ];
    let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/admin/grants?{query}")
}

async fn revoke(daemon: &Daemon, ids: impl Iterator<Item = String>) -> Result<Outcome, CommandError> {
    let mut done = Outcome::default();
    for id in ids {
        let path = format!("/admin/grants/{}/revoke", segment(&id));
        match daemon.ask::<RevokeAnswer>(Method::POST, &path, None::<&()>).await {
            Ok(answer) if answer.revoked => done.revoked.push(id),
            Ok(_) => done.already.push(id),
            Err(CommandError::Refused(refusal)) if refusal.error == "not_found" => done.unknown.push(id),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn told(done: &Outcome) -> Output {
    let verb = |number: usize| if number == 1 { "is" } else { "are" };
    let number = done.revoked.len();
    let mut lines = vec![format!("{} {} revoked.", count(number, "grant"), verb(number))];
    if !done.already.is_empty() {
        let number = done.already.len();
        lines.push(format!("{} {} revoked already.", count(number, "grant"), verb(number)));
    }
    lines.extend(done.unknown.iter().map(|id| format!("There is no grant \"{}\".", plain(id))));
    lines.extend(damaged(&done.unreadable));
    let output = Output::done(lines.join("\n"), done);
    let is_all = done.unknown.is_empty() && done.unreadable.is_empty();
    Output { exit: if is_all { Exit::Ok } else { Exit::Failed }, ..output }
}

fn damaged(unreadable: &[String]) -> Option<String> {
    let what = count(unreadable.len(), "record");
    let text = "cannot be read: nobody can tell whose grants these are, and they cannot be used:";
    (!unreadable.is_empty()).then(|| format!("{what} {text} {}", unreadable.join(" ")))
}

fn table(found: &GrantsAnswer, now: UnixTime) -> String {
    let mut rows =
        vec![["GRANT ID", "CLIENT", "USER", "DEVICE", "USED", "THEN", "SCOPE"].map(str::to_owned).to_vec()];
    rows.extend(found.grants.iter().map(|grant| {
        let used = format!("{} ago", length(grant.last_used.until(now)));
        let device = match grant.holder {
            HolderName::Person | HolderName::Workload => grant.device.clone(),
            HolderName::Client => "(itself)".to_owned(),
        };
        let cells =
            [&grant.id, &grant.client_id, &grant.subject, &device, &used, &then(grant, now), &grant.scope];
        cells.map(String::clone).to_vec()
    }));
    let grants = if found.grants.is_empty() { "There is no such grant.".to_owned() } else { columns(&rows) };
    [Some(grants), damaged(&found.unreadable)].into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

fn then(grant: &GrantAnswer, now: UnixTime) -> String {
    match grant.ends_at {
        _ if grant.revoked => "revoked".to_owned(),
        end if end.is_past(now) => "ended".to_owned(),
        end => format!("ends in {}", wait(now.until(end))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_a_query() {
        let filter = Filter { user: Some("userid:5".into()), client: Some("a&b c".into()), device: None };
        assert_eq!(path(&filter, Some("AA")), "/admin/grants?user=userid%3A5&client=a%26b+c&after=AA");
        let none = Filter { device: Some(String::new()), ..Filter::default() };
        assert_eq!(path(&none, None), "/admin/grants?device=");
    }

    #[test]
    fn what_is_not_certain_is_no_success() {
        let ids = |count: usize| vec!["A".to_owned(); count];
        let done = Outcome { revoked: ids(2), already: ids(1), ..Outcome::default() };
        let output = told(&done);
        assert_eq!(
            (output.text.as_str(), output.exit),
            ("2 grants are revoked.\n1 grant is revoked already.", Exit::Ok)
        );
        assert_eq!(told(&Outcome { unknown: ids(1), ..Outcome::default() }).exit, Exit::Failed);
        let output = told(&Outcome { unreadable: ids(1), ..done });
        assert!(output.exit == Exit::Failed && output.text.contains("1 record cannot be read"));
    }
}
