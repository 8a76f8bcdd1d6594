//! Listeners, connections, one spawned task per request, and the end of all that.
//!
//! hyper drops a handler when its connection closes, so each handler is a task of its own and the connection only waits for
//! it: what a request has begun is finished whether or not anybody waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tsidecar_oauth::error::ErrorCode;

use crate::app::App;
use crate::endpoint;
use crate::peer::{Bound, Door, Gate, ListenerContext, Peer, Role};
use crate::router;
use crate::web::error;

/// How long a connection may be idle, or take to send its headers. tailscaled keeps idle connections for 90 s; one that we
/// closed earlier could swallow a POST.
const IDLE: Duration = Duration::from_mins(2);

/// How long one request may take: two asks of tailscaled, a body and a commit fit many times.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a request waits for its turn when too many are in flight.
const TURN: Duration = Duration::from_secs(5);

/// How long the handlers may go on after the stop (design section 13).
const DRAIN: Duration = Duration::from_secs(20);

/// The most header fields and bytes of a request: more than any browser sends (attack A27).
const MOST_HEADERS: usize = 100;
const LARGEST_HEAD: usize = 64 * 1024;

/// What all connections of one socket share.
struct Shared {
    app: Arc<App>,
    gate: Arc<Gate>,
    context: ListenerContext,
    door: Door,
    turns: Arc<Semaphore>,
    handlers: TaskTracker,
    stop: CancellationToken,
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
    let turns = Arc::new(Semaphore::new(app.config.limits.requests_in_flight));
    let (handlers, connections) = (TaskTracker::new(), TaskTracker::new());
    let mut files = Vec::new();
    for socket in sockets {
        let listener = UnixListener::from_std(socket.listener)?;
        files.push(socket.file);
        let shared = Shared {
            app: Arc::clone(&app),
            gate: Arc::clone(&gate),
            context: socket.context,
            door: socket.door,
            turns: Arc::clone(&turns),
            handlers: handlers.clone(),
            stop: stop.clone(),
        };
        connections.spawn(accept(listener, Arc::new(shared), connections.clone()));
    }
    stop.cancelled().await;
    drain(&app, &handlers, &connections).await;
    drop(files);
    let store = Arc::clone(&app.store);
    tokio::task::spawn_blocking(move || store.close()).await.map_err(std::io::Error::other)
}

async fn drain(app: &App, handlers: &TaskTracker, connections: &TaskTracker) {
    app.tailnet.going_down();
    connections.close();
    handlers.close();
    let finished = async {
        connections.wait().await;
        handlers.wait().await;
    };
    if tokio::time::timeout(DRAIN, finished).await.is_err() {
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
        tracing::warn!(
            target: crate::audit::TARGET,
            listener = %shared.context.listener(),
            error.reason = %refusal,
            "a connection was refused"
        );
        return;
    }
    let stop = shared.stop.clone();
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(MOST_HEADERS)
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

/// Runs the handler of one request in a task of its own, when its turn comes.
async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let turn = match Arc::clone(&shared.turns).try_acquire_owned() {
        Ok(turn) => turn,
        Err(_) => match tokio::time::timeout(TURN, Arc::clone(&shared.turns).acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => {
                return Ok(error::unavailable(1, "too many requests at once; try again in a moment"));
            }
        },
    };
    let handlers = shared.handlers.clone();
    let handler = handlers.spawn(async move {
        let answered = tokio::time::timeout(DEADLINE, dispatch(&shared, request)).await;
        drop(turn);
        answered.unwrap_or_else(|_| error::unavailable(1, "the request took too long; try again in a moment"))
    });
    Ok(handler.await.unwrap_or_else(|panic| {
        tracing::error!(error = %panic, "a handler panicked; please report this");
        error::oauth(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::ServerError,
            "an error on our side; the log has more",
        )
    }))
}

async fn dispatch(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match shared.context.role() {
        Role::Host | Role::Service(_) | Role::Proxy => {
            router::route(&shared.app, &shared.context, request).await
        }
        Role::Admin => error::not_found(),
        Role::Ops => endpoint::health::route(&shared.app, &request),
    }
}
