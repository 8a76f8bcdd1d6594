//! The little HTTP that the stand-ins need beside hyper: query parameters, percent-encoding, one request at a time.

use std::{fmt::Write as _, io, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1, http::response::Parts};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The decoded value of a query parameter.
pub(crate) fn query(text: &str, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(text.as_bytes());
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The text of a member of an object; empty when there is none.
pub(crate) fn member<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Encodes parameters for a query or a form.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Escapes text for HTML.
pub(crate) fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, c| {
        match c {
            '&' | '<' | '>' | '"' | '\'' => write!(html, "&#{};", u32::from(c)).unwrap_or_default(),
            _ => html.push(c),
        }
        html
    })
}

/// Sends one request over a new connection and reads the whole answer.
pub(crate) async fn fetch(to: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<(Parts, Bytes)> {
    let stream = TcpStream::connect(to).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    Ok((parts, body))
}
