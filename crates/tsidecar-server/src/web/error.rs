//! Failure to status, headers and body: the only place that picks a status for a machine endpoint.

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde::Serialize;
use tsidecar_oauth::algorithm::VerifyAlgorithm;
use tsidecar_oauth::error::{ErrorCode, plain};
use tsidecar_oauth::uri::Issuer;
use tsidecar_oauth::userinfo::{BearerError, Scheme};

use super::response::{Answer, json};
use crate::failure::Failure;

/// The body of every error of a machine endpoint (RFC 6749 §5.2).
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: &'a str,
}

/// An error of a machine endpoint. Quotes and backslashes have no place in a description (RFC 6749 §5.2).
pub fn oauth(status: StatusCode, code: ErrorCode, description: &str) -> Answer {
    named(status, code.as_str(), description)
}

fn named(status: StatusCode, error: &str, description: &str) -> Answer {
    let body =
        serde_json::to_vec(&Body { error, error_description: &plain(description) }).unwrap_or_default();
    json(status, body)
}

/// Turns a failure into an answer, and logs it once.
pub fn answer(failure: &Failure, issuer: &Issuer, challenge: Challenge) -> Answer {
    match failure {
        Failure::Refused { code, description } => {
            let client_failed = *code == ErrorCode::InvalidClient;
            let status = if client_failed { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
            let mut answer = oauth(status, *code, description);
            if client_failed && challenge == Challenge::Basic {
                challenge_header(&mut answer, &format!("Basic realm=\"{issuer}\", charset=\"UTF-8\""));
            }
            answer
        }
        Failure::Http { status, description } => oauth(*status, ErrorCode::InvalidRequest, description),
        Failure::Unavailable { retry_after, why } => {
            tracing::warn!(error.reason = %why, "a request was answered with 503");
            unavailable(*retry_after, why)
        }
        Failure::Broken { why } => {
            tracing::error!(error.reason = %why, "a request failed on our side");
            oauth(
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorCode::ServerError,
                "an error on our side; the log has more",
            )
        }
    }
}

/// Whether the client tried HTTP Basic, and so must be challenged when it fails (RFC 6749 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// It sent an Authorization header.
    Basic,
    /// It did not.
    None,
}

/// 503 with `Retry-After`: always `temporarily_unavailable`, because SDKs throw tokens away on `server_error`.
pub fn unavailable(retry_after: u32, why: &str) -> Answer {
    let mut answer = oauth(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TemporarilyUnavailable, why);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    answer
}

/// 429 with `Retry-After`, for a device that asks too often.
pub fn too_many(retry_after: u32) -> Answer {
    crowded(retry_after, "too many requests from this device; try again in a moment")
}

/// 429 with `Retry-After`.
pub fn crowded(retry_after: u32, text: &str) -> Answer {
    let mut answer = oauth(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TemporarilyUnavailable, text);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    answer
}

/// 403: an endpoint for devices of the tailnet only (design section 14).
pub fn outside() -> Answer {
    let text = "this endpoint works only from inside the tailnet";
    oauth(StatusCode::FORBIDDEN, ErrorCode::AccessDenied, text)
}

/// 403: the sender may not, and what to do about it.
pub fn denied(text: &str) -> Answer {
    oauth(StatusCode::FORBIDDEN, ErrorCode::AccessDenied, text)
}

/// 401: the registration access token is missing, which has no code (RFC 6750 §3.1), or opens nothing (RFC 7592 §2).
pub fn registration_token(code: Option<ErrorCode>, text: &str, issuer: &Issuer) -> Answer {
    let mut answer = oauth(StatusCode::UNAUTHORIZED, ErrorCode::InvalidToken, text);
    let error = code.map_or(String::new(), |code| format!(", error=\"{code}\""));
    challenge_header(&mut answer, &format!("Bearer realm=\"{issuer}\"{error}"));
    answer
}

/// 404 in JSON; unknown well-known paths answer so, too.
pub fn not_found() -> Answer {
    named(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

/// 405 in JSON.
pub fn method_not_allowed(allow: &'static str) -> Answer {
    let mut answer =
        oauth(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidRequest, "the method is not allowed here");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

/// A refusal of an access token, with the challenges of the schemes that would do (RFC 6750 §3, RFC 9449 §7.1).
pub fn bearer(error: BearerError, scheme: Scheme, issuer: &Issuer) -> Answer {
    let description = plain(&error.to_string());
    let algorithms = VerifyAlgorithm::NAMES.join(" ");
    let Some(code) = error.code() else {
        let mut answer = oauth(StatusCode::UNAUTHORIZED, ErrorCode::InvalidToken, &description);
        challenge_header(&mut answer, &format!("Bearer realm=\"{issuer}\""));
        challenge_header(&mut answer, &format!("DPoP realm=\"{issuer}\", algs=\"{algorithms}\""));
        return answer;
    };
    let status = match code {
        ErrorCode::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorCode::InsufficientScope => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    // A bound token is of no use as Bearer, nor an unbound one as DPoP.
    let (name, algorithms) = match (scheme, error) {
        (_, BearerError::Unbound) | (Scheme::Bearer, _) if error != BearerError::Bound => {
            ("Bearer", String::new())
        }
        _ => ("DPoP", format!(", algs=\"{algorithms}\"")),
    };
    let mut answer = oauth(status, code, &description);
    let scope = if code == ErrorCode::InsufficientScope { ", scope=\"openid\"" } else { "" };
    let challenge = format!(
        "{name} realm=\"{issuer}\", error=\"{code}\", error_description=\"{description}\"{scope}{algorithms}"
    );
    challenge_header(&mut answer, &challenge);
    answer
}

fn challenge_header(answer: &mut Answer, challenge: &str) {
    if let Ok(value) = HeaderValue::from_str(challenge) {
        answer.headers_mut().append(header::WWW_AUTHENTICATE, value);
    }
}
