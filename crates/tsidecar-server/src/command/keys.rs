//! `tsidecar keys`: the keys of the running daemon, without their private parts.

use hyper::Method;
use tsidecar_oauth::key::KeyState;
use tsidecar_oauth::rotation::KeyKind;
use tsidecar_oauth::time::{Lifetime, UnixTime};

use super::ask::{CommandError, Daemon};
use super::output::{Output, columns, plain};
use crate::config::spell;
use crate::endpoint::admin::shape::{KeysAnswer, KeysRequest, StatusAnswer};
use crate::keys::KeyInfo;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Show every key: its id, what it is for, its state and age, and what becomes of it when.
    List,
    /// Make new keys. They are published now and used in a day by default; those in use are retired then, and
    /// what they made stays valid. The daemon does this by itself.
    Rotate(Rotate),
}

/// Which keys.
#[derive(Debug, clap::Args)]
pub struct Rotate {
    /// Only the key for this.
    #[arg(long, value_name = "KIND", default_value = "all", value_parser = ["RS256", "ES256", "EdDSA", "sealing", "all"])]
    kind: String,
    /// Use the new key at once. Relying parties that keep the key set refuse new tokens until they fetch it again.
    #[arg(long)]
    now: bool,
    /// Somebody else may hold this key: it goes at once, with everything that it made, and another one takes its place.
    #[arg(long, value_name = "KEY_ID", conflicts_with_all = ["kind", "now"])]
    compromised: Option<String>,
}

/// Runs the command.
pub async fn run(daemon: &Daemon, command: KeysCommand) -> Result<Output, CommandError> {
    match command {
        KeysCommand::List => {
            let keys: Vec<KeyInfo> = daemon.get("/admin/keys").await?;
            Ok(Output::done(table(&keys, now(daemon).await?), &keys))
        }
        KeysCommand::Rotate(rotate) => {
            let kind = KeyKind::try_from(rotate.kind).ok();
            let (now_, compromised) = (rotate.now, rotate.compromised);
            let request = KeysRequest { kind, now: now_, compromised: compromised.clone() };
            let done: KeysAnswer = daemon.ask(Method::POST, "/admin/keys/rotate", Some(&request)).await?;
            let text = told(&done, &request, now(daemon).await?);
            Ok(Output::done(text, &done))
        }
    }
}

/// The time as the daemon reads it.
pub(super) async fn now(daemon: &Daemon) -> Result<UnixTime, CommandError> {
    let status: StatusAnswer = daemon.get("/admin/status").await?;
    Ok(UnixTime::from_secs(status.now))
}

/// What a rotation did, what follows from it, and the keys as they are.
fn told(done: &KeysAnswer, asked: &KeysRequest, now: UnixTime) -> String {
    let change = |change: &crate::keys::Change| {
        let key = done.keys.iter().find(|key| key.kid == change.kid);
        let when = key.and_then(|key| key.activates_at);
        let when = when.map(|at| format!(", published now and used in {}", wait(now.until(at))));
        format!("{} key {} was {}{}.", change.kind, change.kid, change.change, when.unwrap_or_default())
    };
    let mut lines: Vec<String> = done.changes.iter().map(change).collect();
    if let Some(id) = &asked.compromised {
        lines.push(lost(done, id));
    } else if done.changes.is_empty() {
        lines.push("Nothing to do: the next keys are published already.".to_owned());
    } else if asked.now && done.changes.iter().any(|change| change.kind != KeyKind::Sealing) {
        let text = "Relying parties that keep the key set refuse new tokens until they fetch it again: most do so at once, all within a day.";
        lines.push(text.to_owned());
    }
    format!("{}\n\n{}", lines.join("\n"), table(&done.keys, now))
}

/// What is void with a key that somebody else may hold.
fn lost(done: &KeysAnswer, id: &str) -> String {
    let sealing = done.changes.iter().any(|change| change.kid == id && change.kind == KeyKind::Sealing);
    let id = plain(id);
    if sealing {
        return format!("Codes, sessions, access tokens and refresh tokens that {id} made are void.");
    }
    format!(
        "The key set is without {id}. Relying parties that keep the old set go on believing what {id} signed, and refuse new \
         tokens, until they fetch it again: restart those that matter."
    )
}

fn table(keys: &[KeyInfo], now: UnixTime) -> String {
    let mut rows = vec![["KEY ID", "FOR", "STATE", "AGE", "THEN"].map(str::to_owned).to_vec()];
    rows.extend(keys.iter().map(|key| {
        let cells =
            [&key.kid, &key.kind, key.state.as_str(), &length(key.created_at.until(now)), &then(key, now)];
        cells.map(str::to_owned).to_vec()
    }));
    columns(&rows)
}

