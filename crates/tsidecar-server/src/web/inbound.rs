//! The body of a request, and what becomes of the part that no handler read.
//!
//! hyper closes a connection whose request was answered before its body had come. tailscaled, still sending that body, would then
//! see a broken pipe and answer its client with an empty 502 in place of our 503, 429 or page. So what a handler left is read first.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Request;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::body::LARGEST;

/// How long an answer waits for the rest of a body that nobody wants.
const PATIENCE: Duration = Duration::from_secs(1);

/// The body of a request as handlers get it; when dropped unread it goes back to its connection.
#[derive(Debug)]
pub struct Inbound<B = hyper::body::Incoming> {
    body: Option<B>,
    back: Option<oneshot::Sender<B>>,
}

/// The connection's end: what the handler left.
#[derive(Debug)]
pub struct Leftover<B = hyper::body::Incoming>(oneshot::Receiver<B>);

/// Lends the body of a request to a handler.
pub fn lend<B>(request: Request<B>) -> (Request<Inbound<B>>, Leftover<B>) {
    let (back, leftover) = oneshot::channel();
    let request = request.map(|body| Inbound { body: Some(body), back: Some(back) });
    (request, Leftover(leftover))
}

impl<B> Leftover<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Reads and forgets the rest, as far as a body may go and for at most a second. The handler must be through.
    pub async fn discard(self) {
        if let Ok(body) = self.0.await
            && !body.is_end_stream()
        {
            let mut rest = Box::pin(Limited::new(body, LARGEST));
            let read = async { while let Some(Ok(_)) = rest.frame().await {} };
            let _ = tokio::time::timeout(PATIENCE, read).await;
        }
    }
}

impl<B: Body + Unpin> Body for Inbound<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.body.as_mut() {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Inbound<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Without a connection nobody wants it.
            let _ = back.send(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tokio::sync::mpsc;

    use super::*;

    /// A body whose frames a client still has to send.
    struct Late(mpsc::Receiver<Bytes>);

    impl Body for Late {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(context).map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }

    /// A request that was dropped unread: the client's end, and the connection's.
    fn unread() -> (mpsc::Sender<Bytes>, Leftover<Late>) {
        let (client, body) = mpsc::channel(1);
        let (request, leftover) = lend(Request::new(Late(body)));
        drop(request);
        (client, leftover)
    }

    #[tokio::test]
    async fn what_was_left_is_read() {
        let (sender, leftover) = unread();
        let client = tokio::spawn(async move {
            for _ in 0..3 {
                sender.send(Bytes::from_static(b"late")).await.unwrap();
            }
        });
        leftover.discard().await;
        client.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let (sender, leftover) = unread();
        leftover.discard().await;
        assert!(sender.is_closed());
    }

    #[tokio::test]
    async fn a_handler_reads_it_as_ever() {
        let (client, body) = mpsc::channel(1);
        let (request, leftover) = lend(Request::new(Late(body)));
        client.send(Bytes::from_static(b"all of it")).await.unwrap();
        drop(client);
        assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "all of it");
        leftover.discard().await;
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read_to_its_end() {
        let (sender, leftover) = unread();
        let client = tokio::spawn(async move {
            let mut sent = 0;
            while sender.send(Bytes::from(vec![0; 1024])).await.is_ok() {
                sent += 1024;
            }
            sent
        });
        leftover.discard().await;
        assert!(client.await.unwrap() <= LARGEST + 3 * 1024);
    }
}
