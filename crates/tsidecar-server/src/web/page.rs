//! Pages for people: readable, escaped, strict headers, no script; on a phone and in dark mode as well.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::response::{Answer, bytes};

macro_rules! style {
    () => {
        "'sha256-gWvOs9jWiDLVjE+LiXSdSfNCXSbfv0NUg5WDqHrsq18='"
    };
}

/// The style of every page, by its hash.
pub const STYLE: &str = style!();

/// What a page may do: nothing but show its own style (attack A11).
const POLICY: HeaderValue = HeaderValue::from_static(concat!(
    "default-src 'none'; style-src ",
    style!(),
    "; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
));

/// A page that says what is wrong and what to do.
#[derive(Debug, Template)]
#[template(path = "notice.html")]
pub struct Notice<'a> {
    /// The heading: what is wrong, in a few words.
    pub title: &'a str,
    /// What happened, in a sentence.
    pub what: &'a str,
    /// What the reader can do about it.
    pub cure: &'a str,
    /// What to tell an administrator; shown small.
    pub detail: &'a str,
}

impl Notice<'_> {
    /// The page as an answer.
    pub fn answer(&self, status: StatusCode) -> Answer {
        let text = self.render().unwrap_or_else(|_| format!("{}. {}", self.title, self.what));
        html(status, text)
    }
}

/// A page, which may do nothing but show the one style of all pages.
pub fn html(status: StatusCode, text: String) -> Answer {
    page(status, text, POLICY)
}

/// A page as an answer, under a policy of its own.
pub(super) fn page(status: StatusCode, text: String, policy: HeaderValue) -> Answer {
    let mut answer = bytes(status, "text/html; charset=utf-8", text);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

/// The page of a passing state.
pub fn unavailable(detail: &str) -> Answer {
    let notice = Notice {
        title: "Sign-in is not possible right now",
        what: "The sign-in service is running, but it cannot tell who is calling at the moment.",
        cure: "Wait a few seconds and load this page again. If it stays like this, tell the person who runs this service.",
        detail,
    };
    notice.answer(StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use http_body_util::BodyExt;
    use sha2::{Digest, Sha256};

    use super::*;

    const NOTICE: Notice<'_> =
        Notice { title: "T", what: "<script>alert(1)</script>", cure: "C & \"D\"", detail: "" };

    fn text(answer: Answer) -> String {
        let collected = block_on(answer.into_body().collect());
        String::from_utf8(collected.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn the_policy_allows_exactly_the_style_of_the_page() {
        let page = text(NOTICE.answer(StatusCode::OK));
        let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = Base64::encode_string(&Sha256::digest(style.as_bytes()));
        assert!(POLICY.to_str().unwrap().contains(&format!("style-src 'sha256-{hash}'")), "sha256-{hash}");
    }

    /// A11: whatever stands in a page is text.
    #[test]
    fn pages_escape_and_carry_their_headers() {
        let answer = NOTICE.answer(StatusCode::BAD_REQUEST);
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let header = |name: &str| answer.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"));
        let page = text(answer);
        assert!(!page.contains("<script>") && page.contains("alert(1)"));
        assert!(page.contains("width=device-width") && page.contains("color-scheme"));
    }
}
