//! What one request says of its sender: one forwarded address, or nothing.
//!
//! `tailscale serve` replaces `X-Forwarded-For` by exactly one bare address and sets `Tailscale-Funnel-Request` on what
//! came from the internet. Every other header that claims something about the sender decides nothing here, however it is
//! spelled.

use std::{fmt, net::IpAddr};

use hyper::{
    HeaderMap,
    header::{AsHeaderName, HeaderValue, ORIGIN},
};
use tsidecar_oauth::{id::Listener, uri::Issuer};

use crate::peer::ListenerContext;

/// Where a request came from, as far as it can be believed. No identity yet: whois gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    origin: Origin,
    listener: Listener,
    from_web_page: bool,
    login: Option<ClaimedLogin>,
}

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Anybody on the internet, by way of Funnel: public endpoints only, and whois is never asked.
    Funnel,
    /// Whoever has this address; whois knows.
    Address(IpAddr),
}

/// Prints the sender as logs name it: `funnel`, or the address.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Funnel => f.write_str("funnel"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// The login name that serve says the sender has. It is no identity: it must equal what whois says, or somebody other
/// than serve wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedLogin(String);

/// Why a request is refused before anybody is asked who sent it: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// No `X-Forwarded-For`.
    #[error(
        "the request does not say where it comes from (no X-Forwarded-For); only `tailscale serve` or a configured proxy may stand in front"
    )]
    NoAddress,
    /// More than one `X-Forwarded-For` field.
    #[error("the request has several X-Forwarded-For fields; the proxy must replace the client's by one")]
    SeveralAddresses,
    /// Not one bare address.
    #[error("X-Forwarded-For is not one bare IP address, without port, list, brackets, zone or IPv4 mapping")]
    Address,
    /// Not over TLS, though the issuer is https.
    #[error(
        "the request did not come over https; serve port 443 with `tailscale serve --https`, or let the proxy set X-Forwarded-Proto: https"
    )]
    NotHttps,
    /// `Tailscale-User-Login` twice, or not text.
    #[error("the request has an unreadable Tailscale-User-Login, which `tailscale serve` does not send")]
    Login,
}

/// Reads who sent a request from the headers that the one in front of us sets.
///
/// # Errors
/// [`CallerError`] when the headers are not those of `tailscale serve` (or of a proxy that acts alike).
pub fn caller(
    context: &ListenerContext,
    issuer: &Issuer,
    headers: &HeaderMap,
) -> Result<Caller, CallerError> {
    // The address is demanded of Funnel's callers too: serve always sets it.
    let address = forwarded_address(headers)?;
    if issuer.as_str().starts_with("https://") && !came_over_https(headers) {
        return Err(CallerError::NotHttps);
    }
    let (origin, login) = if came_by_funnel(headers) {
        (Origin::Funnel, None)
    } else {
        (Origin::Address(address), claimed_login(headers)?)
    };
    let from_web_page = is_from_web_page(headers);
    Ok(Caller { origin, listener: context.listener().clone(), from_web_page, login })
}

/// Whether serve says that a request came from the internet, with any value of its marker: all that documents need to know of their
/// reader.
pub fn came_by_funnel(headers: &HeaderMap) -> bool {
    headers.contains_key(FUNNEL)
}

/// The name of a header that only a forwarder sets; a caller of the admin or ops socket has none (attack A36).
pub fn forwarders_header(headers: &HeaderMap) -> Option<&str> {
    headers.keys().map(hyper::header::HeaderName::as_str).find(|name| {
        let name = name.replace('_', "-");
        name == "forwarded" || name.starts_with("x-forwarded-") || name.starts_with("tailscale-")
    })
}

impl Caller {
    /// The sender.
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The way in. It belongs to the identity: capabilities are per destination.
    pub const fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Whether a web page may have sent this: it has `Origin`, or a `Sec-Fetch-Site` other than `same-origin`. Such a
    /// request gets no authority from whois at machine endpoints: a page in somebody's browser is not that person.
    pub const fn is_from_web_page(&self) -> bool {
        self.from_web_page
    }

    /// The login name that whois must confirm, if the request carries one.
    pub const fn claimed_login(&self) -> Option<&ClaimedLogin> {
        self.login.as_ref()
    }
}

impl ClaimedLogin {
    /// Tells whether the header is serve's spelling of this login name: the name itself, or RFC 2047 when it is not ASCII.
    pub fn is(&self, login: &str) -> bool {
        self.0 == login || decode_words(&self.0).is_some_and(|decoded| decoded == login)
    }
}

fn forwarded_address(headers: &HeaderMap) -> Result<IpAddr, CallerError> {
    let text = match only(headers, FORWARDED_FOR) {
        Only::None => return Err(CallerError::NoAddress),
        Only::Several => return Err(CallerError::SeveralAddresses),
        Only::One(value) => value.to_str().map_err(|_| CallerError::Address)?,
    };
    let address: IpAddr = text.parse().map_err(|_| CallerError::Address)?;
    // One spelling per address: a mapped one would be a second name for the same peer.
    if address.to_canonical() == address { Ok(address) } else { Err(CallerError::Address) }
}

