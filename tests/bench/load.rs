//! The load: one thread that makes requests over kept-alive connections, with as little work as that takes.
//!
//! One thread that polls is also what stands before the server in production (Go's netpoller in tailscaled). A thread per
//! connection would be charged to the server: waking it is part of the server's `write`.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use base64ct::{Base64, Encoding as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::Barrier,
    task::LocalSet,
};

use super::server::{SECRET, Server, address};

/// What is measured, each for one client.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// One authorization and one redemption.
    Login(&'static str),
    /// One refresh.
    Refresh(&'static str),
    /// One userinfo.
    Userinfo(&'static str),
    /// One introspection of an opaque access token.
    Introspect(&'static str),
}

/// What one run came to.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// Seconds.
    pub(crate) p50: f64,
    /// Seconds.
    pub(crate) p99: f64,
    /// Seconds of server CPU for each.
    pub(crate) cpu: f64,
    /// Bytes of resident memory for each.
    pub(crate) growth: f64,
}

impl Kind {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Login(client) => format!("login {client}256"),
            Self::Refresh(client) => format!("refresh {client}256"),
            Self::Userinfo(_) => "userinfo".to_owned(),
            Self::Introspect(_) => "introspect".to_owned(),
        }
    }
}

/// Makes load for some time over so many connections.
pub(crate) fn run(server: &Server, kind: Kind, connections: usize, time: Duration) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, measure(server, kind, connections, time))
}

async fn measure(server: &Server, kind: Kind, connections: usize, time: Duration) -> Measured {
    let barrier = Rc::new(Barrier::new(connections + 1));
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let mut worker = Worker::new(server, kind, connection).await;
        let barrier = Rc::clone(&barrier);
        tasks.push(tokio::task::spawn_local(async move {
            worker.step().await;
            barrier.wait().await;
            let began = Instant::now();
            let mut taken = Vec::with_capacity(1 << 16);
            while began.elapsed() < time {
                let start = Instant::now();
                worker.step().await;
                taken.push(start.elapsed());
            }
            taken
        }));
    }
    barrier.wait().await;
    let (began, cpu, memory) = (Instant::now(), server.cpu(), server.memory());
    let mut taken: Vec<Duration> = Vec::new();
    for task in tasks {
        taken.extend(task.await.expect("a worker"));
    }
    let passed = began.elapsed();
    let (used, grown) = (server.cpu() - cpu, server.memory() - memory);
    taken.sort_unstable();
    let count = f64::from(u32::try_from(taken.len()).expect("fewer than 4 billion"));
    let at = |part: usize| taken.get(taken.len() * part / 100).copied().unwrap_or_default().as_secs_f64();
    Measured {
        per_second: count / passed.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        cpu: used / count,
        growth: grown / count,
    }
}

/// One connection and the person behind it.
struct Worker {
    stream: UnixStream,
    kind: Kind,
    authorize: Vec<u8>,
    token_head: String,
    refresh_token: String,
    access_token: String,
    buffer: Vec<u8>,
}

const REDIRECT: &str = "https%3A%2F%2Fapp.test%2Fcallback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

impl Worker {
    async fn new(server: &Server, kind: Kind, connection: usize) -> Self {
        let (Kind::Login(client) | Kind::Refresh(client) | Kind::Userinfo(client) | Kind::Introspect(client)) =
            kind;
        let serve = format!(
            "Host: localhost\r\nX-Forwarded-For: {}\r\nX-Forwarded-Host: idp.tail.test\r\nX-Forwarded-Proto: https\r\n\
             Tailscale-User-Login: user{connection}@example.com\r\nTailscale-User-Name: Alice Example\r\n\
             Tailscale-Headers-Info: https://tailscale.com/s/serve-headers\r\nUser-Agent: bench\r\nAccept: */*\r\n",
            address(connection)
        );
        let authorize = format!(
            "GET /authorize?response_type=code&client_id={client}&redirect_uri={REDIRECT}&scope=openid+profile+email+groups&\
             state=abcdefghijklmnop&nonce=qrstuvwxyz012345&code_challenge={CHALLENGE}&code_challenge_method=S256 HTTP/1.1\r\n{serve}\r\n"
        );
        let basic = Base64::encode_string(format!("{client}:{SECRET}").as_bytes());
        let token_head = format!(
            "POST /token HTTP/1.1\r\n{serve}Authorization: Basic {basic}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        );
        let stream = UnixStream::connect(server.socket()).await.expect("the server listens");
        let mut worker = Self {
            stream,
            kind,
            authorize: authorize.into_bytes(),
            token_head,
            refresh_token: String::new(),
            access_token: String::new(),
            buffer: vec![0; 64 * 1024],
        };
        worker.login().await;
        worker
    }

    async fn step(&mut self) {
        match self.kind {
            Kind::Login(_) => self.login().await,
            Kind::Refresh(_) => self.refresh().await,
            Kind::Userinfo(_) => self.userinfo().await,
            Kind::Introspect(_) => self.introspect().await,
        }
    }

    async fn login(&mut self) {
        let request = std::mem::take(&mut self.authorize);
        let answer = self.exchange(&request, "302").await;
        self.authorize = request;
        let code = between(&answer, "code=", &['&', '\r']).to_owned();
        self.token(&format!(
            "grant_type=authorization_code&code={code}&redirect_uri={REDIRECT}&code_verifier={VERIFIER}"
        ))
        .await;
    }

    async fn refresh(&mut self) {
        let body = format!("grant_type=refresh_token&refresh_token={}", self.refresh_token);
        self.token(&body).await;
    }

    async fn token(&mut self, body: &str) {
        let request = format!("{}Content-Length: {}\r\n\r\n{body}", self.token_head, body.len());
        let answer = self.exchange(request.as_bytes(), "200").await;
        between(&answer, "\"refresh_token\":\"", &['"']).clone_into(&mut self.refresh_token);
        between(&answer, "\"access_token\":\"", &['"']).clone_into(&mut self.access_token);
    }

    async fn userinfo(&mut self) {
        let request = format!(
            "GET /userinfo HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 100.64.1.0\r\nX-Forwarded-Proto: https\r\n\
             Authorization: Bearer {}\r\n\r\n",
            self.access_token
        );
        self.exchange(request.as_bytes(), "200").await;
    }

    async fn introspect(&mut self) {
        let body = format!("token={}", self.access_token);
        let head = self.token_head.replacen("/token", "/introspect", 1);
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = self.exchange(request.as_bytes(), "200").await;
        assert!(answer.contains("\"active\":true"), "{answer}");
    }

    /// Sends a request and reads its answer, which must have this status.
    async fn exchange(&mut self, request: &[u8], status: &str) -> String {
        self.stream.write_all(request).await.expect("the server reads");
        let mut filled = 0;
        let end = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            let head = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(head) = head {
                let text = std::str::from_utf8(&self.buffer[..head]).expect("text");
                let length = text.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.parse::<usize>().expect("a length"))
                });
                let wanted = head + 4 + length.unwrap_or(0);
                if filled >= wanted {
                    break wanted;
                }
            }
        };
        let answer = String::from_utf8(self.buffer[..end].to_vec()).expect("text");
        assert!(answer.get(9..12) == Some(status), "{answer}");
        answer
    }
}

fn between<'a>(text: &'a str, before: &str, until: &[char]) -> &'a str {
    let after = text.split_once(before).map_or_else(|| panic!("no {before} in {text}"), |(_, after)| after);
    after.split(until).next().unwrap_or_default()
}
