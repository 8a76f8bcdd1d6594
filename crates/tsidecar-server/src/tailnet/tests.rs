//! Against the stand-in for tailscaled: what is believed while it comes, goes and changes.

use std::{path::Path, time::Duration};

use hyper::{HeaderMap, header::HeaderValue};
use serde_json::json;
use tempfile::TempDir;
use tsidecar_localapi::BackendState;
use tsidecar_oauth::uri::Issuer;

use super::*;
use crate::{
    config::{Routers, TailscaleSsh},
    demo::{Fault, HOST, Node, Script, Tailscaled, User},
    identity::RefusedNode,
    peer::{ListenerContext, caller},
};

const CAPABILITY: &str = "tailscale.com/cap/tsidp";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn alice() -> IpAddr {
    ip("100.64.0.2")
}

struct Rig {
    bare: Bare,
    daemon: Tailscaled,
}

/// A tailnet that follows whatever answers on a socket.
struct Bare {
    folder: TempDir,
    tailnet: Arc<Tailnet>,
}

impl std::ops::Deref for Rig {
    type Target = Bare;

    fn deref(&self) -> &Bare {
        &self.bare
    }
}

fn script() -> Script {
    let mut script = Script::new("example.com", "tail.test");
    let mut laptop = Node::of(User::new(1001, "alice@example.com", "Alice"), 2, "laptop", &[alice()]);
    laptop.grant(HOST, CAPABILITY, json!({"groups": ["from-host"]}));
    laptop.grant("svc:login", CAPABILITY, json!({"groups": ["from-service"]}));
    let mut umlaut = User::new(1002, "jürgen@example.com", "Jürgen");
    umlaut.groups.push("group:x".to_owned());
    script.peers.push(laptop);
    script.peers.push(Node::of(umlaut, 3, "phone", &[ip("100.64.0.3")]));
    script.peers.push(Node::tagged("tag:ci", 4, "ci", &[ip("100.64.0.4")]));
    script
}

impl Rig {
    /// A tailnet that is ready.
    async fn new() -> Self {
        let rig = Self::with(script(), None);
        rig.until(|| rig.tailnet.readiness().is_ok()).await;
        rig
    }

    fn with(script: Script, max_stale: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Tailscaled::start(folder.path().join("tailscaled.sock"), script).unwrap();
        Self { bare: Bare::beside(folder, daemon.socket(), max_stale), daemon }
    }
}