fn came_over_https(headers: &HeaderMap) -> bool {
    matches!(only(headers, FORWARDED_PROTO), Only::One(value) if value == "https")
}

fn claimed_login(headers: &HeaderMap) -> Result<Option<ClaimedLogin>, CallerError> {
    match only(headers, LOGIN) {
        Only::None => Ok(None),
        Only::Several => Err(CallerError::Login),
        // serve sends an empty one for a name that is no UTF-8: it says nothing.
        Only::One(value) if value.is_empty() => Ok(None),
        Only::One(value) => {
            let text = value.to_str().map_err(|_| CallerError::Login)?;
            Ok(Some(ClaimedLogin(text.to_owned())))
        }
    }
}

fn is_from_web_page(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all(FETCH_SITE).iter();
    headers.contains_key(ORIGIN) || sites.any(|site| site != "same-origin")
}

enum Only<'a> {
    None,
    One(&'a HeaderValue),
    Several,
}

fn only(headers: &HeaderMap, name: impl AsHeaderName) -> Only<'_> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Only::None,
        (Some(value), None) => Only::One(value),
        (Some(_), Some(_)) => Only::Several,
    }
}

/// Decodes a text that consists of RFC 2047 encoded words in UTF-8 and Q, as Go's `mime.QEncoding` writes them.
fn decode_words(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    // White space between two encoded words is no part of the text (RFC 2047 §6.2).
    for word in text.split_ascii_whitespace() {
        let inner = word.strip_prefix("=?")?.strip_suffix("?=")?;
        let (charset, rest) = inner.split_once('?')?;
        let (encoding, encoded) = rest.split_once('?')?;
        if !charset.eq_ignore_ascii_case("utf-8") || !encoding.eq_ignore_ascii_case("q") {
            return None;
        }
        decode_q(encoded, &mut bytes)?;
    }
    String::from_utf8(bytes).ok()
}

