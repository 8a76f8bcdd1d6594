//! Pages for people: readable, escaped, strict headers, no script; on a phone and in dark mode as well.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::response::{Answer, bytes};

/// What a page may do: nothing but show its own style (attack A11).
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'sha256-gWvOs9jWiDLVjE+LiXSdSfNCXSbfv0NUg5WDqHrsq18='; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

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
        let mut answer = bytes(status, "text/html; charset=utf-8", text);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        answer
    }
}
