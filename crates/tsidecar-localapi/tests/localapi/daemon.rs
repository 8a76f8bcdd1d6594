//! A scripted tailscaled on a unix socket, and raw peers for what HTTP libraries refuse to send.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tsidecar_localapi::Client;

/// What a request looked like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// One scripted answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) capability: Option<&'static str>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, capability: Some("142"), body: body.into() }
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self { status, ..Self::ok(body) }
    }

    pub(crate) fn capability(self, capability: Option<&'static str>) -> Self {
        Self { capability, ..self }
    }
}

type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A tailscaled that answers by script. Each request is announced on `arrivals` and then waits at the gate.
pub(crate) struct Daemon {
    folder: TempDir,
    script: Script,
    shared: Arc<Shared>,
    pub(crate) arrivals: mpsc::UnboundedReceiver<Seen>,
    announce: mpsc::UnboundedSender<Seen>,
    running: Option<tokio::task::JoinHandle<()>>,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    /// One permit is taken per answer; open means more permits than any test asks for.
    gate: Semaphore,
    /// Requests between arrival and answer, now and at most.
    inside: Mutex<(usize, usize)>,
}

impl Daemon {
    /// Starts with an open gate.
    pub(crate) fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let daemon = Self::start_closed(script);
        daemon.open(Semaphore::MAX_PERMITS >> 1);
        daemon
    }

    /// Starts with a closed gate: requests arrive and wait.
    pub(crate) fn start_closed(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let (announce, arrivals) = mpsc::unbounded_channel();
        let shared = Shared { seen: Mutex::default(), gate: Semaphore::new(0), inside: Mutex::default() };
        let folder = TempDir::new().unwrap();
        let mut daemon = Self {
            folder,
            script: Arc::new(script),
            shared: Arc::new(shared),
            arrivals,
            announce,
            running: None,
        };
        daemon.restart();
        daemon
    }

    /// Starts again after a kill, with a new folder as systemd makes it.
    pub(crate) fn restart(&mut self) {
        fs::create_dir_all(self.socket().parent().unwrap()).unwrap();
        let listener = UnixListener::bind(self.socket()).unwrap();
        let (script, shared, announce) =
            (Arc::clone(&self.script), Arc::clone(&self.shared), self.announce.clone());
        self.running = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, shared, announce) = (Arc::clone(&script), Arc::clone(&shared), announce.clone());
                let service = service_fn(move |request| {
                    answer(request, Arc::clone(&script), Arc::clone(&shared), announce.clone())
                });
                connections.spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        }));
    }

    /// Ends the daemon with all its connections and removes its folder.
    pub(crate) async fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        fs::remove_dir_all(self.socket().parent().unwrap()).unwrap();
    }

    /// Lets that many more answers out.
    pub(crate) fn open(&self, answers: usize) {
        self.shared.gate.add_permits(answers);
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("tailscale/tailscaled.sock")
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.socket())
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// The most requests that ever were inside at once.
    pub(crate) fn most_inside(&self) -> usize {
        self.shared.inside.lock().unwrap().1
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Script,
    shared: Arc<Shared>,
    announce: mpsc::UnboundedSender<Seen>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let headers =
        request.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let seen = Seen { path: request.uri().to_string(), headers: headers.collect() };
    {
        let mut inside = shared.inside.lock().unwrap();
        inside.0 += 1;
        inside.1 = inside.1.max(inside.0);
    }
    shared.seen.lock().unwrap().push(seen.clone());
    // The reply is made on arrival, as a daemon that answers late may answer what it knew early.
    let reply = script(&seen);
    let _ = announce.send(seen);
    shared.gate.acquire().await.unwrap().forget();
    shared.inside.lock().unwrap().0 -= 1;
    let mut response = Response::builder().status(reply.status).header("Tailscale-Version", "1.102.3-test");
    if let Some(capability) = reply.capability {
        response = response.header("Tailscale-Cap", capability);
    }
    Ok(response.body(Full::from(reply.body)).unwrap())
}

/// What a raw peer does with one connection.
pub(crate) type Act = Box<dyn FnOnce(UnixStream) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Accepts one connection per act, in order; each act runs as a task of its own. Returns the socket.
pub(crate) fn raw(folder: &Path, acts: Vec<Act>) -> PathBuf {
    let socket = folder.join("raw.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut acts = VecDeque::from(acts);
    tokio::spawn(async move {
        while let Some(act) = acts.pop_front() {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(act(stream));
        }
    });
    socket
}

/// Makes an act of an async closure.
pub(crate) fn act<F: Future<Output = ()> + Send + 'static>(
    work: impl FnOnce(UnixStream) -> F + Send + 'static,
) -> Act {
    Box::new(|stream| Box::pin(work(stream)))
}

/// Reads the head of one request; false when the connection ended.
pub(crate) async fn read_head(stream: &mut UnixStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return false,
        }
    }
    true
}

/// Writes an answer with a length.
pub(crate) async fn write_answer(stream: &mut UnixStream, body: &str) {
    let text =
        format!("HTTP/1.1 200 OK\r\nTailscale-Cap: 142\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
}
