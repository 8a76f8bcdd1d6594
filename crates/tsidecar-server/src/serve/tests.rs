//! Whole sockets: who gets in, what is cut, and how it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tsidecar_localapi::Client;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, ProxyListener};
use crate::demo::{Script, Tailscaled};
use crate::device_limits::DeviceLimits;
use crate::identity::IdentityPolicy;
use crate::limiter::Limiter;
use crate::outbound::{ClientKeys, Outbound};
use crate::peer::Plan;
use crate::registrations::Registrations;
use crate::snapshot::Snapshot;
use crate::snapshot::tests::{pins, ring, stored};
use crate::store::{MemoryStore, StoreError};
use crate::tailnet::{Boundary, Settings, Tailnet};

/// Some account that is neither ours nor anybody's.
const STRANGER: u32 = 64_007;

struct House {
    folder: TempDir,
    app: Arc<App>,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    tailscaled: Option<Tailscaled>,
}

/// Whether the stand-in for tailscaled, which is this very process, is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Tailscaled,
    Nobody,
}

const READY: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const JWKS: &[u8] = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n";

impl House {
    fn open(beside: Beside, times: Times) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Others may enter: only credentials keep them out.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut config = Config::default();
        config.listen.socket = path("serve.sock");
        config.listen.admin_socket = path("admin.sock");
        config.listen.ops_socket = path("ops.sock");
        config.listen.allow_unsafe_path = true;
        config.listen.proxies.push(ProxyListener { socket: path("proxy.sock"), uid: STRANGER });
        let own = rustix::process::geteuid().as_raw();
        (config.listen.tailscaled_uid, config.listen.admin_uid) = (own, own);
        let config = Arc::new(config);
        let tailscaled = (beside == Beside::Tailscaled).then(|| {
            Tailscaled::start(path("tailscaled.sock"), Script::new("example.com", "tail.test")).unwrap()
        });
        let client = Client::new(path("tailscaled.sock"));
        let gate = Arc::new(Gate::new(client.clone()));
        let snapshot = Snapshot::build(&config, pins(), ring(), &[]).unwrap();
        let plan = Plan::new(&config.listen).unwrap();
        let tailnet = Tailnet::start(Settings {
            client,
            gate: Arc::clone(&gate),
            boundary: Boundary {
                sockets: plan.paths(),
                issuer: snapshot.issuer.clone(),
                tailscale_ssh: config.listen.tailscale_ssh,
            },
            identity: IdentityPolicy {
                capability: config.identity.capability.clone(),
                routers: config.identity.routers,
            },
            max_stale: None,
        });
        let outbound = Arc::new(Outbound::new(&config.outbound).unwrap());
        let app = Arc::new(App {
            background: TaskTracker::new(),
            limiter: Limiter::new(&config.limits),
            devices: DeviceLimits::default(),
            registrations: Registrations::new(config.registration.limits),
            client_keys: ClientKeys::new(Arc::clone(&outbound)),
            documents: crate::documents::Documents::new(Arc::clone(&outbound)),
            outbound,
            snapshot: snapshot_cell(snapshot),
            store: Arc::new(MemoryStore::new()),
            tailnet,
            clock: Clock::system(),
            config,
        });
        let stop = CancellationToken::new();
        let sockets = plan.open(Vec::new()).unwrap();
        let serving = serve_within(times, Arc::clone(&app), gate, sockets, stop.clone());
        Self { folder, app, stop, serving: tokio::spawn(serving), tailscaled }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn connect(&self, name: &str) -> UnixStream {
        UnixStream::connect(self.path(name)).await.unwrap()
    }

    /// Sends a request that ends its connection, and returns everything that comes back.
    async fn ask(&self, name: &str, request: &[u8]) -> String {
        let mut stream = self.connect(name).await;
        // Whoever is refused finds the connection closed already.
        let _ = stream.write_all(request).await;
        rest(&mut stream).await
    }