impl Bare {
    fn beside(folder: TempDir, socket: &Path, max_stale: Option<Duration>) -> Self {
        let client = Client::new(socket);
        let tailnet = Tailnet::start(Settings {
            client: client.clone(),
            gate: Arc::new(Gate::new(client)),
            boundary: Boundary {
                sockets: vec![folder.path().join("serve.sock")],
                issuer: Issuer::parse("https://idp.tail.test").unwrap(),
                tailscale_ssh: TailscaleSsh::Refuse,
            },
            identity: IdentityPolicy { capability: CAPABILITY.to_owned(), routers: Routers::Deny },
            max_stale,
        });
        Self { folder, tailnet }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn until(&self, mut condition: impl FnMut() -> bool) {
        for _ in 0..2000 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("did not become true; readiness is {:?}", self.tailnet.readiness());
    }

    async fn unready(&self) -> Unready {
        self.until(|| self.tailnet.readiness().is_err()).await;
        self.tailnet.readiness().unwrap_err()
    }

    async fn sight(&self, address: IpAddr) -> Result<Sighting, Unready> {
        self.tailnet.identify(address, &Listener::host()).await
    }

    /// Sends a request's headers through all rules.
    async fn call(&self, headers: &[(&'static str, &'static str)]) -> Result<Sighting, Unidentified> {
        let mut map = HeaderMap::new();
        map.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        let context = ListenerContext::new(Role::Host, self.path().join("serve.sock")).unwrap();
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let caller = caller(&context, &issuer, &map).unwrap();
        self.tailnet.identify_caller(&caller).await
    }
}

#[tokio::test]
async fn people_are_found_once_per_two_seconds() {
    let rig = Rig::new().await;
    for _ in 0..20 {
        let Ok(Sighting::Person(identity)) = rig.sight(alice()).await else { panic!() };
        assert_eq!(identity.subject.as_str(), "userid:1001");
    }
    assert_eq!(rig.daemon.asked_about(alice()), 1);
    assert!(matches!(rig.sight(ip("100.64.0.4")).await, Ok(Sighting::Workload(_))));
    assert!(matches!(rig.sight(ip("100.64.0.99")).await, Ok(Sighting::Unknown)));
    let itself = rig.sight(ip("100.64.0.1")).await;
    assert!(matches!(itself, Ok(Sighting::Refused(RefusedNode::Itself))), "{itself:?}");
}

/// A41: what a person may do depends on the listener of the grant, whatever socket the request came by.
#[tokio::test]
async fn each_listener_has_its_own_capabilities() {
    let rig = Rig::new().await;
    for (listener, group) in
        [("host", "from-host"), ("svc:login", "from-service"), ("proxy:/run/p.sock", "from-host")]
    {
        let listener = Listener::parse(listener).unwrap();
        let Ok(Sighting::Person(identity)) = rig.tailnet.identify(alice(), &listener).await else { panic!() };
        assert_eq!(identity.rules[0].groups, [group], "{listener}");
    }
    for unknown in ["admin", "ops", "svc:", "elsewhere"] {
        let listener = Listener::parse(unknown).unwrap();
        assert!(matches!(rig.tailnet.identify(alice(), &listener).await, Ok(Sighting::Unknown)), "{unknown}");
    }
}

/// A37: a proxy of one's own brings people, no workloads.
#[tokio::test]
async fn workloads_do_not_come_through_a_proxy() {
    let rig = Rig::new().await;
    let proxy = Listener::parse("proxy:/run/p.sock").unwrap();
    let refused = rig.tailnet.identify(ip("100.64.0.4"), &proxy).await;
    assert!(matches!(refused, Ok(Sighting::Refused(RefusedNode::Tagged))), "{refused:?}");
    assert!(matches!(rig.sight(ip("100.64.0.4")).await, Ok(Sighting::Workload(_))));
}

/// A14: what is cached goes as soon as the bus says so.
#[tokio::test]
async fn changes_count_at_once() {
    let rig = Rig::new().await;
    assert!(matches!(rig.sight(alice()).await, Ok(Sighting::Person(_))));
    assert!(matches!(rig.sight(ip("100.64.0.7")).await, Ok(Sighting::Unknown)));
    rig.daemon.change(|script| {
        script.peers.retain(|node| node.id != 2);
        let bob = User::new(1003, "bob@example.com", "Bob");
        script.peers.push(Node::of(bob, 7, "new", &[ip("100.64.0.7")]));
    });
    let start = Instant::now();
    while !matches!(rig.sight(alice()).await, Ok(Sighting::Unknown)) {
        assert!(start.elapsed() < Duration::from_secs(1), "the bus did not drop the cache");
        tokio::task::yield_now().await;
    }
    assert!(matches!(rig.sight(ip("100.64.0.7")).await, Ok(Sighting::Person(_))));
    // The address goes on to another node and user.
    rig.daemon.change(|script| {
        let mallory = User::new(1004, "mallory@example.com", "Mallory");
        script.peers.push(Node::of(mallory, 8, "reused", &[alice()]));
    });
    loop {
        match rig.sight(alice()).await {
            Ok(Sighting::Person(identity)) if identity.subject.as_str() == "userid:1004" => break,
            Ok(Sighting::Unknown) => assert!(start.elapsed() < Duration::from_secs(2)),
            other => panic!("{other:?}"),
        }
        tokio::task::yield_now().await;
    }
}

/// A31, A48: away, back without a map, back with one. Nothing but a person or 503 is said of alice meanwhile.
#[tokio::test]
async fn tailscaled_away_says_nothing_about_anybody() {
    let rig = Rig::new().await;
    assert!(matches!(rig.sight(alice()).await, Ok(Sighting::Person(_))));
    rig.daemon.stop();
    assert!(matches!(rig.unready().await, Unready::TailscaledAway { .. }));
    assert!(matches!(rig.sight(alice()).await, Err(Unready::TailscaledAway { .. })));
    rig.daemon.change(|script| script.state = "Starting".to_owned());
    rig.daemon.restart().unwrap();
    let starting = Unready::NotRunning { state: BackendState::Starting };
    rig.until(|| rig.tailnet.readiness() == Err(starting.clone())).await;
    assert_eq!(rig.sight(alice()).await.unwrap_err(), starting);
    rig.daemon.change(|script| script.state = "Running".to_owned());
    let mut answers = 0;
    while rig.tailnet.readiness().is_err() {
        match rig.sight(alice()).await {
            Ok(Sighting::Person(_)) | Err(_) => answers += 1,
            other => panic!("after {answers} answers: {other:?}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(matches!(rig.sight(alice()).await, Ok(Sighting::Person(_))));
}

#[tokio::test]
async fn running_without_a_name_is_no_map() {
    let rig = Rig::with(script(), None);
    let nameless = json!({"BackendState": "Running", "Self": {}});
    rig.daemon.fault("status", Some(Fault::Say(nameless.to_string())));
    rig.daemon.restart().unwrap();
    rig.until(|| rig.tailnet.readiness() == Err(Unready::NoNetmap)).await;
    assert_eq!(rig.sight(ip("100.64.0.99")).await.unwrap_err(), Unready::NoNetmap);
}

#[tokio::test]
async fn a_whois_that_fails_is_not_nobody() {
    let rig = Rig::new().await;
    for fault in
        [Fault::Refuse(500, "x".into()), Fault::Refuse(403, "x".into()), Fault::Say("{".into()), Fault::Hang]
    {
        rig.daemon.fault("whois", Some(fault.clone()));
        let sighting = rig.sight(alice()).await;
        assert!(matches!(sighting, Err(Unready::TailscaledAway { .. })), "{fault:?} {sighting:?}");
    }
    rig.daemon.fault("whois", None);
    assert!(matches!(rig.sight(alice()).await, Ok(Sighting::Person(_))));
}

#[tokio::test]
async fn what_cannot_be_checked_is_not_ready() {
    let rig = Rig::with(script(), None);
    for endpoint in ["serve-config", "prefs", "status"] {
        rig.daemon.fault(endpoint, Some(Fault::Refuse(500, "broken".into())));
        rig.daemon.restart().unwrap();
        rig.until(|| matches!(rig.tailnet.readiness(), Err(Unready::Unchecked { .. }))).await;
        rig.daemon.fault(endpoint, None);
        rig.until(|| rig.tailnet.readiness().is_ok()).await;
    }
}

/// A35: each exposure closes the sockets that tailscaled reaches, and ends by itself.
#[tokio::test]
async fn exposure_is_noticed_and_forgotten() {
    let rig = Rig::new().await;
    let forward = format!("unix:{}/serve.sock", rig.path().display());
    rig.daemon.change(|script| script.serve_config = json!({"TCP": {"8443": {"TCPForward": forward}}}));
    // The bus does not tell of a serve config; this stands for the 30 s.
    rig.daemon.notify(&json!({"Prefs": rig_prefs()}));
    assert!(matches!(rig.unready().await, Unready::TcpForward { port: 8443, .. }));
    assert_eq!(rig.tailnet.readiness_of(&Role::Proxy), Ok(()));
    assert!(matches!(rig.sight(alice()).await, Ok(Sighting::Person(_))), "whois itself is as good as ever");
    rig.daemon.change(|script| script.serve("unix:/run/tsidecar/serve.sock"));
    rig.daemon.notify(&json!({"Prefs": rig_prefs()}));
    rig.until(|| rig.tailnet.readiness().is_ok()).await;
    rig.daemon.change(|script| script.run_ssh = true);
    assert_eq!(rig.unready().await, Unready::TailscaleSsh);
    rig.daemon.change(|script| script.run_ssh = false);
    rig.until(|| rig.tailnet.readiness().is_ok()).await;
}

fn rig_prefs() -> serde_json::Value {
    json!({"RunSSH": false})
}

#[tokio::test]
async fn old_daemons_serve_no_services() {
    let mut old = script();
    (old.capability, old.version) = (138, "1.98.1-t01".to_owned());
    let rig = Rig::with(old, None);
    rig.until(|| rig.tailnet.readiness().is_ok()).await;
    let service = Role::Service("svc:login".parse().unwrap());
    let refused = rig.tailnet.readiness_of(&service);
    assert!(matches!(refused, Err(Unready::TooOldForServices { .. })), "{refused:?}");
    let listener = Listener::parse("svc:login").unwrap();
    let asked = rig.tailnet.identify(alice(), &listener).await;
    assert!(matches!(asked, Err(Unready::TooOldForServices { .. })), "{asked:?}");
    rig.daemon.change(|script| script.capability = 130);
    rig.daemon.restart().unwrap();
    rig.until(|| matches!(rig.tailnet.readiness(), Err(Unready::TooOld { .. }))).await;
    assert!(matches!(rig.sight(alice()).await, Err(Unready::TooOld { .. })));
}

#[tokio::test]
async fn a_daemon_that_is_cut_off_goes_stale_only_by_configuration() {
    let mut cut_off = script();
    cut_off.online = false;
    let patient = Rig::with(cut_off.clone(), None);
    let strict = Rig::with(cut_off, Some(Duration::ZERO));
    strict.until(|| matches!(strict.tailnet.readiness(), Err(Unready::Stale { .. }))).await;
    assert!(matches!(strict.sight(alice()).await, Err(Unready::Stale { .. })));
    patient.until(|| patient.tailnet.readiness().is_ok()).await;
    assert!(matches!(patient.sight(alice()).await, Ok(Sighting::Person(_))));
}

/// A13: Funnel's callers are never looked up, whatever address they come with.
#[tokio::test]
async fn funnel_is_never_looked_up() {
    let rig = Rig::new().await;
    let from_funnel = [("x-forwarded-for", "100.64.0.2"), ("tailscale-funnel-request", "?1")];
    assert!(matches!(rig.call(&from_funnel).await, Ok(Sighting::Unknown)));
    assert_eq!(rig.daemon.asked("whois"), 0);
}

/// A12, A37: whoever writes serve's login header without being serve is found out.
#[tokio::test]
async fn serves_word_and_whois_agree_or_nobody_gets_in() {
    let rig = Rig::new().await;
    let claim = async |address: &'static str, login: &'static str| {
        rig.call(&[("x-forwarded-for", address), ("tailscale-user-login", login)]).await
    };
    assert!(matches!(claim("100.64.0.2", "alice@example.com").await, Ok(Sighting::Person(_))));
    let encoded = claim("100.64.0.3", "=?utf-8?q?j=C3=BCrgen@example.com?=").await;
    assert!(matches!(encoded, Ok(Sighting::Person(_))), "{encoded:?}");
    for (address, login) in [
        ("100.64.0.2", "bob@example.com"),
        ("100.64.0.2", "ALICE@example.com"),
        ("100.64.0.3", "alice@example.com"),
        // serve names no login for a tagged node, and none for somebody whom it does not know.
        ("100.64.0.4", "tagged-devices"),
        ("100.64.0.99", "alice@example.com"),
    ] {
        let refused = claim(address, login).await;
        assert!(matches!(refused, Err(Unidentified::Contradiction)), "{address} {login} {refused:?}");
    }
    assert_eq!(rig.daemon.asked_about(alice()), 3, "asked again before each refusal");
}

#[tokio::test]
async fn a_node_that_is_refused_keeps_its_own_reason() {
    let rig = Rig::new().await;
    rig.daemon.change(|script| script.peer_mut(alice()).unwrap().expired = true);
    let headers = [("x-forwarded-for", "100.64.0.2"), ("tailscale-user-login", "alice@example.com")];
    let start = Instant::now();
    while !matches!(rig.call(&headers).await, Ok(Sighting::Refused(RefusedNode::Expired))) {
        assert!(start.elapsed() < Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stop_shows_to_balancers_only() {
    let rig = Rig::new().await;
    rig.tailnet.going_down();
    assert_eq!(rig.tailnet.readiness(), Err(Unready::GoingDown));
    assert_eq!(rig.tailnet.readiness_of(&Role::Host), Ok(()), "what has begun is answered");
}

#[tokio::test]
async fn changes_of_readiness_are_told() {
    let rig = Rig::new().await;
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let tailnet = Arc::clone(&rig.tailnet);
    let task = tokio::spawn(async move {
        tailnet.on_change(|now| sender.send(now.is_ok()).unwrap_or_default()).await;
    });
    assert_eq!(told.recv().await, Some(true));
    rig.daemon.stop();
    assert_eq!(told.recv().await, Some(false));
    rig.daemon.restart().unwrap();
    while told.recv().await != Some(true) {}
    task.abort();
}

/// A daemon before 1.98: it refuses bits of the bus that it does not know, and sends the whole map at every change.
#[tokio::test]
async fn an_older_bus_is_followed_too() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("tailscaled.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let daemon = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer_like_1_96(stream));
        }
    });
    let rig = Bare::beside(folder, &socket, None);
    rig.until(|| rig.tailnet.readiness().is_ok()).await;
    daemon.abort();
}

async fn answer_like_1_96(mut stream: tokio::net::UnixStream) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(char::from(byte));
    }
    let told = "HTTP/1.1 200 OK\r\nTailscale-Cap: 133\r\nTailscale-Version: 1.96.2\r\nConnection: close\r\n";
    let status = r#"{"BackendState":"Running","Self":{"ID":"nIDP","Online":true}}"#;
    let answer = match request.split(' ').nth(1).unwrap() {
        "/localapi/v0/watch-ipn-bus?mask=6" => {
            let line = "{\"State\":6,\"NetMap\":{}}\n";
            format!("{told}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{line}\r\n", line.len())
        }
        path if path.contains("watch-ipn-bus") => {
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
        }
        path if path.contains("status") => format!("{told}Content-Length: {}\r\n\r\n{status}", status.len()),
        _ => format!("{told}Content-Length: 2\r\n\r\n{{}}"),
    };
    stream.write_all(answer.as_bytes()).await.unwrap();
    if answer.contains("chunked") {
        // The bus stays open.
        let _ = stream.read_u8().await;
    }
}
