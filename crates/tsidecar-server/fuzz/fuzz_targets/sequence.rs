//! Whole request sequences through the router against the memory store, beside a scripted tailscaled, and a model that knows
//! which of them may succeed: a code works once, a refresh token only for its client, at its place, and while it is current.
#![no_main]

use std::{
    fmt::Write as _,
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
};
use tsidecar_oauth::{
    fresh::FreshSecret,
    id::KeyId,
    jose::{Algorithm, PrivateKeyPem, SigningKey, SigningKeys},
    key::KeyState,
    seal::{CodeEpoch, SealingKey, SealingKeyId, SealingKeys},
    uri::Issuer,
};
use tsidecar_server::{
    app::App,
    clock::Clock,
    config::{Config, Routers, TailscaleSsh},
    demo::{Node, Script, Tailscaled, User},
    device_limits::DeviceLimits,
    documents::Documents,
    identity::IdentityPolicy,
    keys::KeyRing,
    limiter::Limiter,
    outbound::{ClientKeys, Outbound},
    peer::{Gate, ListenerContext, Role},
    registrations::Registrations,
    router,
    snapshot::Snapshot,
    state::Pins,
    store::MemoryStore,
    tailnet::{Boundary, Settings, Tailnet},
    web::inbound,
};

#[derive(Arbitrary, Debug)]
enum Step {
    Authorize { who: u8, client: u8, scope: u8 },
    Redeem { who: u8, client: u8, code: u8, right_verifier: bool, right_redirect: bool },
    Refresh { who: u8, client: u8, token: u8 },
    Userinfo { who: u8, token: u8 },
    Raw(Vec<u8>),
}

const CONFIG: &str = r#"
issuer = "https://idp.tail.test"
[limits]
node_requests_per_minute = 0
[[client]]
id = "one"
public = true
redirect_uris = ["http://127.0.0.1/cb"]
id_token_signed_response_alg = "ES256"
[[client]]
id = "two"
public = true
redirect_uris = ["http://127.0.0.1/cb"]
id_token_signed_response_alg = "ES256"
[[client]]
id = "web"
secret_sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" # abc
redirect_uris = ["http://127.0.0.1/cb"]
id_token_signed_response_alg = "ES256"
"#;
const CLIENTS: [&str; 3] = ["one", "two", "web"];
const SCOPES: [&str; 3] = ["openid", "profile", "openid+email+nonsense"];
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Alice, bob, alice's second device, the internet.
const PEOPLE: [u8; 4] = [2, 3, 5, 99];

struct World {
    runtime: Runtime,
    config: Arc<Config>,
    snapshot: Arc<Snapshot>,
    tailnet: Arc<Tailnet>,
    outbound: Arc<Outbound>,
    context: ListenerContext,
    _tailscaled: Tailscaled,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let address = |last| IpAddr::from([100, 64, 0, last]);
    let alice = User::new(1001, "alice@example.com", "Alice");
    let mut script = Script::new("example.com", "tail.test");
    script.peers = vec![
        Node::of(alice.clone(), 2, "laptop", &[address(2)]),
        Node::of(User::new(1002, "bob@github", "Bob"), 3, "desk", &[address(3)]),
        Node::of(alice, 5, "phone", &[address(5)]),
    ];
    let socket = std::env::temp_dir().join(format!("tsidecar-fuzz-{}.sock", std::process::id()));
    let tailscaled = Tailscaled::start(&socket, script).unwrap();
    let config = Arc::new(Config::from_text("fuzz.toml", CONFIG).unwrap());
    let issuer = Issuer::parse("https://idp.tail.test").unwrap();
    let pins = Pins::first(&config, issuer.clone(), "example.com");
    let snapshot = Arc::new(Snapshot::build(&config, pins, ring(&issuer), &[]).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tailnet = runtime.block_on(async {
        let client = tsidecar_localapi::Client::new(&socket);
        let settings = Settings {
            client: client.clone(),
            gate: Arc::new(Gate::new(client)),
            boundary: Boundary { sockets: Vec::new(), issuer, tailscale_ssh: TailscaleSsh::Refuse },
            identity: IdentityPolicy {
                capability: "tailscale.com/cap/tsidp".to_owned(),
                routers: Routers::Deny,
            },
            max_stale: None,
        };
        let tailnet = Tailnet::start(settings);
        while tailnet.readiness().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tailnet
    });
    let context = ListenerContext::new(Role::Host, "/run/serve.sock".into()).unwrap();
    let outbound = Arc::new(Outbound::new(&config.outbound).unwrap());
    World { runtime, config, snapshot, tailnet, outbound, context, _tailscaled: tailscaled }
});

