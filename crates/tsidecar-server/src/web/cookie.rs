//! The one cookie: sealed, for this host alone, out of reach of scripts (design section 5).

use hyper::header::{COOKIE, HeaderMap, HeaderValue};
use tsidecar_oauth::secret::TokenText;
use tsidecar_oauth::time::Lifetime;

/// The name of the cookie. Its prefix makes browsers refuse it unless it is `Secure`, has no `Domain`, and `Path=/`: no
/// other host of the tailnet can plant one (RFC 6265bis §4.1.3.2).
pub const SESSION: &str = "__Host-tsidecar-session";

/// `Lax`: it comes along when an application sends the browser here, never with what a page elsewhere loads or posts.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// The session cookie of a request. One that stands twice counts as none: browsers send it once.
pub fn session(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == SESSION).map(|(_, value)| value);
    let first = values.next();
    if values.next().is_some() { None } else { first }
}

/// The header that sets the cookie for so long.
pub fn set_session(sealed: &TokenText, max_age: Lifetime) -> Option<HeaderValue> {
    let text = format!("{SESSION}={}; Max-Age={}; {ATTRIBUTES}", sealed.expose(), max_age.as_secs());
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The header that takes the cookie away.
pub fn forget_session() -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{SESSION}=; Max-Age=0; {ATTRIBUTES}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
        }
        session(&headers).map(str::to_owned)
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["a=b"]), None);
        assert_eq!(read(&["__Host-tsidecar-session=x"]), Some("x".into()));
        assert_eq!(read(&["a=b; __Host-tsidecar-session=x-_; c"]), Some("x-_".into()));
        assert_eq!(read(&["a=b", "__Host-tsidecar-session=x"]), Some("x".into()));
        assert_eq!(read(&["tsidecar-session=x; __host-tsidecar-session=y"]), None);
        assert_eq!(read(&["__Host-tsidecar-session=x; __Host-tsidecar-session=y"]), None);
    }

    #[test]
    fn the_cookie_is_for_this_host_alone() {
        let set = set_session(&TokenText::new("abc".into()), Lifetime::from_days(1)).unwrap();
        assert!(set.is_sensitive());
        assert_eq!(
            set.to_str().unwrap(),
            "__Host-tsidecar-session=abc; Max-Age=86400; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
        let forgotten = forget_session().unwrap();
        assert_eq!(
            forgotten.to_str().unwrap(),
            "__Host-tsidecar-session=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
    }
}
