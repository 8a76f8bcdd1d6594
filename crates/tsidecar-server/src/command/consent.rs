//! `tsidecar consent`: what people have allowed applications that nobody has checked, at the running daemon.

use hyper::Method;
use serde::Serialize;
use tsidecar_oauth::time::UnixTime;

use super::ask::{CommandError, Daemon};
use super::exit::Exit;
use super::keys::{length, now};
use super::output::{Output, columns, count};
use crate::endpoint::admin::shape::{ConsentAnswer, ConsentKey, ConsentsAnswer, WithdrawAnswer};

/// What to do with consents.
#[derive(Debug, clap::Subcommand)]
pub enum ConsentCommand {
    /// Show what people have allowed applications that registered themselves, or that have a document on the web.
    List(Filter),
    /// Take back what a person, or everybody, has allowed an application, and end what it got by that.
    Revoke(Revoke),
}

/// Which consents: those for which everything that is given holds.
#[derive(Debug, Default, clap::Args)]
pub struct Filter {
    /// Only those of this person, by subject, as in `userid:1001`.
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// Only those to this client.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
}

/// What to take back.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Revoke {
    /// What this person has allowed, by subject, as in `userid:1001`.
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// What this client was allowed.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
}

/// One consent that was taken back.
#[derive(Debug, Serialize)]
struct Done {
    #[serde(flatten)]
    key: ConsentKey,
    #[serde(flatten)]
    answer: WithdrawAnswer,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    consents: Vec<Done>,
}

/// Runs the command.
pub async fn run(daemon: &Daemon, command: ConsentCommand) -> Result<Output, CommandError> {
    match command {
        ConsentCommand::List(filter) => {
            let found = ConsentsAnswer { consents: matching(daemon, &filter).await?, next: None };
            Ok(Output::done(table(&found.consents, now(daemon).await?), &found))
        }
        ConsentCommand::Revoke(Revoke { user, client }) => {
            // Both named: also where nothing is remembered any more, but a grant may live.
            let keys = if let (Some(subject), Some(client)) = (&user, &client) {
                vec![ConsentKey { subject: subject.clone(), client_id: client.clone() }]
            } else {
                let found = matching(daemon, &Filter { user, client }).await?;
                let key = |ConsentAnswer { subject, client_id, .. }| ConsentKey { subject, client_id };
                found.into_iter().map(key).collect()
            };
            let mut outcome = Outcome::default();
            for key in keys {
                let answer: WithdrawAnswer =
                    daemon.ask(Method::POST, "/admin/consents/revoke", Some(&key)).await?;
                outcome.consents.push(Done { key, answer });
            }
            Ok(told(&outcome))
        }
    }
}

/// All consents that a filter names, page by page.
async fn matching(daemon: &Daemon, filter: &Filter) -> Result<Vec<ConsentAnswer>, CommandError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page: ConsentsAnswer = daemon.get(&path(filter, after.as_ref())).await?;
        found.extend(page.consents);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

fn path(filter: &Filter, after: Option<&ConsentKey>) -> String {
    let pairs = [
        ("user", filter.user.as_deref()),
        ("client", filter.client.as_deref()),
        ("after_user", after.map(|key| key.subject.as_str())),
        ("after_client", after.map(|key| key.client_id.as_str())),
    ];
    let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    format!("/admin/consents?{query}")
}

fn told(outcome: &Outcome) -> Output {
    let withdrawn = outcome.consents.iter().filter(|done| done.answer.withdrawn).count();
    let ended: usize = outcome.consents.iter().map(|done| done.answer.ended_grants).sum();
    let verb = |number: usize| if number == 1 { "is" } else { "are" };
    let text = format!(
        "{} {} withdrawn, {} {} ended.",
        count(withdrawn, "consent"),
        verb(withdrawn),
        count(ended, "grant"),
        verb(ended)
    );
    let output = Output::done(text, outcome);
    Output { exit: if withdrawn + ended > 0 { Exit::Ok } else { Exit::Failed }, ..output }
}

fn table(found: &[ConsentAnswer], now: UnixTime) -> String {
    if found.is_empty() {
        return "There is no such consent.".to_owned();
    }
    let mut rows =
        vec![["USER", "CLIENT", "RETURNS TO", "GIVEN", "RESOURCES", "SCOPE"].map(str::to_owned).to_vec()];
    for consent in found {
        rows.extend(consent.allowed.iter().map(|allowed| {
            let place = match &allowed.device {
                Some(device) => format!("{} on {device}", allowed.redirect_host),
                None => allowed.redirect_host.clone(),
            };
            let given = format!("{} ago", length(allowed.at.until(now)));
            let resources =
                if allowed.resources.is_empty() { "-".to_owned() } else { allowed.resources.join(" ") };
            let (subject, client) = (consent.subject.clone(), consent.client_id.clone());
            vec![subject, client, place, given, resources, allowed.scope.clone()]
        }));
    }
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_a_query() {
        let filter = Filter { user: Some("userid:5".into()), client: Some("https://a.test/c?x&y".into()) };
        assert_eq!(
            path(&filter, None),
            "/admin/consents?user=userid%3A5&client=https%3A%2F%2Fa.test%2Fc%3Fx%26y"
        );
        let after = ConsentKey { subject: "userid:5".into(), client_id: "a b".into() };
        let none = path(&Filter::default(), Some(&after));
        assert_eq!(none, "/admin/consents?after_user=userid%3A5&after_client=a+b");
    }

    #[test]
    fn nothing_withdrawn_is_no_success() {
        let done = |withdrawn, ended_grants| {
            let key = ConsentKey { subject: "userid:5".into(), client_id: "app".into() };
            told(&Outcome {
                consents: vec![Done { key, answer: WithdrawAnswer { withdrawn, ended_grants } }],
            })
        };
        assert_eq!(done(true, 2).text, "1 consent is withdrawn, 2 grants are ended.");
        assert_eq!(
            [done(true, 0).exit, done(false, 1).exit, done(false, 0).exit],
            [Exit::Ok, Exit::Ok, Exit::Failed]
        );
        assert_eq!(told(&Outcome::default()).exit, Exit::Failed);
    }
}