    /// Asks for a path as another process, perhaps as another user. What comes back begins with `connected`: a refusal is
    /// told from a folder that cannot be entered.
    async fn elsewhere(&self, uid: Option<u32>, name: &str, path: &str) -> String {
        let mut command = Command::new(if uid.is_some() { "setpriv" } else { "perl" });
        if let Some(uid) = uid {
            command
                .args([format!("--reuid={uid}"), format!("--regid={uid}")])
                .args(["--clear-groups", "perl"]);
        }
        command.args(["-e", ELSEWHERE]).arg(self.path(name)).arg(path);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn close(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        let late = self.app.store.put_client(stored("late", None, 1)).await;
        assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
        assert!(!self.folder.path().join("serve.sock").exists());
    }
}

fn snapshot_cell(snapshot: Snapshot) -> arc_swap::ArcSwap<Snapshot> {
    arc_swap::ArcSwap::from_pointee(snapshot)
}

/// What comes until the other end closes.
async fn rest(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    // A reset ends it as well.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

/// Reads one answer of a connection that stays open.
async fn one_answer(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("\r\n\r\n") {
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    text
}

/// Sends a request to a socket and prints what comes back; being hung up on is no failure. In the one language that every
/// Debian has.
const ELSEWHERE: &str = r#"
use IO::Socket::UNIX;
$SIG{PIPE} = "IGNORE";
$SIG{ALRM} = sub { die "no answer" };
alarm 20;
my $stream = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
print "connected ";
print $stream "GET $ARGV[1] HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
$stream->flush;
while (sysread($stream, my $part, 65536)) { print $part }
"#;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: only root can call as another user");
    }
    root
}

