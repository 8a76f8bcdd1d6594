//! How a browser says that its request came about (Fetch Metadata). Clients that say nothing are no browsers.

use hyper::header::HeaderMap;

/// What a browser says of its request.
#[derive(Clone, Copy, Debug)]
pub struct Navigation {
    names_site: bool,
    crosses: bool,
    navigates: bool,
    framed: bool,
}

impl Navigation {
    /// Reads the headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            names_site: headers.contains_key("sec-fetch-site"),
            crosses: text("sec-fetch-site") == Some("cross-site"),
            navigates: text("sec-fetch-mode") == Some("navigate"),
            framed: !matches!(text("sec-fetch-dest"), None | Some("document")),
        }
    }

    /// Whether the answer will be shown to nobody: a browser fetches it for a script or as an image.
    pub const fn is_in_background(self) -> bool {
        self.names_site && !self.navigates
    }

    /// Whether the answer will be shown inside another page.
    pub const fn is_framed(self) -> bool {
        self.names_site && self.framed
    }

    /// Whether the answer will be shown in a window of its own, as far as anybody says.
    pub const fn is_window(self) -> bool {
        !self.is_in_background() && !self.is_framed()
    }

    /// Whether a page of another site sent it.
    pub const fn crosses_sites(self) -> bool {
        self.crosses
    }

    /// Browsers withhold our cookie in a frame of another site: whether somebody signed out cannot be seen there, and a session
    /// that is begun there is one that the browser never shows again.
    pub const fn hides_cookies(self) -> bool {
        self.is_framed() && self.crosses
    }
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
    fn a_window_is_no_frame_and_no_script() {
        let window = |pairs: &[_]| Navigation::of(&headers(pairs)).is_window();
        let site = ("sec-fetch-site", "none");
        assert!(window(&[]));
        assert!(window(&[site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]));
        assert!(!window(&[site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]));
        assert!(!window(&[site, ("sec-fetch-mode", "cors")]));
        assert!(!window(&[site]));
    }
}
