//! Names for many resources at once: `https://*.tail.test/mcp`.
//!
//! The first `*` stands for exactly one label of the host, a `/*` at the end of the path for exactly one segment. Everything
//! else of a presented indicator must be as written, but for what is forgiven of every indicator. Prefixes never match.

use url::{Host, Url};

use crate::uri::{ResourceIndicator, UriError, absolute};

/// Names below which strangers get names of their own, beside those that look like it ([`is_shared`]). Not every one there is:
/// a seatbelt for administrators, who alone write patterns.
const SHARED: [&str; 22] = [
    "ts.net",
    "c.ts.net",
    "beta.tailscale.net",
    "amazonaws.com",
    "appspot.com",
    "azurewebsites.net",
    "cloudfront.net",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "ngrok.app",
    "ngrok.io",
    "ngrok-free.app",
    "onrender.com",
    "pages.dev",
    "run.app",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "workers.dev",
];

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a URI at all.
    #[error("{0}")]
    Uri(#[from] UriError),
    /// Patterns are for servers with a host.
    #[error("has a * but not the scheme https or http")]
    Scheme,
    /// A `*` in the host that is not its whole first label.
    #[error("may have a * in its host only as the whole first label, as in https://*.tail1234.ts.net/mcp")]
    Host,
    /// What follows the `*` of the host is not one organisation's.
    #[error(
        "would also match hosts of strangers: after \"*.\" must stand the name of your tailnet or a domain of your own, of two labels or more"
    )]
    Shared,
    /// A `*` in the path that is not its whole last segment.
    #[error("may have a * in its path only as the whole last segment, as in https://mcp.example.com/*")]
    Path,
    /// A query.
    #[error("has a * and a query (?…)")]
    Query,
}

/// A name for many resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourcePattern {
    text: String,
    scheme: String,
    host: HostPart,
    port: u16,
    path: PathPart,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPart {
    /// This host.
    Exact(String),
    /// One label before this name, which starts with its dot.
    Below(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PathPart {
    /// This path, without a slash at its end; and whether one is written.
    Exact(String, bool),
    /// One segment behind this path, which has no slash at its end.
    Below(String),
}

/// What the stars of a pattern stood for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Captured {
    label: Option<String>,
    segment: Option<String>,
}

impl ResourcePattern {
    /// Reads a pattern; a text without `*` is none.
    ///
    /// # Errors
    /// [`PatternError`] when the text has a `*` and is no pattern.
    pub fn parse(text: &str) -> Result<Option<Self>, PatternError> {
        if !text.contains('*') {
            return Ok(None);
        }
        let url = absolute(text)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(PatternError::Scheme);
        }
        if url.query().is_some() {
            return Err(PatternError::Query);
        }
        let port = url.port_or_known_default().ok_or(PatternError::Scheme)?;
        let (host, path) = (HostPart::of(&url)?, PathPart::of(&url, text)?);
        Ok(Some(Self { text: text.to_owned(), scheme: url.scheme().to_owned(), host, port, path }))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Which stars the pattern has: in its host, in its path.
    pub const fn stars(&self) -> (bool, bool) {
        (matches!(self.host, HostPart::Below(_)), matches!(self.path, PathPart::Below(_)))
    }

    /// What the stars stand for in a presented indicator; `None` when it does not match.
    pub(super) fn capture(&self, presented: &str) -> Option<Captured> {
        let url = absolute(presented).ok()?;
        let same = url.scheme() == self.scheme && url.port_or_known_default() == Some(self.port);
        if !same || url.query().is_some() {
            return None;
        }
        Some(Captured { label: self.host.capture(url.host_str()?)?, segment: self.path.capture(url.path())? })
    }

    /// The resource for which the stars stand so: spelt as the pattern spells it.
    pub(super) fn fill(&self, captured: &Captured) -> Option<ResourceIndicator> {
        let label = captured.label.as_deref().unwrap_or_default();
        let host = match &self.host {
            HostPart::Exact(host) => host.clone(),
            HostPart::Below(suffix) => format!("{label}{suffix}"),
        };
        let port = match (self.scheme.as_str(), self.port) {
            ("https", 443) | ("http", 80) => String::new(),
            (_, port) => format!(":{port}"),
        };
        let segment = captured.segment.as_deref().unwrap_or_default();
        let path = match &self.path {
            PathPart::Exact(path, slash) => format!("{path}{}", if *slash { "/" } else { "" }),
            PathPart::Below(path) => format!("{path}/{segment}"),
        };
        ResourceIndicator::parse(&format!("{}://{host}{port}{path}", self.scheme)).ok()
    }

    /// Tells whether some indicator matches both patterns.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.port == other.port
            && self.host.overlaps(&other.host)
            && self.path.overlaps(&other.path)
    }
}