fn ring(issuer: &Issuer) -> KeyRing {
    let signing = [Algorithm::Rs256, Algorithm::Es256].map(|algorithm| {
        let pem = PrivateKeyPem::generate(algorithm).unwrap();
        let id = KeyId::parse(algorithm.as_str()).unwrap();
        (SigningKey::from_pem(id, algorithm, &pem).unwrap(), KeyState::Active)
    });
    let secret = FreshSecret::from_bytes([3; 32]);
    let sealing = SealingKey::derive(SealingKeyId::from_bytes([1; 4]), secret, issuer, CodeEpoch(0));
    KeyRing {
        signing: Arc::new(SigningKeys::new(signing.into())),
        sealing: Arc::new(SealingKeys::new(vec![(sealing, KeyState::Active)])),
        records: Vec::new().into(),
        home: None,
    }
}

/// What the model remembers of a grant.
struct Grant {
    client: usize,
    /// Where a public client redeemed; confidential ones are free.
    place: Option<u8>,
    /// Refresh tokens, oldest first.
    tokens: Vec<String>,
    access: Vec<(String, bool)>,
    revoked: bool,
}

struct Code {
    text: String,
    client: usize,
    openid: bool,
    /// The grant it became; `Some(None)` when it was burned.
    became: Option<Option<usize>>,
}

/// What a client does after its request.
#[derive(PartialEq)]
enum After {
    /// It waits for the answer; the request asks for the connection to be closed then.
    Wait,
    /// It sends no more: the request may not be one.
    HangUp,
}

struct Run {
    app: Arc<App>,
    codes: Vec<Code>,
    grants: Vec<Grant>,
}

fuzz_target!(|steps: Vec<Step>| {
    let world = &*WORLD;
    let app = Arc::new(App {
        background: Default::default(),
        config: Arc::clone(&world.config),
        snapshot: ArcSwap::new(Arc::clone(&world.snapshot)),
        store: Arc::new(MemoryStore::new()),
        tailnet: Arc::clone(&world.tailnet),
        limiter: Limiter::new(&world.config.limits),
        devices: DeviceLimits::default(),
        registrations: Registrations::new(world.config.registration.limits),
        documents: Documents::new(Arc::clone(&world.outbound)),
        client_keys: ClientKeys::new(Arc::clone(&world.outbound)),
        outbound: Arc::clone(&world.outbound),
        clock: Clock::system(),
    });
    let mut run = Run { app, codes: Vec::new(), grants: Vec::new() };
    world.runtime.block_on(async {
        for step in steps.into_iter().take(64) {
            run.step(step).await;
        }
    });
});

