//! Every way in which a question to tailscaled can fail.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

/// Tells why tailscaled gave no usable answer. The text says what to do about it.
///
/// Cheap to clone, since one failure may have many waiters ([`WhoisCache`](crate::WhoisCache)).
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens on the socket: the file is missing, or nobody accepts.
    #[error("tailscaled does not run: nothing answers on {} ({source}); start it (`systemctl start tailscaled`) or correct the socket path", .socket.display())]
    NotRunning {
        /// Where tailscaled was expected.
        socket: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// No answer in time. tailscaled holds requests open until its backend exists.
    #[error(
        "tailscaled did not answer `{endpoint}` in time: {stage} took more than {limit:?}; look at its log (`journalctl -u tailscaled`)"
    )]
    Timeout {
        /// What was asked.
        endpoint: Endpoint,
        /// What took too long.
        stage: Stage,
        /// The deadline that passed.
        limit: Duration,
    },
    /// The socket may not be opened, or tailscaled refused us the read (403, 401).
    #[error(
        "tailscaled denies us `{endpoint}` ({message}); check the permissions of its socket and of our user"
    )]
    Denied {
        /// What was asked.
        endpoint: Endpoint,
        /// The daemon's or the system's words, shortened.
        message: String,
    },
    /// This daemon does not know the endpoint. An unknown peer is no error: whois gives `None`.
    #[error("tailscaled does not know `{endpoint}`; upgrade Tailscale")]
    NotFound {
        /// What was asked.
        endpoint: Endpoint,
    },
    /// Any other status.
    #[error(
        "tailscaled answered `{endpoint}` with status {code} ({message}); look at its log (`journalctl -u tailscaled`)"
    )]
    Status {
        /// What was asked.
        endpoint: Endpoint,
        /// The HTTP status.
        code: u16,
        /// The daemon's words, shortened.
        message: String,
    },
    /// The answer, or one line of the bus, is longer than its bound.
    #[error(
        "the answer of tailscaled to `{endpoint}` is longer than {limit} bytes; raise the limit if the tailnet is really that large"
    )]
    TooLarge {
        /// What was asked.
        endpoint: Endpoint,
        /// The bound in bytes.
        limit: usize,
    },
    /// The answer is not what LocalAPI speaks.
    #[error(
        "the answer of tailscaled to `{endpoint}` cannot be read ({source}); this version of Tailscale may be unknown to us, please report it"
    )]
    Malformed {
        /// What was asked.
        endpoint: Endpoint,
        /// What was wrong with it.
        source: Unreadable,
    },
    /// The daemon would ignore a parameter that decides whose capabilities are returned, so it is not asked.
    #[error("tailscaled is too old for this question: it has capability number {}, and {needed} is needed; upgrade Tailscale to 1.100 or newer", found.map_or("unknown".to_owned(), |number| number.to_string()))]
    TooOld {
        /// The lowest capability number that can answer.
        needed: u32,
        /// The daemon's number, if it told one.
        found: Option<u32>,
    },
    /// Too many questions wait for an answer already.
    #[error(
        "{waiting} questions wait for tailscaled already; it is overloaded or hangs, look at its log (`journalctl -u tailscaled`)"
    )]
    Busy {
        /// How many wait.
        waiting: usize,
    },
    /// The connection broke in the middle of a question.
    #[error("the connection to tailscaled broke at `{endpoint}` ({source}); it may be restarting, try again")]
    Io {
        /// What was asked.
        endpoint: Endpoint,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// Names what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Who has this address.
    WhoIs,
    /// How the daemon is.
    Status,
    /// The preferences.
    Prefs,
    /// What `tailscale serve` serves.
    ServeConfig,
    /// The bus of changes.
    Watch,
    /// The process behind the socket; no HTTP.
    Socket,
}

/// Names the part of a question that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a place in the queue of tailscaled's socket.
    Connect,
    /// Waiting for our own turn among the questions under way.
    Turn,
    /// Waiting for the answer.
    Answer,
}

/// Tells why an answer cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not HTTP.
    #[error("not HTTP: {0}")]
    Http(#[source] Arc<io::Error>),
    /// Not the JSON that was expected.
    #[error("unexpected JSON: {0}")]
    Json(#[source] Arc<serde_json::Error>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WhoIs => "whois",
            Self::Status => "status",
            Self::Prefs => "prefs",
            Self::ServeConfig => "serve-config",
            Self::Watch => "watch-ipn-bus",
            Self::Socket => "socket",
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Turn => "waiting for our turn",
            Self::Answer => "the answer",
        })
    }
}

impl Error {
    pub(crate) fn json(endpoint: Endpoint, source: serde_json::Error) -> Self {
        Self::Malformed { endpoint, source: Unreadable::Json(Arc::new(source)) }
    }

    pub(crate) fn io(endpoint: Endpoint, source: io::Error) -> Self {
        Self::Io { endpoint, source: Arc::new(source) }
    }
}