fn decode_q(encoded: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = [rest.next()?, rest.next()?];
                let hex = std::str::from_utf8(&digits).ok()?;
                u8::from_str_radix(hex, 16).ok().filter(|_| digits.iter().all(u8::is_ascii_hexdigit))?
            }
            other => other,
        });
    }
    Some(())
}

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";
const FUNNEL: &str = "tailscale-funnel-request";
const LOGIN: &str = "tailscale-user-login";
const FETCH_SITE: &str = "sec-fetch-site";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Role;

    fn read(headers: &[(&'static str, &str)]) -> Result<Caller, CallerError> {
        read_at("https://idp.tail.test", headers)
    }

    fn read_at(issuer: &str, headers: &[(&'static str, &str)]) -> Result<Caller, CallerError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let context = ListenerContext::new(Role::Host, "/run/tsidecar/serve.sock".into()).unwrap();
        caller(&context, &Issuer::parse(issuer).unwrap(), &map)
    }

    const HTTPS: (&str, &str) = ("x-forwarded-proto", "https");
    const ALICE: (&str, &str) = ("x-forwarded-for", "100.64.0.2");

    fn address(text: &str) -> Origin {
        Origin::Address(text.parse().unwrap())
    }

    #[test]
    fn serves_own_headers_are_read() {
        let caller = read(&[ALICE, HTTPS, ("x-forwarded-host", "evil.test")]).unwrap();
        assert_eq!(caller.origin(), address("100.64.0.2"));
        assert_eq!(caller.listener(), &Listener::host());
        assert!(!caller.is_from_web_page() && caller.claimed_login().is_none());
        let caller = read(&[("x-forwarded-for", "fd7a:115c:a1e0::2"), HTTPS]).unwrap();
        assert_eq!(caller.origin(), address("fd7a:115c:a1e0::2"));
    }

    /// A12, A37: whatever is not exactly one bare address is refused.
    #[test]
    fn anything_but_one_bare_address_is_refused() {
        assert_eq!(read(&[HTTPS]), Err(CallerError::NoAddress));
        assert_eq!(read(&[ALICE, ALICE, HTTPS]), Err(CallerError::SeveralAddresses));
        for bad in [
            "",
            "100.64.0.2, 100.64.0.3",
            "100.64.0.2,",
            "100.64.0.2:443",
            "[fd7a:115c:a1e0::2]",
            "[fd7a:115c:a1e0::2]:443",
            "fe80::1%eth0",
            "::ffff:100.64.0.2",
            "0::FFFF:6440:2",
            "100.64.00.2",
            "100.64.2",
            "1681915906",
            "unknown",
            "localhost",
            "100.64.0.2\t100.64.0.3",
            "100.64.0.2;for=100.64.0.3",
            "\u{ff11}00.64.0.2",
        ] {
            assert_eq!(read(&[("x-forwarded-for", bad), HTTPS]), Err(CallerError::Address), "{bad:?}");
        }
    }

    /// A12: no other header says who the sender is, however it is spelled.
    #[test]
    fn twins_and_relatives_decide_nothing() {
        let liars = [
            ("x_forwarded_for", "100.64.0.66"),
            ("x-forwarded_for", "100.64.0.66"),
            ("forwarded", "for=100.64.0.66;proto=http"),
            ("x-real-ip", "100.64.0.66"),
            ("true-client-ip", "100.64.0.66"),
            ("x-client-ip", "100.64.0.66"),
            ("x-original-forwarded-for", "100.64.0.66"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-port", "80"),
            ("x_forwarded_proto", "http"),
            ("tailscale_user_login", "bob@example.com"),
            ("tailscale-user-name", "Bob"),
            ("tailscale-app-capabilities", "{}"),
            ("tailscale_funnel_request", "?1"),
            ("host", "evil.test"),
        ];
        let mut all = vec![ALICE, HTTPS];
        all.extend(liars);
        assert_eq!(read(&all), read(&[ALICE, HTTPS]));
        for liar in liars {
            assert_eq!(read(&[liar, HTTPS]), Err(CallerError::NoAddress), "{liar:?}");
        }
        assert_eq!(read(&[ALICE, ("x_forwarded_proto", "https")]), Err(CallerError::NotHttps));
    }

    #[test]
    fn an_https_issuer_is_spoken_to_over_https() {
        assert_eq!(read(&[ALICE]), Err(CallerError::NotHttps));
        for bad in ["http", "HTTPS", "https, https", "https,http", "", "wss"] {
            assert_eq!(read(&[ALICE, ("x-forwarded-proto", bad)]), Err(CallerError::NotHttps), "{bad}");
        }
        assert_eq!(read(&[ALICE, HTTPS, HTTPS]), Err(CallerError::NotHttps));
        assert!(read_at("http://127.0.0.1:8080", &[ALICE]).is_ok());
    }

    /// A13: whatever the marker says, the sender is the internet, and serve's other headers say nothing.
    #[test]
    fn funnels_marker_makes_a_stranger() {
        for value in ["?1", "?0", "", "0", "false", "\u{e4}"] {
            let marker = ("tailscale-funnel-request", value);
            let caller = read(&[ALICE, HTTPS, marker, ("tailscale-user-login", "a@x"), marker]).unwrap();
            assert_eq!((caller.origin(), caller.claimed_login()), (Origin::Funnel, None), "{value:?}");
        }
        // It does not excuse from anything.
        assert_eq!(read(&[HTTPS, ("tailscale-funnel-request", "?1")]), Err(CallerError::NoAddress));
        assert_eq!(read(&[ALICE, ("tailscale-funnel-request", "?1")]), Err(CallerError::NotHttps));
    }

    #[test]
    fn web_pages_are_told_from_programs() {
        let from = |headers: &[_]| read(&[&[ALICE, HTTPS], headers].concat()).unwrap().is_from_web_page();
        assert!(!from(&[]));
        assert!(!from(&[("sec-fetch-site", "same-origin")]));
        assert!(!from(&[("sec-fetch-mode", "cors")]), "Node's fetch sends it");
        for site in ["cross-site", "same-site", "none", "", "Same-Origin", "same-origin, cross-site"] {
            assert!(from(&[("sec-fetch-site", site)]), "{site}");
        }
        assert!(from(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]));
        for origin in ["https://idp.tail.test", "https://evil.test", "null", ""] {
            assert!(from(&[("origin", origin), ("sec-fetch-site", "same-origin")]), "{origin}");
        }
    }

    #[test]
    fn a_claimed_login_is_compared_in_both_spellings() {
        let login = |text: &str| {
            let caller = read(&[ALICE, HTTPS, ("tailscale-user-login", text)]).unwrap();
            caller.claimed_login().cloned()
        };
        assert!(login("alice@example.com").unwrap().is("alice@example.com"));
        assert!(!login("alice@example.com").unwrap().is("Alice@example.com"));
        assert!(!login("alice@example.com").unwrap().is(""));
        assert!(login("=?utf-8?q?j=C3=BCrgen@example.com?=").unwrap().is("jürgen@example.com"));
        assert!(login("=?UTF-8?Q?j=C3=BCrgen_?= =?utf-8?q?b@x?=").unwrap().is("jürgen b@x"));
        for bad in
            ["=?utf-8?q?j=C3?=", "=?utf-8?q?=+1?=", "=?utf-8?q?=C?=", "=?latin1?q?a?=", "=?utf-8?b?YQ==?="]
        {
            assert!(!login(bad).unwrap().is("a"), "{bad}");
        }
        assert_eq!(login(""), None);
        let twice = ("tailscale-user-login", "a@x");
        assert_eq!(read(&[ALICE, HTTPS, twice, twice]), Err(CallerError::Login));
        assert_eq!(read(&[ALICE, HTTPS, ("tailscale-user-login", "ü@x")]), Err(CallerError::Login));
    }

    #[test]
    fn forwarders_betray_themselves() {
        let found = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append("accept", HeaderValue::from_static("*/*"));
            headers.append(name, HeaderValue::from_static("x"));
            forwarders_header(&headers).map(str::to_owned)
        };
        for name in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-anything",
            "x_forwarded_for",
            "tailscale-user-login",
        ] {
            assert_eq!(found(name).as_deref(), Some(name));
        }
        assert_eq!(found("user-agent"), None);
    }
}
