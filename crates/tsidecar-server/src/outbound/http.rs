//! One request and its answer over one verified connection: HTTP/1.1, nothing followed, nothing unpacked, nothing larger than asked.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::error::FetchError;
use super::freshness::freshness;
use super::tls::Verified;

/// The head of an answer, in bytes and in lines.
const LONGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// What a host answered.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status; redirects are among them, and nobody follows one.
    pub status: StatusCode,
    /// The body of a 200; of all others nothing is read.
    pub body: Bytes,
    headers: HeaderMap,
}

impl Fetched {
    /// The media type, as it was written.
    pub fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE)?.to_str().ok()
    }

    /// How long it counts as fresh, by `Cache-Control` and `Age`: between 5 minutes and 24 hours.
    pub fn freshness(&self) -> Duration {
        freshness(&self.headers)
    }
}

/// Sends a request and reads its answer, with at most so many bytes of body.
pub(super) async fn ask(
    stream: Verified,
    request: Request<Full<Bytes>>,
    most_bytes: usize,
) -> Result<Fetched, FetchError> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(LONGEST_HEAD).max_headers(MOST_HEADERS);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(FetchError::Http)?;
    let _driven = Driven(tokio::spawn(async move {
        // What goes wrong with it shows at the request.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(FetchError::Http)?;
    let status = response.status();
    if status != StatusCode::OK {
        let (head, _) = response.into_parts();
        return Ok(Fetched { status, body: Bytes::new(), headers: head.headers });
    }
    read(response, most_bytes).await
}

async fn read(response: Response<Incoming>, most_bytes: usize) -> Result<Fetched, FetchError> {
    let (head, mut body) = response.into_parts();
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head.headers.get_all(CONTENT_ENCODING).iter().all(plain) {
        return Err(FetchError::Compressed);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are passed over; the deadline bounds how many there can be.
        let Ok(data) = frame.map_err(FetchError::Http)?.into_data() else { continue };
        if read.len() + data.len() > most_bytes {
            return Err(FetchError::TooLarge(most_bytes));
        }
        read.extend_from_slice(&data);
    }
    Ok(Fetched { status: head.status, body: read.freeze(), headers: head.headers })
}

/// The task that moves the bytes of a connection; it ends with the request, whatever the host would still send.
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}
