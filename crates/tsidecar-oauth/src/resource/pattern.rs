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

/// One label as hosts of a tailnet have it (RFC 1035 §2.3.4); the parser has made it small.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> ResourcePattern {
        ResourcePattern::parse(text).unwrap().unwrap()
    }

    /// What a pattern makes of a presented indicator: the audience.
    fn audience(pattern: &ResourcePattern, presented: &str) -> Option<String> {
        Some(pattern.fill(&pattern.capture(presented)?)?.as_str().to_owned())
    }

    #[test]
    fn a_star_is_one_label_and_one_segment() {
        for (text, presented, expected) in [
            ("https://*.tail.test/mcp", "https://files.tail.test/mcp", Some("https://files.tail.test/mcp")),
            (
                "https://*.tail.test/mcp",
                "HTTPS://Files.Tail.Test:443/mcp/",
                Some("https://files.tail.test/mcp"),
            ),
            ("https://*.tail.test/mcp/", "https://files.tail.test/mcp", Some("https://files.tail.test/mcp/")),
            (
                "https://*.tail.test/mcp",
                "https://files.tail.test/a/../mcp",
                Some("https://files.tail.test/mcp"),
            ),
            ("https://*.tail.test", "https://files.tail.test/", Some("https://files.tail.test")),
            ("https://*.tail.test/", "https://files.tail.test", Some("https://files.tail.test/")),
            (
                "https://*.tail.test:8443/mcp",
                "https://a.tail.test:8443/mcp",
                Some("https://a.tail.test:8443/mcp"),
            ),
            ("http://*.tail.test/mcp", "http://a.tail.test:80/mcp", Some("http://a.tail.test/mcp")),
            ("https://mcp.test/*", "https://mcp.test/files/", Some("https://mcp.test/files")),
            ("https://mcp.test/v1/*", "https://mcp.test/v1/a.b-c_d~e", Some("https://mcp.test/v1/a.b-c_d~e")),
            ("https://*.tail.test/*", "https://a.tail.test/mcp", Some("https://a.tail.test/mcp")),
            ("https://127.0.0.1:9000/*", "https://127.0.0.1:9000/mcp", Some("https://127.0.0.1:9000/mcp")),
            // Neither none nor two, nor a part of one.
            ("https://*.tail.test/mcp", "https://tail.test/mcp", None),
            ("https://*.tail.test/mcp", "https://.tail.test/mcp", None),
            ("https://*.tail.test/mcp", "https://a.b.tail.test/mcp", None),
            ("https://*.tail.test/mcp", "https://*.tail.test/mcp", None),
            ("https://*.tail.test/mcp", "https://a.tail.test./mcp", None),
            ("https://*.tail.test/mcp", "https://a.tail.test.evil.test/mcp", None),
            ("https://*.tail.test/mcp", "https://evil.test/a.tail.test/mcp", None),
            ("https://*.tail.test/mcp", "https://a%2e.tail.test/mcp", None),
            ("https://*.tail.test/mcp", "https://a.tail.test@evil.test/mcp", None),
            ("https://*.tail.test/mcp", "https://u@a.tail.test/mcp", None),
            ("https://*.tail.test/mcp", "https://a.tail.test\\.evil.test/mcp", None),
            ("https://*.tail.test/mcp", "https://atail.test/mcp", None),
            // Never a prefix.
            ("https://*.tail.test/mcp", "https://a.tail.test/mcp/x", None),
            ("https://*.tail.test/mcp", "https://a.tail.test/mcp2", None),
            ("https://*.tail.test/mcp", "https://a.tail.test/mcp//", None),
            ("https://*.tail.test/mcp", "https://a.tail.test/MCP", None),
            ("https://*.tail.test/mcp", "https://a.tail.test/mcp?x=1", None),
            ("https://*.tail.test/mcp", "https://a.tail.test/mcp#x", None),
            ("https://*.tail.test/mcp", "http://a.tail.test/mcp", None),
            ("https://*.tail.test/mcp", "https://a.tail.test:8443/mcp", None),
            ("https://mcp.test/*", "https://mcp.test/", None),
            ("https://mcp.test/*", "https://mcp.test/a/b", None),
            ("https://mcp.test/*", "https://mcp.test/a%2fb", None),
            ("https://mcp.test/*", "https://mcp.test/*", None),
            ("https://mcp.test/v1/*", "https://mcp.test/v1/..", None),
            ("https://mcp.test/v1/*", "https://mcp.test/v1x/a", None),
        ] {
            assert_eq!(audience(&pattern(text), presented).as_deref(), expected, "{text} {presented}");
        }
    }

    /// No pattern of ours matches another tailnet, nor what everybody can get a name below.
    #[test]
    fn patterns_stay_at_home() {
        use PatternError as E;
        for (text, why) in [
            ("https://*/", E::Shared),
            ("https://*", E::Shared),
            ("https://*.com/mcp", E::Shared),
            ("https://*.lan", E::Shared),
            ("https://*.co.uk/mcp", E::Shared),
            ("https://*.ts.net/mcp", E::Shared),
            ("https://*.TS.net/mcp", E::Shared),
            ("https://*.c.ts.net/mcp", E::Shared),
            ("https://*.github.io/mcp", E::Shared),
            ("https://*.0.0.1/mcp", E::Host),
            ("https://*.*.ts.net/mcp", E::Host),
            ("https://*.tail1234.*/mcp", E::Host),
            ("https://a.*.ts.net/mcp", E::Host),
            ("https://mcp-*.tail.test/mcp", E::Host),
            ("https://*.tail.test./mcp", E::Host),
            ("https://*..tail.test/mcp", E::Host),
            ("https://a.test/*/mcp", E::Path),
            ("https://a.test/x*", E::Path),
            ("https://a.test/*/*", E::Path),
            ("https://a.test/**", E::Path),
            ("https://a.test/x?y=*", E::Query),
            ("ftp://*.tail.test/x", E::Scheme),
            ("urn:x:*", E::Scheme),
            ("https://u@*.tail.test/", E::Uri(UriError::UserInfo)),
            ("https://*.tail.test/#x", E::Uri(UriError::Fragment)),
            ("*", E::Uri(UriError::Malformed)),
        ] {
            let refused = ResourcePattern::parse(text).unwrap_err();
            // Addresses in odd spellings are no URIs at all.
            assert!(refused == why || refused == E::Uri(UriError::Malformed), "{text}: {refused:?}");
        }
        for fine in
            ["https://*.tail1234.ts.net/mcp", "https://*.example.com", "https://*.mcp.example.co.uk/*"]
        {
            pattern(fine);
        }
        assert_eq!(ResourcePattern::parse("https://mcp.test/mcp"), Ok(None));
    }

    #[test]
    fn patterns_overlap_when_something_matches_both() {
        for (one, other, expected) in [
            ("https://*.tail.test/mcp", "https://*.tail.test/mcp/", true),
            ("https://*.tail.test/mcp", "https://*.tail.test/*", true),
            ("https://*.tail.test/*", "https://a.tail.test/*", true),
            ("https://*.tail.test/mcp", "https://a.tail.test/*", true),
            ("https://*.tail.test/mcp", "https://*.tail.test/sse", false),
            ("https://*.tail.test/mcp", "https://*.tail.test", false),
            ("https://*.tail.test/mcp", "https://*.other.test/mcp", false),
            ("https://*.tail.test/mcp", "https://*.a.tail.test/mcp", false),
            ("https://*.tail.test/mcp", "http://*.tail.test/mcp", false),
            ("https://*.tail.test/mcp", "https://*.tail.test:444/mcp", false),
            ("https://a.test/x/*", "https://a.test/*", false),
        ] {
            assert_eq!(pattern(one).overlaps(&pattern(other)), expected, "{one} {other}");
            assert_eq!(pattern(other).overlaps(&pattern(one)), expected, "{other} {one}");
        }
    }

    proptest! {
        /// Whatever matches has the audience of a host right below the name, and this audience means itself.
        #[test]
        fn what_matches_is_below_the_name(presented in "https?://[a-zA-Z0-9.*@:_%-]{0,20}(\\.tail\\.test)?[a-z0-9.:/?%*-]{0,12}") {
            let pattern = pattern("https://*.tail.test/*");
            if let Some(audience) = audience(&pattern, &presented) {
                let rest = audience.strip_prefix("https://").unwrap();
                let (host, segment) = rest.split_once('/').unwrap();
                prop_assert!(is_label(host.strip_suffix(".tail.test").unwrap()));
                prop_assert!(is_segment(segment));
                prop_assert_eq!(self::audience(&pattern, &audience), Some(audience.clone()));
                prop_assert!(ResourceIndicator::parse(&audience).unwrap().matches(&presented));
            }
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}", presented in "\\PC{0,40}") {
            if let Ok(Some(pattern)) = ResourcePattern::parse(&text) {
                let _ = pattern.capture(&presented).and_then(|captured| pattern.fill(&captured));
            }
        }
    }
}