/// What becomes of a key, and when.
fn then(key: &KeyInfo, now: UnixTime) -> String {
    let (what, at) = match key.state {
        KeyState::Next => ("active", key.activates_at),
        KeyState::Active => ("retired", key.retires_at),
        KeyState::Retired => ("gone", key.gone_at),
    };
    match at {
        Some(at) if at.is_past(now) => format!("{what} now"),
        Some(at) => format!("{what} in {}", wait(now.until(at))),
        None => "stays until it is rotated".to_owned(),
    }
}

/// A time to wait: a started minute counts, so that a day that has just begun is a day.
pub(super) fn wait(wait: Lifetime) -> String {
    length(Lifetime::from_minutes(wait.as_secs().div_ceil(60)))
}

/// A length of time in its largest whole unit.
pub(super) fn length(length: Lifetime) -> String {
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| length.as_secs() >= *unit).unwrap_or(1);
    spell(Lifetime::from_secs(length.as_secs() / unit * unit))
}

#[cfg(test)]
mod tests {
    use crate::keys::Change;

    use super::*;

    #[test]
    fn lengths_are_told_in_their_largest_unit() {
        for (seconds, text) in [(5, "5s"), (119, "1m"), (7_300, "2h"), (90_000, "1d"), (8_640_001, "100d")] {
            assert_eq!(length(Lifetime::from_secs(seconds)), text);
        }
        assert_eq!(wait(Lifetime::from_secs(86_399)), "1d");
    }

    fn key(kid: &str, state: KeyState) -> KeyInfo {
        KeyInfo {
            kid: kid.into(),
            kind: "RS256".into(),
            state,
            created_at: UnixTime::from_secs(0),
            activates_at: None,
            activated_at: None,
            retires_at: None,
            retired_at: None,
            gone_at: None,
        }
    }

    fn changed(changes: &[(&str, &str, KeyKind)]) -> Vec<Change> {
        let change = |(change, kid, kind): &(&str, &str, KeyKind)| Change {
            change: (*change).into(),
            kid: (*kid).into(),
            kind: *kind,
        };
        changes.iter().map(change).collect()
    }

    #[test]
    fn what_a_rotation_did_is_told() {
        let at = |seconds| Some(UnixTime::from_secs(seconds));
        let keys = vec![
            KeyInfo { retires_at: at(90_000), ..key("k1", KeyState::Active) },
            KeyInfo { activates_at: at(90_000), ..key("k2", KeyState::Next) },
            KeyInfo { gone_at: at(300), ..key("k0", KeyState::Retired) },
            KeyInfo { kind: "sealing".into(), ..key("00c0ffee", KeyState::Active) },
        ];
        let rs256 = KeyKind::ALL[0];
        let told = |changes: &[(&str, &str, KeyKind)], asked: KeysRequest| {
            told(
                &KeysAnswer { changes: changed(changes), keys: keys.clone() },
                &asked,
                UnixTime::from_secs(3_600),
            )
        };
        let in_time = told(&[("made", "k2", rs256)], KeysRequest::default());
        insta::assert_snapshot!(in_time, @"
        RS256 key k2 was made, published now and used in 1d.

        KEY ID    FOR      STATE    AGE  THEN
        k1        RS256    active   1h   retired in 1d
        k2        RS256    next     1h   active in 1d
        k0        RS256    retired  1h   gone now
        00c0ffee  sealing  active   1h   stays until it is rotated
        ");
        let short = |text: String| text.split("\n\n").next().unwrap_or_default().to_owned();
        let compromised = |id: &str| KeysRequest { compromised: Some(id.into()), ..KeysRequest::default() };
        let more = [
            short(told(&[], KeysRequest::default())),
            short(told(
                &[("activated", "k1", rs256), ("retired", "k0", rs256)],
                KeysRequest { now: true, ..KeysRequest::default() },
            )),
            short(told(&[("activated", "k1", rs256), ("removed", "kX", rs256)], compromised("kX"))),
            short(told(
                &[("made", "00c0ffee", KeyKind::Sealing), ("removed", "beef", KeyKind::Sealing)],
                compromised("beef"),
            )),
        ];
        insta::assert_snapshot!(more.join("\n--\n"), @"
        Nothing to do: the next keys are published already.
        --
        RS256 key k1 was activated.
        RS256 key k0 was retired.
        Relying parties that keep the key set refuse new tokens until they fetch it again: most do so at once, all within a day.
        --
        RS256 key k1 was activated.
        RS256 key kX was removed.
        The key set is without kX. Relying parties that keep the old set go on believing what kX signed, and refuse new tokens, until they fetch it again: restart those that matter.
        --
        sealing key 00c0ffee was made.
        sealing key beef was removed.
        Codes, sessions, access tokens and refresh tokens that beef made are void.
        ");
    }
}
