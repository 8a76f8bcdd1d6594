//! Request headers that must stand once and be text.

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};

/// A header stands twice, or is not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Authorization header is repeated or not text")]
pub struct Unreadable;

/// The Authorization header (RFC 9110 §11.6.2), if there is one.
///
/// # Errors
/// [`Unreadable`] when it is repeated, or not visible ASCII.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&str>, Unreadable> {
    once(headers, &AUTHORIZATION)
}

/// A header that stands once, if there is one.
///
/// # Errors
/// [`Unreadable`] when it is repeated, or not visible ASCII.
pub fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Unreadable> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    match (first.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Unreadable),
    }
}
