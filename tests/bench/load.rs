//! The load: threads that make requests over kept-alive connections, with as little work as that takes.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use base64ct::{Base64, Encoding as _};

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
        }
    }
}

/// Makes load for some time over so many connections.
pub(crate) fn run(server: &Server, kind: Kind, connections: usize, time: Duration) -> Measured {
    let barrier = Barrier::new(connections + 1);
    let (mut taken, used, grown, passed) = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|connection| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut worker = Worker::new(server, kind, connection);
                    worker.step();
                    barrier.wait();
                    let began = Instant::now();
                    let mut taken = Vec::with_capacity(1 << 16);
                    while began.elapsed() < time {
                        let start = Instant::now();
                        worker.step();
                        taken.push(start.elapsed());
                    }
                    taken
                })
            })
            .collect();
        barrier.wait();
        let (began, cpu, memory) = (Instant::now(), server.cpu(), server.memory());
        let taken: Vec<Duration> =
            threads.into_iter().flat_map(|thread| thread.join().expect("a worker")).collect();
        let passed = began.elapsed();
        (taken, server.cpu() - cpu, server.memory() - memory, passed)
    });
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
    fn new(server: &Server, kind: Kind, connection: usize) -> Self {
        let (Kind::Login(client) | Kind::Refresh(client) | Kind::Userinfo(client)) = kind;
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
        let stream = UnixStream::connect(server.socket()).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let mut worker = Self {
            stream,
            kind,
            authorize: authorize.into_bytes(),
            token_head,
            refresh_token: String::new(),
            access_token: String::new(),
            buffer: vec![0; 64 * 1024],
        };
        worker.login();
        worker
    }

    fn step(&mut self) {
        match self.kind {
            Kind::Login(_) => self.login(),
            Kind::Refresh(_) => self.refresh(),
            Kind::Userinfo(_) => self.userinfo(),
        }
    }

    fn login(&mut self) {
        let request = std::mem::take(&mut self.authorize);
        let answer = self.exchange(&request, "302");
        self.authorize = request;
        let code = between(&answer, "code=", &['&', '\r']).to_owned();
        self.token(&format!(
            "grant_type=authorization_code&code={code}&redirect_uri={REDIRECT}&code_verifier={VERIFIER}"
        ));
    }

    fn refresh(&mut self) {
        let body = format!("grant_type=refresh_token&refresh_token={}", self.refresh_token);
        self.token(&body);
    }

    fn token(&mut self, body: &str) {
        let request = format!("{}Content-Length: {}\r\n\r\n{body}", self.token_head, body.len());
        let answer = self.exchange(request.as_bytes(), "200");
        between(&answer, "\"refresh_token\":\"", &['"']).clone_into(&mut self.refresh_token);
        between(&answer, "\"access_token\":\"", &['"']).clone_into(&mut self.access_token);
    }

    fn userinfo(&mut self) {
        let request = format!(
            "GET /userinfo HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 100.64.1.0\r\nX-Forwarded-Proto: https\r\n\
             Authorization: Bearer {}\r\n\r\n",
            self.access_token
        );
        self.exchange(request.as_bytes(), "200");
    }

    /// Sends a request and reads its answer, which must have this status.
    fn exchange(&mut self, request: &[u8], status: &str) -> String {
        self.stream.write_all(request).expect("the server reads");
        let mut filled = 0;
        let end = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).expect("the server answers");
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