impl HostPart {
    fn of(url: &Url) -> Result<Self, PatternError> {
        let host = match url.host() {
            Some(Host::Domain(host)) => host,
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => {
                return Ok(Self::Exact(url.host_str().unwrap_or_default().to_owned()));
            }
            None => return Err(PatternError::Host),
        };
        let Some(below) = host.strip_prefix("*.") else {
            return match host {
                "*" => Err(PatternError::Shared),
                host if host.contains('*') => Err(PatternError::Host),
                host => Ok(Self::Exact(host.to_owned())),
            };
        };
        if below.contains('*') || below.split('.').any(|label| !is_label(label)) {
            return Err(PatternError::Host);
        }
        if is_shared(below) { Err(PatternError::Shared) } else { Ok(Self::Below(format!(".{below}"))) }
    }

    /// `None` when the host does not match; inside, the label that the star stands for.
    #[expect(clippy::option_option, reason = "whether it matches, and what a star stood for if there is one")]
    fn capture(&self, host: &str) -> Option<Option<String>> {
        match self {
            Self::Exact(ours) => (ours == host).then_some(None),
            Self::Below(suffix) => {
                let label = host.strip_suffix(suffix.as_str()).filter(|label| is_label(label))?;
                Some(Some(label.to_owned()))
            }
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(host), part) | (part, Self::Exact(host)) => part.capture(host).is_some(),
            (Self::Below(ours), Self::Below(theirs)) => ours == theirs,
        }
    }
}

impl PathPart {
    fn of(url: &Url, text: &str) -> Result<Self, PatternError> {
        let path = url.path();
        let below = path.strip_suffix("/*");
        let rest = below.unwrap_or_else(|| path.strip_suffix('/').unwrap_or(path));
        let part = match below {
            Some(above) => Self::Below(above.to_owned()),
            None => Self::Exact(rest.to_owned(), text.ends_with('/')),
        };
        if rest.contains('*') { Err(PatternError::Path) } else { Ok(part) }
    }

    /// As for the host.
    #[expect(clippy::option_option, reason = "whether it matches, and what a star stood for if there is one")]
    fn capture(&self, path: &str) -> Option<Option<String>> {
        let path = path.strip_suffix('/').unwrap_or(path);
        match self {
            Self::Exact(ours, _) => (ours == path).then_some(None),
            Self::Below(above) => {
                let segment = path.strip_prefix(above.as_str())?.strip_prefix('/')?;
                is_segment(segment).then(|| Some(segment.to_owned()))
            }
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(path, _), part) | (part, Self::Exact(path, _)) => part.capture(path).is_some(),
            (Self::Below(ours), Self::Below(theirs)) => ours == theirs,
        }
    }
}

/// One label as hosts of a tailnet have it; the parser has made it small.
fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// One segment of a path that has one reading: no escapes, and neither `.` nor `..`.
fn is_segment(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    !text.is_empty() && !matches!(text, "." | "..") && text.bytes().all(plain)
}

/// Tells whether strangers get names right below this one, as far as its text tells: a single label, `co.uk` and its like, and
/// names of well-known hosts of others, Tailscale's tailnets first.
fn is_shared(name: &str) -> bool {
    let labels: Vec<_> = name.split('.').collect();
    match labels.as_slice() {
        [] | [_] => true,
        [second, top] if top.len() == 2 && second.len() <= 3 => true,
        // The last label of an address is a number.
        [.., top] if top.bytes().all(|b| b.is_ascii_digit()) => true,
        _ => SHARED.contains(&name),
    }
}
