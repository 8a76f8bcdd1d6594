//! Listeners, connections, one spawned task per request, and the end of all that.
//!
//! hyper drops a handler when its connection closes, so each handler is a task of its own and the connection only waits for
//! it: what a request has begun is finished whether or not anybody waits for the answer.

mod patient;
#[cfg(test)]
mod tests;
mod workers;

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tsidecar_oauth::error::ErrorCode;

use self::patient::{Patient, Phase};
use self::workers::{NoAnswer, Workers};
use crate::app::App;
use crate::endpoint;
use crate::peer::caller::forwarders_header;
use crate::peer::{Bound, Door, Gate, ListenerContext, Peer, Role};
use crate::router;
use crate::web::error;
use crate::web::inbound::{self, Inbound};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// How long a connection may be idle.
    idle: Duration,
    /// How long the head of a request may take, once it has begun.
    head: Duration,
    /// How long one request may take.
    request: Duration,
    /// How long a request waits for its turn when too many are in flight.
    turn: Duration,
    /// How long the handlers may go on after the stop (design section 13).
    drain: Duration,
}

/// tailscaled keeps idle connections for 90 s, and one that we closed earlier could swallow a POST. A request's time fits
/// two questions to tailscaled, a body and a commit many times.
const TIMES: Times = Times {
    idle: Duration::from_mins(2),
    head: Duration::from_secs(10),
    request: Duration::from_secs(30),
    turn: Duration::from_secs(5),
    drain: Duration::from_secs(20),
};

/// The most bytes of a head: more than any browser sends (attack A27). Its fields are at most 100, hyper's default, which
/// it reads without allocating.
const LARGEST_HEAD: usize = 64 * 1024;

/// How many administrators' and health requests are worked on at once, whatever the others do.
const OWN_TURNS: usize = 16;

/// How many refused connections of one socket are logged in a minute.
const REFUSALS_LOGGED: NonZeroU32 = NonZeroU32::MIN.saturating_add(9);

/// What all connections of one socket share.
struct Shared {
    app: Arc<App>,
    gate: Arc<Gate>,
    context: ListenerContext,
    door: Door,
    workers: Workers,
    stop: CancellationToken,
    times: Times,
    refusals: DefaultDirectRateLimiter,
}

/// Serves all sockets until `stop`, then lets the handlers finish, at most 20 s, and closes the store whatever they do.
///
/// # Errors
/// When a socket cannot be handed to the runtime.
pub async fn serve(
    app: Arc<App>,
    gate: Arc<Gate>,
    sockets: Vec<Bound>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    serve_within(TIMES, app, gate, sockets, stop).await
}

async fn serve_within(
    times: Times,
    app: Arc<App>,
    gate: Arc<Gate>,
    sockets: Vec<Bound>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let (handlers, connections) = (TaskTracker::new(), TaskTracker::new());
    let workers = Workers::new(app.config.limits.requests_in_flight, &handlers, times);
    let own_workers = Workers::new(OWN_TURNS, &handlers, times);
    let mut files = Vec::new();
    for socket in sockets {
        let listener = UnixListener::from_std(socket.listener)?;
        files.push(socket.file);
        let is_own = matches!(socket.context.role(), Role::Admin | Role::Ops);
        let shared = Shared {
            app: Arc::clone(&app),
            gate: Arc::clone(&gate),
            context: socket.context,
            door: socket.door,
            workers: if is_own { own_workers.clone() } else { workers.clone() },
            stop: stop.clone(),
            times,
            refusals: RateLimiter::direct(Quota::per_minute(REFUSALS_LOGGED)),
        };
        connections.spawn(accept(listener, Arc::new(shared), connections.clone()));
    }
    stop.cancelled().await;
    drain(&app, &handlers, &connections, times.drain).await;
    drop(files);
    let store = Arc::clone(&app.store);
    tokio::task::spawn_blocking(move || store.close()).await.map_err(std::io::Error::other)
}

