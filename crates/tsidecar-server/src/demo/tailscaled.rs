//! A stand-in for tailscaled: LocalAPI on a unix socket, answered from a [`Script`] that may change at any time.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::IpAddr,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as blocking},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::{CONTENT_TYPE, HOST, ORIGIN, REFERER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    runtime::Runtime,
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::{http::query, script::Script};

/// Answers LocalAPI until it is dropped; on threads of its own, so it can be used from plain tests.
pub struct Tailscaled {
    socket: PathBuf,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    running: Mutex<Option<Running>>,
}

/// What goes wrong at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers late.
    Delay(Duration),
    /// It refuses with a status and a text.
    Refuse(u16, String),
    /// It answers 200 with this body.
    Say(String),
    /// It never answers.
    Hang,
}

struct Running {
    task: AbortHandle,
    /// Ends when the task and with it every connection is gone.
    gone: blocking::Receiver<()>,
}

struct Shared(Mutex<State>);

struct State {
    script: Script,
    faults: BTreeMap<String, Fault>,
    asked: BTreeMap<String, u64>,
    asked_about: BTreeMap<IpAddr, u64>,
    watchers: Vec<mpsc::UnboundedSender<Bytes>>,
    sessions: u64,
}

type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

impl Tailscaled {
    /// Listens on a socket, which is replaced if it is there.
    ///
    /// # Errors
    /// When the socket cannot be made or the system gives no threads.
    pub fn start(socket: impl Into<PathBuf>, script: Script) -> io::Result<Self> {
        let state = State {
            script,
            faults: BTreeMap::new(),
            asked: BTreeMap::new(),
            asked_about: BTreeMap::new(),
            watchers: Vec::new(),
            sessions: 0,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .thread_name("tailscaled")
            .build()?;
        let tailscaled = Self {
            socket: socket.into(),
            shared: Arc::new(Shared(Mutex::new(state))),
            runtime: Some(runtime),
            running: Mutex::new(None),
        };
        tailscaled.restart()?;
        Ok(tailscaled)
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The tailnet as it is now.
    pub fn script(&self) -> Script {
        self.shared.lock().script.clone()
    }

    /// Changes the tailnet and tells the bus what tailscaled would tell: not that grants changed.
    pub fn change<R>(&self, edit: impl FnOnce(&mut Script) -> R) -> R {
        let mut state = self.shared.lock();
        let before = state.script.clone();
        let result = edit(&mut state.script);
        for message in state.script.changes(&before) {
            state.tell(&message);
        }
        result
    }

    /// Tells every watcher of the bus something.
    pub fn notify(&self, message: &Value) {
        self.shared.lock().tell(message);
    }

    /// How often an endpoint (`whois`, `status`, …) was asked.
    pub fn asked(&self, endpoint: &str) -> u64 {
        self.shared.lock().asked.get(endpoint).copied().unwrap_or(0)
    }

    /// How often whois was asked about an address.
    pub fn asked_about(&self, address: IpAddr) -> u64 {
        self.shared.lock().asked_about.get(&address).copied().unwrap_or(0)
    }

    /// How many listen to the bus.
    pub fn watchers(&self) -> usize {
        let mut state = self.shared.lock();
        state.watchers.retain(|watcher| !watcher.is_closed());
        state.watchers.len()
    }

    /// Lets an endpoint go wrong from now on; `None` heals it.
    pub fn fault(&self, endpoint: &str, fault: Option<Fault>) {
        let mut state = self.shared.lock();
        match fault {
            Some(fault) => state.faults.insert(endpoint.to_owned(), fault),
            None => state.faults.remove(endpoint),
        };
    }

    /// Goes away as after `kill -9`: every connection breaks, and the socket leads nowhere.
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.task.abort();
            // Only ever disconnects.
            let _ = running.gone.recv();
        }
        self.shared.lock().watchers.clear();
    }

    /// Comes (back) under a new socket at the same path.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn restart(&self) -> io::Result<()> {
        self.stop();
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        let listener = UnixListener::bind(&self.socket)?;
        listener.set_nonblocking(true)?;
        let (alive, gone) = blocking::channel();
        let shared = Arc::clone(&self.shared);
        let Some(runtime) = &self.runtime else { return Ok(()) };
        let task = runtime.spawn(async move {
            let _alive: blocking::Sender<()> = alive;
            if let Ok(listener) = tokio::net::UnixListener::from_std(listener) {
                accept(listener, shared).await;
            }
        });
        let running = Running { task: task.abort_handle(), gone };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }
}

impl Drop for Tailscaled {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, message: &Value) {
        let line = line(message);
        self.watchers.retain(|watcher| watcher.send(line.clone()).is_ok());
    }

    fn watch(&mut self) -> Bus {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.sessions += 1;
        // The receiver is in our hand.
        let _ = sender.send(line(&self.script.hello(self.sessions)));
        self.watchers.push(sender);
        Bus(receiver)
    }
}

fn line(message: &Value) -> Bytes {
    Bytes::from(format!("{message}\n"))
}

