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
const NOT_IN_QUERY: &[&str] = &[
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "grant_type",
    "code",
    "device_code",
    "user_code",
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
    "response_mode",
    "registration",
    "id_token_hint",
    "logout_hint",
    "post_logout_redirect_uri",
    "login_hint",
    "acr_values",
    "claims",
    "display",
    "ui_locales",
    "claims_locales",
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
    check_query(query)?;
    if !is_form(headers) {
        return Err(Failure::invalid_request("the Content-Type must be application/x-www-form-urlencoded"));
    }
    Ok(Params::parse(&read(body).await?)?)
}

/// Refuses the query of a POST that has OAuth parameters, or cannot be read.
///
/// # Errors
/// [`Failure`] with `invalid_request`.
pub fn check_query(query: Option<&str>) -> Result<(), Failure> {
    let has_any =
        |query: &str| Params::parse(query.as_bytes()).map_or(true, |params| params.names_any(NOT_IN_QUERY));
    if query.is_some_and(has_any) {
        return Err(Failure::invalid_request("parameters belong into the body of a POST, not into the URL"));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::Full;
    use hyper::body::Frame;
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(media_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media_type))])
    }

    async fn read_form(
        media_type: &'static str,
        query: Option<&str>,
        body: &'static str,
    ) -> Result<Params, String> {
        let body = Full::new(Bytes::from_static(body.as_bytes()));
        form(&headers(media_type), query, body).await.map_err(|failure| match failure {
            Failure::Refused { code, description } => format!("{code}: {description}"),
            other => format!("{other:?}"),
        })
    }

    #[tokio::test]
    async fn forms_and_nothing_else() {
        const FORM: &str = "application/x-www-form-urlencoded";
        assert_eq!(read_form(FORM, None, "a=1").await.unwrap().get("a"), Some("1"));
        assert!(
            read_form("Application/X-WWW-Form-Urlencoded; charset=utf-8", Some("x=1"), "a=1").await.is_ok()
        );
        for (media_type, query, body) in [
            ("application/json", None, "{}"),
            (FORM, Some("client_id=x"), "a=1"),
            (FORM, Some("code="), "a=1"),
            (FORM, Some("a=1&a=2"), "a=1"),
            (FORM, None, "a=1&a=2"),
        ] {
            let refused = read_form(media_type, query, body).await.err();
            assert!(
                refused.as_ref().is_some_and(|text| text.starts_with("invalid_request: ")),
                "{refused:?} {body}"
            );
        }
    }

    #[tokio::test]
    async fn a_large_body_is_cut_off() {
        let exact = Full::new(Bytes::from(vec![b'a'; LARGEST]));
        assert_eq!(read(exact).await.unwrap().len(), LARGEST);
        let larger = Full::new(Bytes::from(vec![b'a'; LARGEST + 1]));
        let failure = read(larger).await.unwrap_err();
        assert!(
            matches!(failure, Failure::Http { status: StatusCode::PAYLOAD_TOO_LARGE, .. }),
            "{failure:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_is_cut_off() {
        let failure = read(Endless).await.unwrap_err();
        assert!(matches!(failure, Failure::Http { status: StatusCode::REQUEST_TIMEOUT, .. }), "{failure:?}");
    }

    /// A body of which nothing ever comes.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Pending
        }
    }
}
