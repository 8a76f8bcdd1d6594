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

/// Tells whether a browser that says how it came is showing the answer in a window of its own: not in the background, not in a
/// frame. Clients that say nothing are no browsers.
pub fn is_window(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let navigates = text("sec-fetch-mode") == Some("navigate");
    let framed = !matches!(text("sec-fetch-dest"), None | Some("document"));
    !headers.contains_key(FETCH_SITE) || (navigates && !framed)
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

    #[test]
    fn a_window_is_no_frame_and_no_script() {
        let window = |pairs: &[_]| is_window(&headers(pairs));
        let site = ("sec-fetch-site", "none");
        assert!(window(&[]));
        assert!(window(&[site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]));
        assert!(!window(&[site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]));
        assert!(!window(&[site, ("sec-fetch-mode", "cors")]));
        assert!(!window(&[site]));
    }
}
