//! URIs with a meaning: the issuer, redirect URIs, resource indicators, what we fetch.
//!
//! Layer 0. URIs are parsed to be validated and compared as bytes; the exceptions are written where they are made.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::{Host, Position, Url};

/// The longest URI that is taken for one.
const LONGEST: usize = 512;

/// Schemes that a browser would run, read or show instead of leaving for an application.
const NEVER: [&str; 8] =
    ["javascript", "data", "file", "blob", "vbscript", "about", "filesystem", "view-source"];

/// Private-use schemes without a dot by which well-known applications sign in (reference 4.5: Cursor registers one).
const KNOWN_SCHEMES: [&str; 10] = [
    "cursor",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "windsurf",
    "zed",
    "claude",
    "kiro",
    "raycast",
    "goose",
];

/// What the answer of an authorization adds to a redirect URI.
const OF_THE_ANSWER: [&str; 5] = ["code", "state", "iss", "error", "error_description"];

/// What is wrong with a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not an absolute URI of printable ASCII, or longer than 512 bytes.
    #[error("is not an absolute URI of printable ASCII (at most 512 characters)")]
    Malformed,
    /// Has a fragment (RFC 6749 §3.1.2, RFC 8707 §2).
    #[error("has a fragment (#…)")]
    Fragment,
    /// Has a user name or password before the host.
    #[error("has a user name or password before the host")]
    UserInfo,
    /// A scheme that a browser would run or show.
    #[error("has a scheme that is never a redirect target (javascript:, data:, file: and the like)")]
    Scheme,
    /// An issuer that is not `https://host[:port]`.
    #[error(
        "must be https://HOST or https://HOST:PORT, without path, query, or trailing slash (http only on loopback)"
    )]
    Issuer,
    /// A redirect URI of a stranger by which codes would travel in clear text.
    #[error("must be https; http is for 127.0.0.1, [::1] and localhost")]
    PlainHttp,
    /// A redirect URI of a stranger with a scheme that may be any program's.
    #[error(
        "has a scheme that is not known: a private-use scheme needs a dot (com.example.app:/callback), or ask an administrator to add the client"
    )]
    UnknownScheme,
    /// What we fetch or post to must be `https://host[:port]/…`.
    #[error("must be https://HOST[:PORT]/…, with a port other than 0")]
    NotHttps,
    /// A host that parsers read in more than one way.
    #[error(
        "has a host in an unusual spelling: write the name in letters, or the address as it is usually written"
    )]
    Host,
    /// A query with a parameter of the answer (RFC 9207 §2.4: `iss` stands in it once).
    #[error(
        "has a query parameter that the answer adds itself (code, state, iss, error and error_description)"
    )]
    Parameter,
    /// A path with `.` or `..` segments, which two parsers read differently.
    #[error("has a path with \".\" or \"..\" segments, or a backslash")]
    Path,
}

