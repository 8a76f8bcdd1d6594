//! Answers: JSON, redirects, and the headers that every answer or every machine answer carries.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// The answer type of every endpoint: complete bytes, so that nothing is streamed half-made.
pub type Answer = Response<Full<Bytes>>;

const NOSNIFF: HeaderName = header::X_CONTENT_TYPE_OPTIONS;

/// Headers that scripts of other origins may send to machine endpoints.
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, DPoP, MCP-Protocol-Version");

/// Headers that scripts of other origins may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("WWW-Authenticate, DPoP-Nonce, Retry-After");

/// An answer with a body of one media type, not to be stored.
pub fn bytes(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    answer
}

/// A JSON answer, not to be stored (RFC 6749 §5.1).
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    bytes(status, "application/json", body)
}

/// An answer without a body, not to be stored.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = json(status, Bytes::new());
    answer.headers_mut().remove(header::CONTENT_TYPE);
    answer
}

/// A JSON document that changes rarely: relying parties may keep it for ten minutes, far less than the day for which a
/// new key is published before it signs.
pub fn document(body: Bytes) -> Answer {
    let mut answer = json(StatusCode::OK, body);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=600"));
    answer
}

/// A redirect to a location that an endpoint has proven: 302, or 303 after a POST, never 307 (RFC 9700 §4.12).
pub fn redirect(status: StatusCode, location: &str) -> Option<Answer> {
    let location = HeaderValue::from_str(location).ok()?;
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(answer)
}

/// Opens an answer of a machine endpoint to scripts of all origins, without credentials (design section 14).
pub fn with_cors(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    answer
}

/// The answer to a preflight request of a machine endpoint.
pub fn preflight(methods: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    answer
}