/// Rule: only tailscaled's own process gets in where tailscaled belongs, and never where administrators belong.
#[tokio::test]
async fn tailscaled_has_its_door_and_no_other() {
    let house = House::open(Beside::Tailscaled, TIMES);
    // This process is tailscaled here.
    assert!(house.ask("serve.sock", JWKS_CLOSE).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(house.ask("admin.sock", READY).await, "");
    assert_eq!(house.ask("ops.sock", READY).await, "");
    assert_eq!(house.ask("proxy.sock", JWKS_CLOSE).await, "");
    // The same user in another process is not.
    assert_eq!(house.elsewhere(None, "serve.sock", "/.well-known/jwks.json").await, "connected ");
    for (name, path) in [("admin.sock", "/admin/status"), ("ops.sock", "/healthz")] {
        let answer = house.elsewhere(None, name, path).await;
        assert!(answer.starts_with("connected HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    house.close().await;
}

const JWKS_CLOSE: &[u8] = b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Rule: another user is refused at accept, before a byte is read.
#[tokio::test]
async fn another_user_is_refused_before_a_byte_is_read() {
    if !is_root() {
        return;
    }
    let house = House::open(Beside::Tailscaled, TIMES);
    for name in ["serve.sock", "admin.sock", "ops.sock"] {
        std::fs::set_permissions(house.path(name), std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(house.elsewhere(Some(STRANGER + 1), name, "/healthz").await, "connected ", "{name}");
    }
    let own = house.elsewhere(Some(STRANGER), "proxy.sock", "/.well-known/jwks.json").await;
    assert!(own.starts_with("connected HTTP/1.1 200 OK\r\n"), "{own}");
    let other = house.elsewhere(Some(STRANGER + 1), "proxy.sock", "/.well-known/jwks.json").await;
    assert_eq!(other, "connected ");
    // Nothing is sent here, and still the connection ends.
    let mut silent = house.connect("proxy.sock").await;
    assert_eq!(rest(&mut silent).await, "");
    house.close().await;
}

/// A36: whatever forwards to the administration shows itself by its headers.
#[tokio::test]
async fn administrators_have_no_forwarder() {
    let house = House::open(Beside::Nobody, TIMES);
    for header in [
        "Forwarded: for=1.2.3.4",
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Host: x",
        "Tailscale-User-Login: a@b",
    ] {
        for (name, path) in [("admin.sock", "/admin/status"), ("ops.sock", "/healthz")] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\nConnection: close\r\n\r\n");
            let answer = house.ask(name, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{header} {name} {answer}");
        }
    }
    assert!(house.ask("ops.sock", READY).await.starts_with("HTTP/1.1 503 "), "tailscaled is away");
    house.close().await;
}

/// A31: not ready is 503 with `Retry-After`, also for whoever comes first.
#[tokio::test]
async fn not_ready_is_said_with_a_time() {
    let house = House::open(Beside::Tailscaled, TIMES);
    let daemon = house.tailscaled.as_ref().unwrap();
    daemon.change(|script| script.state = "Stopped".to_owned());
    while !matches!(house.app.tailnet.readiness(), Err(crate::tailnet::Unready::NotRunning { .. })) {
        tokio::task::yield_now().await;
    }
    let request = b"POST /token HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 100.64.0.2\r\nX-Forwarded-Proto: https\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answer = house.ask("serve.sock", request).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
    assert!(answer.contains("temporarily_unavailable") && answer.contains("tailscale up"), "{answer}");
    house.close().await;
}

/// A27: whoever begins a request goes on with it; whoever is idle may be idle for long.
#[tokio::test]
async fn a_slow_head_is_cut_and_an_idle_connection_is_not() {
    let head = Duration::from_millis(60);
    let house = House::open(Beside::Tailscaled, Times { head, ..TIMES });
    let mut idle = house.connect("serve.sock").await;
    let mut slow = house.connect("serve.sock").await;
    slow.write_all(b"GET /.well-known/jwks.json HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(rest(&mut slow).await, "", "cut without an answer");
    // The other one has been idle for as long, and goes on; so it does between two requests.
    for _ in 0..2 {
        idle.write_all(JWKS).await.unwrap();
        assert!(one_answer(&mut idle).await.starts_with("HTTP/1.1 200 OK\r\n"));
        tokio::time::sleep(2 * head).await;
    }
    idle.write_all(b"GET").await.unwrap();
    assert_eq!(rest(&mut idle).await, "", "a second request is cut like a first");
    house.close().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_last() {
    let idle = Duration::from_millis(60);
    let house = House::open(Beside::Tailscaled, Times { idle, ..TIMES });
    let mut stream = house.connect("serve.sock").await;
    stream.write_all(JWKS).await.unwrap();
    assert!(one_answer(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(rest(&mut stream).await, "");
    house.close().await;
    assert!(TIMES.idle > Duration::from_secs(90), "tailscaled keeps idle connections for 90 s");
}

/// A27: bombs are refused before anything looks at them.
#[tokio::test]
async fn large_heads_are_refused() {
    let house = House::open(Beside::Tailscaled, TIMES);
    let long = format!("GET /.well-known/jwks.json?{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(LARGEST_HEAD));
    let answer = house.ask("serve.sock", long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let many = format!("GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(101));
    let answer = house.ask("serve.sock", many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    house.close().await;
}

/// Stopping: who has begun gets an answer that ends the connection, who is idle is closed, nobody else gets in.
#[tokio::test]
async fn a_stop_finishes_what_has_begun() {
    let house = House::open(Beside::Tailscaled, TIMES);
    while house.app.tailnet.readiness().is_err() {
        tokio::task::yield_now().await;
    }
    let mut idle = house.connect("serve.sock").await;
    idle.write_all(JWKS).await.unwrap();
    one_answer(&mut idle).await;
    let mut busy = house.connect("serve.sock").await;
    let head = "POST /token HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 100.64.0.9\r\nX-Forwarded-Proto: https\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\ngrant";
    busy.write_all(head.as_bytes()).await.unwrap();
    // Another connection that came later is served, so this one has been read.
    assert!(house.ask("serve.sock", JWKS_CLOSE).await.starts_with("HTTP/1.1 200"));
    house.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    while house.app.tailnet.readiness() != Err(crate::tailnet::Unready::GoingDown) {
        tokio::task::yield_now().await;
    }
    busy.write_all(b"_type").await.unwrap();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let path = house.path("serve.sock");
    house.close().await;
    assert!(UnixStream::connect(path).await.is_err());
}

/// The store is closed even when a request goes on for ever.
#[tokio::test]
async fn the_end_comes_past_any_request() {
    let drain = Duration::from_millis(50);
    let house = House::open(Beside::Tailscaled, Times { drain, ..TIMES });
    while house.app.tailnet.readiness().is_err() {
        tokio::task::yield_now().await;
    }
    let mut stuck = house.connect("serve.sock").await;
    let head = "POST /token HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 100.64.0.9\r\nX-Forwarded-Proto: https\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10\r\n\r\n";
    stuck.write_all(head.as_bytes()).await.unwrap();
    assert!(house.ask("serve.sock", JWKS_CLOSE).await.starts_with("HTTP/1.1 200"));
    house.close().await;
}
