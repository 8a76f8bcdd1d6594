//! Why a fetch failed: fine reasons for the log and for tests, one sentence for everybody else.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tsidecar_oauth::address::Block;

/// Why nothing was fetched. The text is for the log: it says what is behind a name, and a stranger may have chosen the name to
/// find out. Others get [`Self::TEXT`].
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Too many, by one requester or of one host; nothing was looked up.
    #[error("too many fetches {of}; again in {retry_after} s")]
    Limited {
        /// Whose allowance is used up.
        of: Allowance,
        /// Seconds until there is some again.
        retry_after: u32,
    },
    /// Another port than 443, for a client that no administrator wrote down.
    #[error("port {0}: clients that no administrator wrote down have port 443 only")]
    Port(u16),
    /// The name has no address, or its servers do not answer.
    #[error("the name does not resolve: {0}")]
    Resolve(#[source] io::Error),
    /// The name resolves to nothing.
    #[error("the name has no address")]
    NoAddress,
    /// None of the addresses may be dialled; this is the first of them.
    #[error("{address} must not be dialled: {why}")]
    Forbidden {
        /// The address.
        address: IpAddr,
        /// What it is.
        why: Forbidden,
    },
    /// It cannot be told which addresses are this host's own, so none is dialled.
    #[error("the addresses of this host cannot be told: {0}")]
    OwnAddresses(#[source] io::Error),
    /// No connection.
    #[error("{address} takes no connection: {source}")]
    Connect {
        /// The address that was dialled.
        address: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The handshake failed: a certificate that nobody we trust signed, of another host, or out of date; or no TLS at all.
    #[error("no TLS with {address}: {source}")]
    Tls {
        /// The address that was dialled.
        address: IpAddr,
        /// What rustls said.
        source: io::Error,
    },
    /// No whole answer in time.
    #[error("no whole answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// The answer is no HTTP, or breaks off.
    #[error("no proper HTTP: {0}")]
    Http(#[source] hyper::Error),
    /// The request cannot be written as HTTP.
    #[error("the request cannot be written: {0}")]
    Request(#[from] hyper::http::Error),
    /// The document is larger than allowed.
    #[error("the document is larger than {0} bytes")]
    TooLarge(usize),
    /// The document is compressed, though only identity was asked for: it is not unpacked.
    #[error("the document is compressed, which was not asked for")]
    Compressed,
}

impl FetchError {
    /// What everybody outside is told, whatever the reason: nobody finds out by us what is behind a name.
    pub const TEXT: &str = "the document could not be fetched";

    /// Whether it says nothing about the host: another requester, or the same one later, may well succeed.
    pub const fn is_ours(&self) -> bool {
        matches!(self, Self::Limited { .. } | Self::OwnAddresses(_))
    }
}

/// Whose allowance is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// That of the device, or of Funnel, that made the request behind it.
    Requester,
    /// That of the host, by name or by address.
    Host,
    /// The one of all together: more names than are counted.
    Everybody,
}

impl std::fmt::Display for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Requester => "for this requester",
            Self::Host => "of this host",
            Self::Everybody => "of different hosts",
        })
    }
}

/// Why an address must not be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// It is in a block with a purpose of its own.
    Special(&'static Block),
    /// It is one of this host's.
    Own,
}

impl std::fmt::Display for Forbidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Special(block) => write!(f, "it is in {block}"),
            Self::Own => f.write_str("it is an address of this host"),
        }
    }
}

/// Why the client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// rustls does not take its settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}