async fn accept(listener: tokio::net::UnixListener, shared: Arc<Shared>) {
    // Dropped with this future, and every connection with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            // A client that goes away is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<AnyBody>, Infallible> {
    let (status, body) = decide(&shared, &request).await;
    let state = shared.lock();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = if status == StatusCode::OK { "application/json" } else { "text/plain; charset=utf-8" };
    let headers = [
        (CONTENT_TYPE.as_str(), kind.to_owned()),
        ("tailscale-cap", state.script.capability.to_string()),
        ("tailscale-version", state.script.version.clone()),
    ];
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (hyper::header::HeaderName::try_from(name), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

async fn decide(shared: &Shared, request: &Request<Incoming>) -> (StatusCode, AnyBody) {
    if !admissible(request.headers()) {
        return text(StatusCode::FORBIDDEN, "invalid localapi request");
    }
    let endpoint = request.uri().path().strip_prefix("/localapi/v0/").unwrap_or_default();
    let fault = {
        let mut state = shared.lock();
        *state.asked.entry(endpoint.to_owned()).or_default() += 1;
        state.faults.get(endpoint).cloned()
    };
    match fault {
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Refuse(status, said)) => {
            return text(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &said);
        }
        Some(Fault::Say(said)) => return text(StatusCode::OK, &said),
        None => (),
    }
    let mut state = shared.lock();
    match endpoint {
        "whois" => whois(&mut state, request.uri().query().unwrap_or_default()),
        "status" => json(&state.script.status()),
        "prefs" => json(&state.script.prefs()),
        "serve-config" => json(&state.script.serve_config),
        "watch-ipn-bus" => (StatusCode::OK, state.watch().boxed_unsync()),
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// LocalAPI refuses everything that a web page could send.
fn admissible(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).is_none_or(|host| host == "local-tailscaled.sock" || host.is_empty());
    host && !headers.contains_key(ORIGIN) && !headers.contains_key(REFERER)
}

fn whois(state: &mut State, query_text: &str) -> (StatusCode, AnyBody) {
    let given = query(query_text, "addr").unwrap_or_default();
    let Ok(address) = given.parse::<IpAddr>() else {
        return text(StatusCode::BAD_REQUEST, "invalid 'addr' parameter");
    };
    *state.asked_about.entry(address).or_default() += 1;
    let service = query(query_text, "svc_name");
    match state.script.whois(address, service.as_deref()) {
        Some(found) => json(&found),
        None => text(StatusCode::NOT_FOUND, &format!("no match for {address}:0")),
    }
}

fn json(value: &Value) -> (StatusCode, AnyBody) {
    text(StatusCode::OK, &value.to_string())
}

fn text(status: StatusCode, said: &str) -> (StatusCode, AnyBody) {
    (status, Full::new(Bytes::from(said.to_owned())).boxed_unsync())
}

/// The bus as a body that ends only when the stand-in goes away.
struct Bus(mpsc::UnboundedReceiver<Bytes>);

impl Body for Bus {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

#[cfg(test)]
mod tests {
    use tsidecar_localapi::{Client, Destination, WatchMask};

    use super::*;
    use crate::demo::{Node, User};

    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(100, 64, 0, 2));

    fn started() -> (tempfile::TempDir, Tailscaled, Client) {
        let folder = tempfile::tempdir().unwrap();
        let mut script = Script::new("example.com", "tail.test");
        script.peers.push(Node::of(User::new(1001, "alice@example.com", "Alice"), 2, "alice", &[ALICE]));
        let tailscaled = Tailscaled::start(folder.path().join("tailscaled.sock"), script).unwrap();
        let client = Client::new(tailscaled.socket());
        (folder, tailscaled, client)
    }

    #[tokio::test]
    async fn our_own_client_is_answered_and_told_of_changes() {
        let (_folder, tailscaled, client) = started();
        let whois = client.whois(ALICE, Destination::Host).await.unwrap().unwrap();
        assert_eq!(whois.user_profile.login_name.to_string(), "alice@example.com");
        assert_eq!(client.daemon().unwrap().capability, 142);
        let mut watch = client.watch(WatchMask::CHANGES).await.unwrap();
        assert!(watch.next().await.unwrap().unwrap().prefs.is_some());
        tailscaled.change(|script| script.peers.clear());
        assert_eq!(watch.next().await.unwrap().unwrap().peers_removed.len(), 1);
        assert!(client.whois(ALICE, Destination::Host).await.unwrap().is_none());
        assert_eq!((tailscaled.asked("whois"), tailscaled.asked_about(ALICE)), (2, 2));
    }

    #[tokio::test]
    async fn it_goes_away_and_comes_back() {
        let (_folder, tailscaled, client) = started();
        let mut watch = client.watch(WatchMask::CHANGES).await.unwrap();
        watch.next().await.unwrap();
        assert_eq!(tailscaled.watchers(), 1);
        tailscaled.stop();
        assert!(!matches!(watch.next().await, Ok(Some(_))));
        assert!(client.status().await.is_err());
        tailscaled.restart().unwrap();
        assert!(client.status().await.is_ok());
        tailscaled.fault("status", Some(Fault::Refuse(403, "access denied".to_owned())));
        assert!(client.status().await.is_err());
    }
}
