//! Whether a form came from a page of ours (design section 5, attacks A23 and A49).

use hyper::header::{HeaderMap, ORIGIN};
use tsidecar_oauth::uri::Issuer;

const FETCH_SITE: &str = "sec-fetch-site";

/// Tells whether a state-changing request was sent by a page of this very origin: the browser says `same-origin`, or names the
/// issuer as `Origin`, and nothing that it says speaks against it. All nodes of a tailnet are one *site*, so no cookie rule helps.
pub fn is_our_own(headers: &HeaderMap, issuer: &Issuer) -> bool {
    let mut proven = false;
    for site in headers.get_all(FETCH_SITE) {
        if site != "same-origin" {
            return false;
        }
        proven = true;
    }
    for origin in headers.get_all(ORIGIN) {
        if origin != issuer.as_str() {
            return false;
        }
        proven = true;
    }
    proven
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_a_page_of_ours_may_send_a_form() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let ours = |pairs: &[_]| is_our_own(&headers(pairs), &issuer);
        assert!(ours(&[("sec-fetch-site", "same-origin")]));
        assert!(ours(&[("origin", "https://idp.tail.test")]));
        assert!(ours(&[("sec-fetch-site", "same-origin"), ("origin", "https://idp.tail.test")]));
        for forged in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "https://idp.tail.test.evil.test")],
            &[("origin", "http://idp.tail.test")],
            &[("sec-fetch-site", "same-site"), ("origin", "https://idp.tail.test")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-origin"), ("origin", "null")],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://app.tail.test")],
        ] {
            assert!(!ours(forged), "{forged:?}");
        }
    }
}
