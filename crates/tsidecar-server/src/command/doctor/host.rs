//! Judges this host: configuration, state folder, daemon, sockets, clock. Pure.

use std::io::ErrorKind;

use tsidecar_oauth::rotation::{KeyKind, Stage, in_use};
use tsidecar_oauth::time::{Lifetime, UnixTime};

use super::Check;
use super::facts::Facts;
use crate::command::ask::CommandError;
use crate::command::output::count;
use crate::config::ConfigError;
use crate::state::Look;

/// No clock that is right shows a time before this program was written: 2026-01-01.
const EARLIEST: UnixTime = UnixTime::from_secs(1_767_225_600);

pub(super) fn configuration(facts: &Facts) -> Check {
    const NAME: &str = "configuration";
    let file = facts.file.display();
    match &facts.config_error {
        Some(ConfigError::Read { error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
            let text = format!("{file} is not yours to read, so defaults are assumed; run this as root");
            return Check::skip(NAME, text);
        }
        Some(error) => {
            let cure = "correct it; `tsidecar check-config` says the same without the rest";
            return Check::fail(NAME, error.to_string(), cure);
        }
        None => (),
    }
    if facts.file_mode.is_some_and(|mode| mode & 0o002 != 0) {
        let text = format!("{file} can be changed by everybody on this host");
        return Check::fail(NAME, text, format!("chmod o-w {file}"));
    }
    if let [first, more @ ..] = facts.config.warnings.as_slice() {
        let more = match more.len() {
            0 => String::new(),
            more => format!(" (and {more} more: `tsidecar check-config`)"),
        };
        return Check::warn(NAME, format!("{first}{more}"), "look at it; it works as it is");
    }
    Check::ok(NAME, format!("{file} is valid; it has {}", count(facts.config.clients.len(), "client")))
}

pub(super) fn state(facts: &Facts) -> Check {
    const NAME: &str = "state";
    let dir = facts.config.state_dir.display();
    match &facts.state {
        Look::Absent => Check::ok(NAME, format!("{dir} is not there yet; the first start makes it")),
        Look::Denied => Check::skip(NAME, format!("{dir} is not yours to look at; run this as root")),
        Look::Seen(seen) => match seen.problems.first() {
            Some(problem) => {
                Check::fail(NAME, problem.to_string(), "the daemon does not start before this is done")
            }
            None if seen.known => {
                Check::ok(NAME, format!("{dir} is whole, and open to uid {} only", seen.owner))
            }
            None => Check::ok(NAME, format!("{dir} is empty; the first start fills it")),
        },
    }
}

/// How old the keys in use are, and whether they are rotated as configured.
pub(super) fn keys(facts: &Facts) -> Check {
    const NAME: &str = "keys";
    let keys = match &facts.state {
        Look::Seen(seen) if !seen.keys.is_empty() => &seen.keys,
        Look::Seen(_) | Look::Absent | Look::Denied => {
            return Check::skip(NAME, "there are none to look at");
        }
    };
    let mut told = Vec::new();
    for key in KeyKind::ALL.into_iter().filter_map(|kind| in_use(keys, kind)) {
        let Stage::Active { activated_at } = key.stage else { continue };
        if activated_at > facts.now.after(Lifetime::from_minutes(60)) {
            let text = format!("the {} key {} came into use at a time that is yet to come", key.kind, key.id);
            let cure = "if the clock is right now: tsidecar keys rotate";
            return Check::warn(NAME, text, cure);
        }
        let days = activated_at.until(facts.now).as_secs() / 86_400;
        let late = facts.config.keys.rotate_every.map(|every| every.as_secs() / 86_400 + 2);
        if late.is_some_and(|late| days >= late) {
            let text =
                format!("the {} key {} is in use for {days} days: it is not rotated", key.kind, key.id);
            let cure = "the running daemon rotates keys; look at: journalctl -u tsidecar";
            return Check::warn(NAME, text, cure);
        }
        told.push(format!("{} for {}", key.kind, count(usize::try_from(days).unwrap_or(usize::MAX), "day")));
    }
    Check::ok(NAME, format!("in use: {}", told.join(", ")))
}

pub(super) fn daemon(facts: &Facts) -> Check {
    const NAME: &str = "daemon";
    match &facts.daemon {
        Ok(status) if status.ready => {
            let text =
                format!("tsidecar {} is ready, with {}", status.version, count(status.clients, "client"));
            Check::ok(NAME, text)
        }
        Ok(status) => {
            let reason = status.reason.clone().unwrap_or_default();
            Check::fail(NAME, format!("tsidecar is running, but not ready: {reason}"), "see the checks below")
        }
        Err(CommandError::Denied { .. }) => {
            Check::skip(NAME, "only root may ask the daemon; run this as root")
        }
        Err(error @ CommandError::Away { .. }) => {
            Check::fail(NAME, error.to_string(), "systemctl start tsidecar")
        }
        Err(error) => Check::fail(NAME, error.to_string(), "look at: journalctl -u tsidecar"),
    }
}

pub(super) fn sockets(facts: &Facts) -> Check {
    const NAME: &str = "sockets";
    let missing = facts.sockets.iter().find(|(_, there)| *there == Some(false));
    if let Some((path, _)) = missing {
        let text = format!("{} is not there, or is no socket", path.display());
        return Check::fail(NAME, text, "start tsidecar; if it runs, restart it");
    }
    if facts.sockets.iter().any(|(_, there)| there.is_none()) {
        return Check::skip(NAME, "they are not yours to look at; run this as root");
    }
    let paths: Vec<_> = facts.sockets.iter().map(|(path, _)| path.display().to_string()).collect();
    Check::ok(NAME, paths.join(", "))
}

pub(super) fn clock(facts: &Facts) -> Check {
    const NAME: &str = "clock";
    let cure =
        "set the clock, and keep it right (`timedatectl set-ntp true`); tokens carry times that others check";
    if facts.now < EARLIEST {
        return Check::fail(NAME, "the clock shows a time before 2026", cure);
    }
    let newest = match &facts.state {
        Look::Seen(seen) => seen.newest,
        Look::Absent | Look::Denied => UnixTime::default(),
    };
    let behind = facts.now.until(newest);
    if behind > Lifetime::from_minutes(60) {
        let text = format!("the clock is {} s behind the newest file of the state folder", behind.as_secs());
        return Check::fail(NAME, text, cure);
    }
    Check::ok(NAME, "plausible, and not behind anything that was written")
}
