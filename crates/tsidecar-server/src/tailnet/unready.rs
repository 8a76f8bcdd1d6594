//! Why nobody can be identified now, or why what serve sends must not be believed: 503, with the reason and its cure.

use std::path::PathBuf;

use tsidecar_localapi::{BackendState, Daemon, Error};

/// A reason not to answer requests. The text goes to the log, to `doctor` and on the page: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// tailscaled was not asked yet, or not about everything.
    #[error("starting: tailscaled is being asked for its state")]
    Starting,
    /// tailscaled gives no answer; the text of the error says what to do.
    #[error("tailscaled gives no answer: {reason}")]
    TailscaledAway {
        /// What went wrong.
        reason: String,
    },
    /// tailscaled runs, the tailnet is not up.
    #[error("the tailnet is not up: tailscaled is in the state {state:?}; run `tailscale up` on this host")]
    NotRunning {
        /// What tailscaled is doing.
        state: BackendState,
    },
    /// tailscaled has no map of the tailnet yet, so it knows nobody.
    #[error("tailscaled has no map of the tailnet yet; it has just started, try again in a moment")]
    NoNetmap,
    /// The daemon is too old for all of us.
    #[error(
        "tailscaled {version} is too old: 1.94 is needed at least, 1.102 is recommended; upgrade Tailscale"
    )]
    TooOld {
        /// Its version.
        version: String,
    },
    /// The daemon cannot tell the capabilities towards a Service.
    #[error(
        "tailscaled {version} is too old for Tailscale Services: 1.100 is needed at least; upgrade Tailscale or remove [[listen.service]]"
    )]
    TooOldForServices {
        /// Its version.
        version: String,
    },
    /// Connections of strangers reach one of our sockets as they are: every header in them is the stranger's.
    #[error(
        "a TCP forward of `tailscale serve` (port {port}{}) leads to {}: its callers could claim to be anybody; remove it (`tailscale serve status` shows it), tsidecar needs --https",
        .service.as_ref().map(|name| format!(" of {name}")).unwrap_or_default(), .socket.display()
    )]
    TcpForward {
        /// The port that is forwarded.
        port: u16,
        /// The Tailscale Service it belongs to, if any.
        service: Option<String>,
        /// Our socket.
        socket: PathBuf,
    },
    /// Connections of strangers lead where somebody else than root can put a link to one of our sockets.
    #[error(
        "a TCP forward of `tailscale serve` (port {port}{}) leads to {}, and others than root could make that a link to a socket of tsidecar: move its socket to a folder that is root's alone, forward to a TCP port, or remove it",
        .service.as_ref().map(|name| format!(" of {name}")).unwrap_or_default(), .path.display()
    )]
    LooseForward {
        /// The port that is forwarded.
        port: u16,
        /// The Tailscale Service it belongs to, if any.
        service: Option<String>,
        /// Where it leads.
        path: PathBuf,
    },
    /// Another application shares our origin.
    #[error(
        "`tailscale serve` mounts {mount} on {host_port}, the origin of this login server: what it answers there acts as the login server; mount it on another port or host"
    )]
    SharedOrigin {
        /// Our host and port.
        host_port: String,
        /// What is mounted beside `/`.
        mount: String,
    },
    /// Whoever may sign in by Tailscale SSH may be anybody.
    #[error(
        "Tailscale SSH is on for this host: whoever may forward through it may be anybody; turn it off (`tailscale set --ssh=false`), or set [listen] tailscale_ssh = \"trusted\""
    )]
    TailscaleSsh,
    /// What tailscaled serves and forwards is unknown.
    #[error("what tailscaled serves cannot be checked: {reason}")]
    Unchecked {
        /// What went wrong.
        reason: String,
    },
    /// The daemon has been cut off from its control server for too long.
    #[error(
        "tailscaled has been cut off from its control server for more than {minutes} minutes ([identity] max_stale); look at `tailscale status`"
    )]
    Stale {
        /// The limit, in minutes.
        minutes: u64,
    },
    /// We are being stopped.
    #[error("going down")]
    GoingDown,
}

impl Unready {
    /// After how many seconds a client should try again (RFC 9110 §10.2.3, `Retry-After`).
    pub const fn retry_after(&self) -> u32 {
        5
    }

    /// Judges the version of the daemon: the first that serves to unix sockets is 1.94.
    pub(crate) fn judge_version(daemon: Option<&Daemon>) -> Result<(), Self> {
        let Some(daemon) = daemon else {
            return Err(Self::TooOld { version: "of unknown version".to_owned() });
        };
        let too_old = match daemon.capability {
            // 1.92 and 1.94 share a number.
            FLOOR => minor(&daemon.version).is_some_and(|minor| minor < 94),
            other => other < FLOOR,
        };
        if too_old { Err(Self::TooOld { version: daemon.version.clone() }) } else { Ok(()) }
    }

    /// Judges whether the daemon can tell the capabilities towards a Service.
    pub(crate) fn judge_services(daemon: Option<&Daemon>) -> Result<(), Self> {
        match daemon {
            Some(daemon) if daemon.capability >= SERVICES => Ok(()),
            other => Err(Self::TooOldForServices {
                version: other.map(|daemon| daemon.version.clone()).unwrap_or_default(),
            }),
        }
    }
}

impl From<Error> for Unready {
    fn from(error: Error) -> Self {
        match error {
            Error::TooOld { found, .. } => Self::TooOldForServices {
                version: found.map_or_else(String::new, |number| format!("with capability number {number}")),
            },
            other => Self::TailscaledAway { reason: other.to_string() },
        }
    }
}

/// The 94 of `1.94.1-t0123`.
fn minor(version: &str) -> Option<u32> {
    let rest = version.strip_prefix("1.")?;
    rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

/// The capability number of 1.94 (and 1.92).
const FLOOR: u32 = 131;
/// The capability number of 1.100, the first that knows `svc_name` in whois.
const SERVICES: u32 = 141;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_daemons_are_told_from_new_ones() {
        let judge = |capability, version: &str| {
            let daemon = Daemon { capability, version: version.to_owned() };
            (Unready::judge_version(Some(&daemon)).is_ok(), Unready::judge_services(Some(&daemon)).is_ok())
        };
        assert_eq!(judge(104, "1.72.0"), (false, false));
        assert_eq!(judge(130, "1.90.4-t01"), (false, false));
        assert_eq!(judge(131, "1.92.5-t01"), (false, false));
        assert_eq!(judge(131, "1.94.0-t01"), (true, false));
        assert_eq!(judge(140, "1.99.9"), (true, false));
        assert_eq!(judge(141, "1.100.0-t01"), (true, true));
        assert_eq!(judge(142, "1.102.3-t0123456789"), (true, true));
        assert!(Unready::judge_version(None).is_err() && Unready::judge_services(None).is_err());
    }
}