async fn drain(app: &App, handlers: &TaskTracker, connections: &TaskTracker, limit: Duration) {
    app.tailnet.going_down();
    connections.close();
    handlers.close();
    app.background.close();
    let finished = async {
        connections.wait().await;
        handlers.wait().await;
        app.background.wait().await;
    };
    if tokio::time::timeout(limit, finished).await.is_err() {
        let (handlers, connections) = (handlers.len(), connections.len());
        tracing::warn!(handlers, connections, "stopping although requests are still being worked on");
    }
}

/// Accepts connections, as many at once as configured; the others wait in the socket's queue.
async fn accept(listener: UnixListener, shared: Arc<Shared>, connections: TaskTracker) {
    let places = Arc::new(Semaphore::new(shared.app.config.limits.connections));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    connection(stream, shared).await;
                    drop(place);
                });
            }
            (_, Err(error)) => {
                // Out of file descriptors or memory: accepting again at once would spin.
                tracing::error!(listener = %shared.context.listener(), %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (Err(_), _) => return,
        }
    }
}

async fn connection(stream: UnixStream, shared: Arc<Shared>) {
    if let Err(refusal) = admit(&stream, &shared).await {
        if shared.refusals.check().is_ok() {
            tracing::warn!(
            target: crate::audit::TARGET,
            listener = %shared.context.listener(),
            error.reason = %refusal,
            "a connection was refused"
            );
        }
        return;
    }
    let (stop, times) = (shared.stop.clone(), shared.times);
    let phase = Phase::default();
    let stream = Patient::new(stream, phase.clone(), times.head);
    let service = service_fn(move |request| {
        phase.answering();
        let (shared, phase) = (Arc::clone(&shared), phase.clone());
        async move {
            let (request, leftover) = inbound::lend(request);
            let answered = answer(shared, request).await;
            leftover.discard().await;
            phase.answered();
            Ok::<_, Infallible>(answered)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(times.idle)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Judges the other end before a byte is read.
async fn admit(stream: &UnixStream, shared: &Shared) -> Result<(), String> {
    let credentials = stream.peer_cred().map_err(|error| error.to_string())?;
    let admitted = shared.gate.admit(shared.door, Peer::of(&credentials)).await;
    admitted.map_err(|refusal| refusal.to_string())
}

/// Runs the handler of one request as a task of its own.
async fn answer(shared: Arc<Shared>, request: Request<Inbound>) -> Response<Full<Bytes>> {
    let workers = shared.workers.clone();
    let path = request.uri().path().to_owned();
    // Boxed where it is made: the future of a request has kilobytes, and would be copied at each step down into its task.
    let work = Box::pin(async move { dispatch(&shared, request).await });
    let worked = workers.run(work).await;
    worked.unwrap_or_else(|failed| router::in_place_of(&path, no_answer(&failed), &failed.to_string()))
}

fn no_answer(failed: &NoAnswer) -> Response<Full<Bytes>> {
    match failed {
        NoAnswer::Full | NoAnswer::Late => error::unavailable(1, &failed.to_string()),
        NoAnswer::Panicked(_) => {
            tracing::error!(error = %failed, "a handler panicked; please report this");
            let text = "an error on our side; the log has more";
            error::oauth(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::ServerError, text)
        }
    }
}

async fn dispatch(shared: &Shared, request: Request<Inbound>) -> Response<Full<Bytes>> {
    match shared.context.role() {
        Role::Host | Role::Service(_) | Role::Proxy => {
            router::route(&shared.app, &shared.context, request).await
        }
        Role::Admin | Role::Ops if forwarders_header(request.headers()).is_some() => refuse_forwarded(shared),
        Role::Admin => endpoint::admin::route(&shared.app, request).await,
        Role::Ops => endpoint::health::route(&shared.app, &request),
    }
}

/// Nobody stands between an administrator and us: a header of a forwarder means that somebody does (attack A36).
fn refuse_forwarded(shared: &Shared) -> Response<Full<Bytes>> {
    tracing::warn!(
        target: crate::audit::TARGET,
        listener = %shared.context.listener(),
        "a request with a forwarder's headers was refused; let no proxy and no serve target name this socket"
    );
    let text = "requests with Forwarded, X-Forwarded-* or Tailscale-* headers are refused here";
    error::oauth(StatusCode::FORBIDDEN, ErrorCode::InvalidRequest, text)
}
