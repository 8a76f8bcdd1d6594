//! `tsidecar keys`: the keys of the running daemon, without their private parts.

use super::ask::{CommandError, Daemon};
use super::output::{Output, columns};
use crate::config::spell;
use crate::endpoint::admin::shape::StatusAnswer;
use crate::keys::KeyInfo;
use tsidecar_oauth::time::{Lifetime, UnixTime};

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Show every key: its id, what it is for, its state and its age.
    List,
}

/// Runs the command.
pub async fn run(daemon: &Daemon, command: KeysCommand) -> Result<Output, CommandError> {
    match command {
        KeysCommand::List => {
            let keys: Vec<KeyInfo> = daemon.get("/admin/keys").await?;
            let status: StatusAnswer = daemon.get("/admin/status").await?;
            Ok(Output::done(table(&keys, UnixTime::from_secs(status.now)), &keys))
        }
    }
}

fn table(keys: &[KeyInfo], now: UnixTime) -> String {
    let mut rows = vec![["KEY ID", "FOR", "STATE", "AGE"].map(str::to_owned).to_vec()];
    rows.extend(keys.iter().map(|key| {
        let cells = [&key.kid, &key.kind, key.state.as_str(), &age(key.created_at.until(now))];
        cells.map(str::to_owned).to_vec()
    }));
    columns(&rows)
}

/// An age in its largest whole unit.
fn age(age: Lifetime) -> String {
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| age.as_secs() >= *unit).unwrap_or(1);
    spell(Lifetime::from_secs(age.as_secs() / unit * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        for (seconds, text) in [(5, "5s"), (119, "1m"), (7_300, "2h"), (90_000, "1d"), (8_640_001, "100d")] {
            assert_eq!(age(Lifetime::from_secs(seconds)), text);
        }
    }
}