/// Reads an absolute URI in the form in which every URI here is written.
pub(crate) fn absolute(text: &str) -> Result<Url, UriError> {
    let printable = text.bytes().all(|b| (0x21..=0x7e).contains(&b) && !b"\"<>^`{|}\\".contains(&b));
    if !printable || text.len() > LONGEST {
        return Err(UriError::Malformed);
    }
    let url = Url::parse(text).map_err(|_| UriError::Malformed)?;
    if url.fragment().is_some() {
        return Err(UriError::Fragment);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UriError::UserInfo);
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The issuer identifier (RFC 8414 §2): `https://host[:port]`, one constant string everywhere.
///
/// Plain http is possible on loopback only, for `tsidecar demo` and tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Issuer(String);

impl Issuer {
    /// Checks an issuer. A path, a trailing slash and an explicit default port are refused, so that nobody can spell it
    /// in two ways.
    ///
    /// # Errors
    /// [`UriError`] when the text is not exactly `https://host[:port]`, or `http://` with a loopback host.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let url = absolute(text)?;
        let scheme_fits = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
        if !scheme_fits || url.query().is_some() || url.as_str() != format!("{text}/") {
            return Err(UriError::Issuer);
        }
        Ok(Self(text.to_owned()))
    }

    /// The issuer as it stands in tokens and metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without its port.
    pub fn host(&self) -> &str {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        }
    }

    /// Host and port as in a serve configuration: `host:443` when no port is named.
    pub fn host_and_port(&self) -> String {
        let authority = self.authority();
        if authority == self.host() { format!("{authority}:443") } else { authority.to_owned() }
    }

    fn authority(&self) -> &str {
        self.0.split_once("://").map_or(self.0.as_str(), |(_, authority)| authority)
    }

    /// The absolute URL of one of our paths, which starts with a slash.
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A registered redirect URI (RFC 6749 §3.1.2, RFC 8252 §7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// Checks a redirect URI that an administrator registers: absolute, no fragment, no user info, no scheme that a
    /// browser would run. Private-use schemes are fine (RFC 8252 §7.1); http beyond loopback is, too, with a warning.
    ///
    /// # Errors
    /// [`UriError`] with the reason.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let url = absolute(text)?;
        if NEVER.contains(&url.scheme()) {
            return Err(UriError::Scheme);
        }
        if matches!(url.scheme(), "http" | "https") {
            let path = text.split('?').next().unwrap_or_default();
            if path.split('/').any(|segment| matches!(segment, "." | "..")) || text.contains('\\') {
                return Err(UriError::Path);
            }
            let starts_right = text.starts_with("http://") || text.starts_with("https://");
            if !starts_right || url.host().is_none() {
                return Err(UriError::Malformed);
            }
        }
        if url.query_pairs().any(|(name, _)| OF_THE_ANSWER.contains(&name.as_ref())) {
            return Err(UriError::Parameter);
        }
        Ok(Self(text.to_owned()))
    }

    /// As [`parse`](Self::parse), for a client that no administrator wrote down: https, http on loopback, or a private-use
    /// scheme that has a dot, as RFC 8252 §7.1 wants it, or belongs to a well-known application. A scheme without a dot may be
    /// anything that some program of the operating system answers to (attack A51: `intent:`, `ms-msdt:`).
    ///
    /// # Errors
    /// [`UriError`] with the reason.
    pub fn parse_of_stranger(text: &str) -> Result<Self, UriError> {
        let uri = Self::parse(text)?;
        let scheme = text.split(':').next().unwrap_or_default();
        match scheme {
            "https" => Ok(uri),
            "http" if Self::is_loopback(text) => Ok(uri),
            "http" => Err(UriError::PlainHttp),
            _ if scheme.contains('.') || KNOWN_SCHEMES.contains(&scheme) => Ok(uri),
            _ => Err(UriError::UnknownScheme),
        }
    }

    /// Tells whether a redirect URI leads to a program on the browser's own device: http to `127.0.0.1`, `[::1]` or `localhost`.
    pub fn is_loopback(text: &str) -> bool {
        loopback(text).is_some()
    }

    /// Tells whether a presented redirect URI is this one: byte for byte, with one exception. For `127.0.0.1`, `[::1]`
    /// and `localhost` over http the port is free (RFC 8252 §7.3), and an empty path equals `/`.
    pub fn matches(&self, presented: &str) -> bool {
        if self.0 == presented {
            return true;
        }
        match (loopback(&self.0), loopback(presented)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        }
    }

    /// The URI as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether codes travel in clear text over a network on their way to this URI.
    pub fn is_plain_http(&self) -> bool {
        self.0.starts_with("http://") && loopback(&self.0).is_none()
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The source expression of a Content Security Policy (CSP3 §2.3.1) that admits this URI and as little else as can be said: its
/// origin, or its scheme alone where it has no host that a policy can name (IPv6 addresses, private-use schemes).
///
/// ```
/// use tsidecar_oauth::uri::policy_source;
/// assert_eq!(policy_source("https://app.test/cb?x=1").unwrap(), "https://app.test");
/// assert_eq!(policy_source("http://[::1]:8080/cb").unwrap(), "http:");
/// ```
pub fn policy_source(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    let scheme = url.scheme();
    let named = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let host = url.host_str().filter(|host| is_web(uri) && named(host));
    Some(match (host, url.port()) {
        (Some(host), Some(port)) => format!("{scheme}://{host}:{port}"),
        (Some(host), None) => format!("{scheme}://{host}"),
        (None, _) => format!("{scheme}:"),
    })
}

/// The origin of a web URI: scheme, host and port, so that two of them can be compared (RFC 6454 §4). `None` for everything
/// else, which has no origin that equals any other.
pub fn origin(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok().filter(|_| is_web(uri))?;
    let origin = url.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}

/// Where a redirect URI leads, as a person can judge it: the host, with the port where it says something, or the scheme of an
/// application.
///
/// ```
/// use tsidecar_oauth::uri::redirect_host;
/// assert_eq!(redirect_host("https://app.test:8443/cb"), "app.test:8443");
/// assert_eq!(redirect_host("http://127.0.0.1:50123/cb"), "127.0.0.1");
/// assert_eq!(redirect_host("com.example.app:/cb"), "com.example.app:");
/// ```
pub fn redirect_host(uri: &str) -> String {
    if let Some((host, _)) = loopback(uri) {
        return host.to_owned();
    }
    let Ok(url) = Url::parse(uri) else { return String::new() };
    match (url.host_str().filter(|_| is_web(uri)), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => format!("{}:", url.scheme()),
    }
}

/// Tells whether a browser can send a form to this URI.
pub(crate) fn is_web(uri: &str) -> bool {
    uri.starts_with("https://") || uri.starts_with("http://")
}

/// Splits a loopback URI into host and what follows the port; `None` for every other URI.
fn loopback(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("http://")?;
    let host = ["127.0.0.1", "[::1]", "localhost"].into_iter().find(|host| rest.starts_with(host))?;
    let after = rest.get(host.len()..)?;
    let after = match after.strip_prefix(':') {
        Some(port) => {
            let digits = port.bytes().take_while(u8::is_ascii_digit).count();
            port.get(..digits)?.parse::<u16>().ok()?;
            port.get(digits..)?
        }
        None => after,
    };
    match after {
        "" => Some((host, "/")),
        _ if after.starts_with('/') => Some((host, after)),
        _ => None,
    }
}

/// A resource indicator (RFC 8707 §2): an absolute URI without fragment; the audience of tokens minted for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceIndicator(String);

impl ResourceIndicator {
    /// Checks a resource indicator.
    ///
    /// # Errors
    /// [`UriError`] when the text is not an absolute URI, has a fragment, or carries a user name.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        absolute(text)?;
        Ok(Self(text.to_owned()))
    }

    /// Tells whether a presented indicator means this registered one: letter case of scheme and host, a default port
    /// and one trailing slash are forgiven, because clients add and drop them (RFC 3986 §6.2.2, §6.2.3).
    pub fn matches(&self, presented: &str) -> bool {
        if self.0 == presented {
            return true;
        }
        match (absolute(&self.0), absolute(presented)) {
            (Ok(ours), Ok(theirs)) => without_slash(&ours) == without_slash(&theirs),
            _ => false,
        }
    }

    /// A presented indicator in the one spelling that everybody can make of it: small letters in scheme and host, no default
    /// port, no dot segments. A slash at the end stays as it was sent: nobody has registered this resource one way or the other.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn canonical(presented: &str) -> Result<Self, UriError> {
        let url = absolute(presented)?;
        let text = url.as_str();
        let slash_is_ours = url.path() == "/" && url.query().is_none() && !presented.ends_with('/');
        let text = if slash_is_ours { without_slash(&url) } else { text };
        Self::parse(text)
    }

    /// What two indicators have in common when [`matches`](Self::matches) takes one for the other: for looking them up.
    pub(crate) fn lookup_key(presented: &str) -> Option<String> {
        absolute(presented).ok().map(|url| without_slash(&url).to_owned())
    }

    /// The indicator as it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceIndicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn without_slash(url: &Url) -> &str {
    url.as_str().strip_suffix('/').unwrap_or(url.as_str())
}