impl Run {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Authorize { who, client, scope } => {
                let (who, client) = (place(who), usize::from(client) % 3);
                let scope = SCOPES[usize::from(scope) % 3];
                let answer = self.get(who, &format!(
                    "/authorize?response_type=code&client_id={}&redirect_uri=http://127.0.0.1:1/cb&scope={scope}&\
                     state=s&code_challenge={CHALLENGE}&code_challenge_method=S256",
                    CLIENTS[client]
                ), "").await;
                let code = answer.split_once("?code=").and_then(|(_, rest)| rest.split_once('&'));
                assert_eq!(code.is_some(), who != 99, "{answer}");
                if let Some((code, _)) = code {
                    let openid = scope.contains("openid");
                    self.codes.push(Code { text: code.to_owned(), client, openid, became: None });
                }
            }
            Step::Redeem { who, client, code, right_verifier, right_redirect } => {
                self.redeem(place(who), usize::from(client) % 3, code.into(), right_verifier, right_redirect)
                    .await;
            }
            Step::Refresh { who, client, token } => {
                self.refresh(place(who), usize::from(client) % 3, token.into()).await;
            }
            Step::Userinfo { who, token } => {
                let all: Vec<_> = self
                    .grants
                    .iter()
                    .flat_map(|g| g.access.iter().map(|a| (a.clone(), g.revoked)))
                    .collect();
                let Some(((token, openid), revoked)) = pick(&all, token.into()).cloned() else { return };
                let answer =
                    self.get(place(who), "/userinfo", &format!("Authorization: Bearer {token}\r\n")).await;
                assert_eq!(answer.contains(" 200 OK"), openid && !revoked, "{answer}");
            }
            Step::Raw(bytes) => {
                let answer = self.exchange(&bytes, After::HangUp).await;
                assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
            }
        }
    }

    async fn redeem(&mut self, who: u8, client: usize, code: usize, verifier: bool, redirect: bool) {
        let Some(index) = index(self.codes.len(), code) else { return };
        let body = format!(
            "grant_type=authorization_code&code={}&redirect_uri=http://127.0.0.1:{}/cb&code_verifier={}",
            self.codes[index].text,
            if redirect { 1 } else { 2 },
            if verifier { VERIFIER } else { CHALLENGE }
        );
        let answer = self.token(who, client, &body).await;
        let (openid, owner, became) =
            (self.codes[index].openid, self.codes[index].client, self.codes[index].became);
        if owner != client {
            // Shown by another client that authenticated: dead, and so is what it became.
            assert!(answer.contains("invalid_grant"), "{answer}");
            self.revoke(became.flatten());
            self.codes[index].became = Some(became.flatten());
        } else if !verifier || !redirect {
            assert!(answer.contains("invalid_grant"), "{answer}");
        } else if let Some(grant) = became {
            assert!(answer.contains("invalid_grant"), "{answer}");
            self.revoke(grant);
        } else {
            assert!(answer.contains(" 200 OK"), "{answer}");
            let place = (client != 2).then_some(who);
            let access = vec![(member(&answer, "access_token"), openid)];
            let tokens = vec![member(&answer, "refresh_token")];
            self.codes[index].became = Some(Some(self.grants.len()));
            self.grants.push(Grant { client, place, tokens, access, revoked: false });
        }
    }

    async fn refresh(&mut self, who: u8, client: usize, token: usize) {
        let all: Vec<(usize, usize)> = (0..self.grants.len())
            .flat_map(|grant| (0..self.grants[grant].tokens.len()).map(move |age| (grant, age)))
            .collect();
        let Some((index, age)) = pick(&all, token).copied() else { return };
        let body = format!("grant_type=refresh_token&refresh_token={}", self.grants[index].tokens[age]);
        let answer = self.token(who, client, &body).await;
        let grant = &mut self.grants[index];
        let rightful = grant.client == client && grant.place.is_none_or(|place| place == who);
        let last = grant.tokens.len() - 1;
        if grant.revoked || !rightful {
            assert!(answer.contains("invalid_grant"), "{answer}");
        } else if age == last {
            assert!(answer.contains(" 200 OK"), "{answer}");
            let next = member(&answer, "refresh_token");
            assert!(!grant.tokens.contains(&next));
            grant.tokens.push(next);
            let openid = grant.access[0].1;
            grant.access.push((member(&answer, "access_token"), openid));
        } else if age + 1 == last {
            // The answer was lost: the same successor again, within the grace.
            assert_eq!(member(&answer, "refresh_token"), grant.tokens[last], "{answer}");
        } else {
            assert!(answer.contains("invalid_grant"), "{answer}");
            grant.revoked = true;
        }
    }

    fn revoke(&mut self, grant: Option<usize>) {
        if let Some(grant) = grant {
            self.grants[grant].revoked = true;
        }
    }

    async fn token(&self, who: u8, client: usize, body: &str) -> String {
        let secret = if client == 2 { "&client_secret=abc" } else { "" };
        let body = format!("{body}&client_id={}{secret}", CLIENTS[client]);
        let mut request = head("POST", "/token", who);
        write!(
            request,
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        self.exchange(request.as_bytes(), After::Wait).await
    }

    async fn get(&self, who: u8, target: &str, headers: &str) -> String {
        let request = format!("{}{headers}Connection: close\r\n\r\n", head("GET", target, who));
        self.exchange(request.as_bytes(), After::Wait).await
    }

    /// One connection through hyper and the router.
    async fn exchange(&self, bytes: &[u8], after: After) -> String {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let service = service_fn(|request| async {
            let (request, leftover) = inbound::lend(request);
            let answer = router::route(&self.app, &WORLD.context, request).await;
            leftover.discard().await;
            Ok::<_, hyper::Error>(answer)
        });
        let server = http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
        let client = async {
            // A server that refuses early stops reading.
            let _ = ours.write_all(bytes).await;
            if after == After::HangUp {
                let _ = ours.shutdown().await;
            }
            let mut answer = Vec::new();
            let _ = ours.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::join!(server, client).1
    }
}

fn head(method: &str, target: &str, who: u8) -> String {
    let funnel = if who == 99 { "Tailscale-Funnel-Request: ?1\r\n" } else { "" };
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 100.64.0.{who}\r\nX-Forwarded-Proto: https\r\n{funnel}"
    )
}

fn place(who: u8) -> u8 {
    PEOPLE[usize::from(who) % PEOPLE.len()]
}

fn index(length: usize, wanted: usize) -> Option<usize> {
    (length > 0).then(|| wanted % length)
}

fn pick<T>(all: &[T], wanted: usize) -> Option<&T> {
    index(all.len(), wanted).map(|index| &all[index])
}

fn member(answer: &str, name: &str) -> String {
    let after =
        answer.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("no {name}: {answer}")).1;
    after.split('"').next().unwrap_or_default().to_owned()
}
