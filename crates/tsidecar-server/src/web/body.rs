//! Reads a form body: content type, size, deadline. Bounds come before parsing (attack A27).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Body;
use hyper::header::{self, HeaderMap};
use tsidecar_oauth::params::Params;

use crate::failure::Failure;

/// The largest body that is read (design section 14).
pub const LARGEST: usize = 64 * 1024;

/// How long a client may take to send its body.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// OAuth parameters that have no place in the query of a POST (design section 7): two parsers must not disagree.
const NOT_IN_QUERY: [&str; 22] = [
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "grant_type",
    "code",
    "code_verifier",
    "redirect_uri",
    "refresh_token",
    "scope",
    "resource",
    "access_token",
    "token",
    "response_type",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "request",
    "request_uri",
];

/// Reads an `application/x-www-form-urlencoded` body.
///
/// # Errors
/// [`Failure`] when the type is another, the body too large or too slow, a parameter repeated, or an OAuth parameter
/// stands in the query.
pub async fn form<B>(headers: &HeaderMap, query: Option<&str>, body: B) -> Result<Params, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if query.is_some_and(|query| {
        Params::parse(query.as_bytes()).map_or(true, |params| params.names_any(&NOT_IN_QUERY))
    }) {
        return Err(Failure::invalid_request("parameters belong into the body of a POST, not into the URL"));
    }
    if !is_form(headers) {
        return Err(Failure::invalid_request("the Content-Type must be application/x-www-form-urlencoded"));
    }
    Ok(Params::parse(&read(body).await?)?)
}

/// Reads a body of at most [`LARGEST`] bytes within [`DEADLINE`].
///
/// # Errors
/// [`Failure::Http`] with 413 or 408, or 400 when the connection broke off.
pub async fn read<B>(body: B) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_slow =
        Failure::Http { status: StatusCode::REQUEST_TIMEOUT, description: "the body took too long" };
    let collected = tokio::time::timeout(DEADLINE, Limited::new(body, LARGEST).collect()).await;
    match collected.map_err(|_| too_slow)? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::Http {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            description: "the body is larger than 64 KiB",
        }),
        Err(_) => Err(Failure::invalid_request("the body could not be read")),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