/// A URL that the daemon may fetch from or post to, so far as its text can tell: https, a host in its one usual spelling, no user
/// name, no fragment. Whether the address behind the name may be dialled is judged when it is dialled ([`crate::address`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchUrl {
    text: String,
    host: String,
    literal: Option<IpAddr>,
    port: u16,
    target: String,
}

impl FetchUrl {
    /// Checks a URL.
    ///
    /// # Errors
    /// [`UriError`] with the reason. A host that the parser had to rewrite (`0x7f.1`, `%31`) and one with a dot at the end are
    /// refused: whoever writes those wants them to be read in two ways.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let url = absolute(text)?;
        let scheme = text.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let rest = scheme.and(text.get(8..)).ok_or(UriError::NotHttps)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = path.split('?').next().unwrap_or_default();
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(UriError::Path);
        }
        let host = url.host_str().filter(|host| !host.ends_with('.')).ok_or(UriError::Host)?;
        let (spelled, after) = authority.split_at_checked(host.len()).ok_or(UriError::Host)?;
        if !spelled.eq_ignore_ascii_case(host) || !(after.is_empty() || after.starts_with(':')) {
            return Err(UriError::Host);
        }
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(UriError::NotHttps)?;
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(_)) | None => None,
        };
        let target = url[Position::BeforePath..Position::AfterQuery].to_owned();
        Ok(Self { text: text.to_owned(), host: host.to_owned(), literal, port, target })
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host in small letters; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address, when the host is written as one.
    pub const fn literal(&self) -> Option<IpAddr> {
        self.literal
    }

    /// The port: 443 unless another one is written.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as a request line has them.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for FetchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_issuer_has_one_spelling() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        assert_eq!((issuer.host(), issuer.host_and_port().as_str()), ("idp.tail.test", "idp.tail.test:443"));
        assert_eq!(issuer.endpoint("/token"), "https://idp.tail.test/token");
        let port = Issuer::parse("https://idp.tail.test:8443").unwrap();
        assert_eq!((port.host(), port.host_and_port().as_str()), ("idp.tail.test", "idp.tail.test:8443"));
        assert!(Issuer::parse("http://127.0.0.1:8080").is_ok());
        for bad in [
            "https://idp.tail.test/",
            "https://idp.tail.test/t",
            "https://IDP.tail.test",
            "https://idp.tail.test:443",
            "http://idp.tail.test",
            "https://idp.tail.test?x",
            "https://idp.tail.test#x",
            "https://u@idp.tail.test",
            "idp.tail.test",
            "",
            "https://",
        ] {
            assert!(Issuer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redirect_uris_that_are_never_registered() {
        for (bad, why) in [
            ("javascript:alert(1)", UriError::Scheme),
            ("JavaScript:alert(1)", UriError::Scheme),
            ("data:text/html,x", UriError::Scheme),
            ("file:///etc/passwd", UriError::Scheme),
            ("blob:https://a/b", UriError::Scheme),
            ("about:blank", UriError::Scheme),
            ("vbscript:x", UriError::Scheme),
            ("https://a.test/cb#f", UriError::Fragment),
            ("https://good.test@evil.test/cb", UriError::UserInfo),
            ("https://a.test/x/../cb", UriError::Path),
            ("https://ä.test/cb", UriError::Malformed),
            ("https://a.test/c b", UriError::Malformed),
            ("https://a.test\\@evil.test", UriError::Malformed),
            ("/cb", UriError::Malformed),
            ("https:a.test/cb", UriError::Malformed),
            ("", UriError::Malformed),
        ] {
            assert_eq!(RedirectUri::parse(bad), Err(why), "{bad}");
        }
        for good in [
            "https://a.test/cb",
            "cursor://anysphere.cursor-retrieval/oauth/cb",
            "app.x:///oauth-callback",
            "http://lan/cb",
        ] {
            assert!(RedirectUri::parse(good).is_ok(), "{good}");
        }
        for ours in ["https://app.test/cb?iss=x", "https://app.test/?a=1&co%64e=2", "app.x:/cb?state="] {
            assert_eq!(RedirectUri::parse(ours), Err(UriError::Parameter), "{ours}");
        }
        assert!(RedirectUri::parse("http://lan/cb").unwrap().is_plain_http());
        assert!(!RedirectUri::parse("http://localhost/cb").unwrap().is_plain_http());
    }

    /// A8 of the attack list: exact match only; a loopback host may use any port, nothing else varies.
    #[test]
    fn redirects_match_exactly() {
        let registered = RedirectUri::parse("https://app.test/cb?tenant=1").unwrap();
        assert!(registered.matches("https://app.test/cb?tenant=1"));
        for other in [
            "https://app.test/cb",
            "https://app.test/cb?tenant=1&x=2",
            "https://APP.test/cb?tenant=1",
            "https://app.test:443/cb?tenant=1",
            "https://app.test./cb?tenant=1",
            "https://app.test/cb?tenant=1#f",
            "https://app.test/%63b?tenant=1",
            "https://app.test/cb/?tenant=1",
            "https://app.test/x/../cb?tenant=1",
            "https://app.test\\cb?tenant=1",
            "https://app.test/cb?tenant=1\t",
            "https://app.test@evil.test/cb?tenant=1",
            "http://app.test/cb?tenant=1",
            "https://app.test/cb?tenant=1\0",
        ] {
            assert!(!registered.matches(other), "{other}");
        }
    }

    #[test]
    fn loopback_ports_are_free_and_nothing_else() {
        let registered = RedirectUri::parse("http://127.0.0.1/cb").unwrap();
        assert!(registered.matches("http://127.0.0.1:49152/cb"));
        for other in [
            "http://localhost:49152/cb",
            "http://127.0.0.1:49152/cb2",
            "http://127.0.0.1:99999/cb",
            "https://127.0.0.1/cb",
            "http://127.0.0.1:1x/cb",
            "http://127.0.0.1:80@evil.test/cb",
            "http://127.0.0.1.evil.test/cb",
            "http://127.0.0.1:49152/cb?x",
            "http://127.0.0.1:49152/cb#x",
            "http://127.0.0.2/cb",
            "http://[::1]/cb",
        ] {
            assert!(!registered.matches(other), "{other}");
        }
        let bare = RedirectUri::parse("http://localhost:33418").unwrap();
        assert!(bare.matches("http://localhost:1/"));
        assert!(bare.matches("http://localhost"));
        assert!(!bare.matches("http://localhost?x=1"));
        assert!(RedirectUri::parse("http://[::1]:5/").unwrap().matches("http://[::1]:6/"));
    }

    #[test]
    fn resources_forgive_case_port_and_one_slash() {
        let registered = ResourceIndicator::parse("https://mcp.test/mcp").unwrap();
        for same in ["https://mcp.test/mcp/", "HTTPS://MCP.test/mcp", "https://mcp.test:443/mcp"] {
            assert!(registered.matches(same), "{same}");
        }
        for other in
            ["https://mcp.test/mcp//", "https://mcp.test/", "https://mcp.test/mcp?x", "http://mcp.test/mcp"]
        {
            assert!(!registered.matches(other), "{other}");
        }
        assert!(ResourceIndicator::parse("https://mcp.test").unwrap().matches("https://mcp.test/"));
        assert_eq!(ResourceIndicator::parse("https://mcp.test/#x"), Err(UriError::Fragment));
        assert_eq!(ResourceIndicator::parse("mcp"), Err(UriError::Malformed));
        assert!(ResourceIndicator::parse("urn:example:mcp").is_ok());
    }

    #[test]
    fn what_is_fetched_has_one_reading() {
        let url = FetchUrl::parse("https://App.test:8443/keys/jwks.json?v=1").unwrap();
        assert_eq!((url.host(), url.port(), url.target()), ("app.test", 8443, "/keys/jwks.json?v=1"));
        assert_eq!((url.as_str(), url.literal()), ("https://App.test:8443/keys/jwks.json?v=1", None));
        let bare = FetchUrl::parse("HTTPS://app.test:443").unwrap();
        assert_eq!((bare.host(), bare.port(), bare.target()), ("app.test", 443, "/"));
        let four = FetchUrl::parse("https://192.168.1.5/x").unwrap();
        assert_eq!((four.host(), four.literal()), ("192.168.1.5", Some([192, 168, 1, 5].into())));
        let six = FetchUrl::parse("https://[fd00::5]:9000/x").unwrap();
        assert_eq!((six.host(), six.literal(), six.port()), ("[fd00::5]", "fd00::5".parse().ok(), 9000));
        for (bad, why) in [
            ("http://app.test/x", UriError::NotHttps),
            ("ftp://app.test/x", UriError::NotHttps),
            ("https:app.test/x", UriError::NotHttps),
            ("https:/app.test/x", UriError::NotHttps),
            ("https:///app.test/x", UriError::Host),
            ("https://app.test:0/x", UriError::NotHttps),
            ("https://user@app.test/x", UriError::UserInfo),
            ("https://user:secret@app.test/x", UriError::UserInfo),
            ("https://@app.test/x", UriError::Host),
            ("https://app.test/x#f", UriError::Fragment),
            ("https://app.test/a/../x", UriError::Path),
            ("https://app.test/./x", UriError::Path),
            ("https://app.test./x", UriError::Host),
            // 127.0.0.1, as browsers and C libraries read it.
            ("https://2130706433/", UriError::Host),
            ("https://0x7f.1/", UriError::Host),
            ("https://0177.0.0.1/", UriError::Host),
            ("https://127.1/", UriError::Host),
            ("https://0/", UriError::Host),
            ("https://%31%32%37.0.0.1/", UriError::Host),
            ("https://127.0.0.1./", UriError::Host),
            ("https://[0:0:0:0:0:0:0:1]/", UriError::Host),
            ("https://[::ffff:127.0.0.1]/", UriError::Host),
            ("https://[fe80::1%25eth0]/", UriError::Malformed),
            ("https://app.test\\@evil.test/", UriError::Malformed),
            ("https://\u{ff10}/", UriError::Malformed),
            ("https://app.test/\n", UriError::Malformed),
            ("https://", UriError::Malformed),
            ("", UriError::Malformed),
        ] {
            assert_eq!(FetchUrl::parse(bad), Err(why), "{bad}");
        }
    }

    proptest! {
        /// Whatever passes is dialled at the host that a reader sees between `//` and the next delimiter.
        #[test]
        fn the_host_of_what_is_fetched_is_the_one_in_the_text(text in r"https://[0-9a-fx.:@%/?\[\]-]{1,24}") {
            if let Ok(url) = FetchUrl::parse(&text) {
                let rest = text.strip_prefix("https://").unwrap();
                let authority = rest.split(['/', '?']).next().unwrap();
                let port = authority.strip_prefix(url.host()).unwrap();
                prop_assert!(port.is_empty() || port.strip_prefix(':').unwrap().bytes().all(|b| b.is_ascii_digit()));
                prop_assert!(url.target().starts_with('/'));
            }
        }

        #[test]
        fn only_the_same_bytes_match(presented in "https://[ -~]{0,30}") {
            let registered = RedirectUri::parse("https://app.test/cb").unwrap();
            prop_assert_eq!(registered.matches(&presented), presented == "https://app.test/cb");
        }

        #[test]
        fn any_port_matches_on_loopback(port in 0u16..) {
            let registered = RedirectUri::parse("http://localhost/cb").unwrap();
            let presented = format!("http://localhost:{port}/cb");
            prop_assert!(registered.matches(&presented));
        }

        #[test]
        fn nothing_panics(registered in "\\PC{0,40}", presented in "\\PC{0,40}") {
            if let Ok(uri) = RedirectUri::parse(&registered) {
                let _ = uri.matches(&presented);
            }
            let _ = (Issuer::parse(&registered), ResourceIndicator::parse(&presented), FetchUrl::parse(&presented));
        }
    }
}
