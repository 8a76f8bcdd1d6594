//! A stand-in for `tailscale serve`: a reverse proxy to a unix socket that sets exactly the headers which serve sets.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    client,
    header::{
        CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, runtime::Runtime, task::JoinSet};

use super::script::Node;

/// Forwards requests until it is dropped; on threads of its own.
pub struct ServeHop {
    backend: Arc<Backend>,
    scheme: Scheme,
    runtime: Option<Runtime>,
}

/// How visitors reach serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Over TLS, which ends in front of the stand-in: `X-Forwarded-Proto: https`.
    Https,
    /// In the clear: no `X-Forwarded-Proto` at all, as serve does it.
    Http,
}

/// Whose requests come in at one listener.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The address of the peer, or of a caller in the internet.
    pub address: IpAddr,
    /// Login, display name and picture, unless the node is tagged.
    pub user: Option<(String, String, String)>,
    /// Through Funnel.
    pub funnel: bool,
}

impl Visitor {
    /// Somebody on a node of the tailnet, by its first address.
    pub fn on(node: &Node) -> Option<Self> {
        let user = &node.user;
        let named =
            node.tags.is_empty().then(|| (user.login.clone(), user.name.clone(), user.picture.clone()));
        node.addresses.first().map(|address| Self { address: *address, user: named, funnel: false })
    }

    /// Somebody in the internet.
    pub const fn funnel(address: IpAddr) -> Self {
        Self { address, user: None, funnel: true }
    }
}

impl ServeHop {
    /// Prepares to forward to a unix socket.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(backend: impl Into<PathBuf>, scheme: Scheme) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .thread_name("serve-hop")
            .build()?;
        let backend = Arc::new(Backend { socket: backend.into(), idle: Mutex::new(Vec::new()) });
        Ok(Self { backend, scheme, runtime: Some(runtime) })
    }

    /// Takes everybody who connects to an address of the loopback interface for one visitor; port 0 chooses one.
    /// All listeners share the pooled connections to the backend, as with serve.
    ///
    /// # Errors
    /// When the address is not loopback or cannot be bound.
    pub fn listen(&self, address: SocketAddr, visitor: Visitor) -> io::Result<SocketAddr> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a stand-in listens on loopback only"));
        }
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        let route = Arc::new(Route { backend: Arc::clone(&self.backend), scheme: self.scheme, visitor });
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    accept(listener, route).await;
                }
            });
        }
        Ok(bound)
    }
}

impl Drop for ServeHop {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Route {
    backend: Arc<Backend>,
    scheme: Scheme,
    visitor: Visitor,
}

struct Backend {
    socket: PathBuf,
    idle: Mutex<Vec<Sender>>,
}

type Sender = client::conn::http1::SendRequest<Incoming>;
type AnyBody = UnsyncBoxBody<Bytes, hyper::Error>;

async fn accept(listener: tokio::net::TcpListener, route: Arc<Route>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let route = Arc::clone(&route);
        connections.spawn(async move {
            let service = service_fn(|request| forward(Arc::clone(&route), request));
            // A visitor who goes away is their own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn forward(route: Arc<Route>, mut request: Request<Incoming>) -> Result<Response<AnyBody>, Infallible> {
    route.rewrite(request.headers_mut());
    let answer = route.backend.send(request).await;
    Ok(answer.unwrap_or_else(|_| {
        let mut response = Response::new(Full::default().map_err(|never| match never {}).boxed_unsync());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }))
}

impl Route {
    /// Does to a request's headers what serve does (`reverseProxy.ServeHTTP` in `ipn/ipnlocal/serve.go`).
    fn rewrite(&self, headers: &mut HeaderMap) {
        strip_hop_by_hop(headers);
        for name in OWNED {
            headers.remove(name);
        }
        let wanted = headers.insert(HOST, HeaderValue::from_static("localhost"));
        if let Some(wanted) = wanted {
            headers.insert("x-forwarded-host", wanted);
        }
        put(headers, "x-forwarded-for", &self.visitor.address.to_string());
        if self.scheme == Scheme::Https {
            put(headers, "x-forwarded-proto", "https");
        }
        match &self.visitor.user {
            _ if self.visitor.funnel => put(headers, "tailscale-funnel-request", "?1"),
            Some((login, name, picture)) => {
                put(headers, "tailscale-user-login", &encode_word(login));
                put(headers, "tailscale-user-name", &encode_word(name));
                put(headers, "tailscale-user-profile-pic", picture);
                put(headers, "tailscale-headers-info", "https://tailscale.com/s/serve-headers");
            }
            None => (),
        }
    }
}

/// What serve deletes from every request before it sets its own.
const OWNED: [&str; 10] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "tailscale-user-login",
    "tailscale-user-name",
    "tailscale-user-profile-pic",
    "tailscale-headers-info",
    "tailscale-funnel-request",
    "tailscale-app-capabilities",
];

/// Headers that concern one connection only (RFC 9110 §7.6.1), and what `Connection` names.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always =
        [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    for name in named.iter().chain(&always) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Writes a header value as serve does: as it is when ASCII, otherwise as encoded words (RFC 2047, `Q`).
fn encode_word(text: &str) -> String {
    if text.bytes().all(|b| b == b'\t' || (0x20..=0x7e).contains(&b)) {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        let mut buffer = [0; 4];
        let encoded: String = c.encode_utf8(&mut buffer).bytes().map(encode_byte).collect();
        match words.last_mut() {
            Some(word) if word.len() + encoded.len() <= LONGEST_WORD => word.push_str(&encoded),
            _ => words.push(encoded),
        }
    }
    words.iter().map(|word| format!("=?utf-8?q?{word}?=")).collect::<Vec<_>>().join(" ")
}

/// An encoded word has at most 75 characters, 12 of which are its frame.
const LONGEST_WORD: usize = 63;

fn encode_byte(byte: u8) -> String {
    match byte {
        b' ' => "_".to_owned(),
        b'!'..=b'~' if !b"=?_".contains(&byte) => char::from(byte).to_string(),
        _ => format!("={byte:02X}"),
    }
}

impl Backend {
    async fn send(&self, request: Request<Incoming>) -> io::Result<Response<AnyBody>> {
        let mut sender = match self.pooled() {
            Some(sender) => sender,
            None => connect(&self.socket).await?,
        };
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        // It is free again when the answer has been read.
        self.keep(sender);
        Ok(response.map(http_body_util::BodyExt::boxed_unsync))
    }

    /// A pooled connection that is good and free.
    fn pooled(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.iter().position(Sender::is_ready).map(|free| idle.remove(free))
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(sender);
        }
    }
}

/// Go's transport keeps two idle connections to a host.
const MOST_IDLE: usize = 2;

async fn connect(socket: &Path) -> io::Result<Sender> {
    let stream = UnixStream::connect(socket).await?;
    let (sender, connection) =
        client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::User;

    fn rewritten(scheme: Scheme, visitor: Visitor, sent: &[(&'static str, &str)]) -> Vec<String> {
        let backend = Arc::new(Backend { socket: PathBuf::new(), idle: Mutex::new(Vec::new()) });
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        Route { backend, scheme, visitor }.rewrite(&mut headers);
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    fn alice() -> Visitor {
        let user = User::new(1, "alice@example.com", "Alice Äxample");
        Visitor::on(&Node::of(user, 2, "alice", &["100.64.0.2".parse().unwrap()])).unwrap()
    }

    #[test]
    fn forged_headers_are_replaced_and_others_pass() {
        let sent = [
            ("host", "idp.tail.test"),
            ("connection", "x-forwarded-for, x-secret"),
            ("x-secret", "1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "1.2.3.5"),
            ("forwarded", "for=1.2.3.4"),
            ("tailscale-funnel-request", "?1"),
            ("tailscale-user-login", "bob@example.com"),
            ("tailscale-app-capabilities", "{}"),
            ("x-real-ip", "1.2.3.4"),
        ];
        assert_eq!(
            rewritten(Scheme::Https, alice(), &sent),
            [
                "host: localhost",
                "tailscale-headers-info: https://tailscale.com/s/serve-headers",
                "tailscale-user-login: alice@example.com",
                "tailscale-user-name: =?utf-8?q?Alice_=C3=84xample?=",
                "tailscale-user-profile-pic: ",
                "x-forwarded-for: 100.64.0.2",
                "x-forwarded-host: idp.tail.test",
                "x-forwarded-proto: https",
                "x-real-ip: 1.2.3.4",
            ]
        );
    }

    #[test]
    fn funnel_has_its_marker_and_no_identity() {
        let visitor = Visitor { funnel: true, ..alice() };
        let lines = rewritten(Scheme::Http, visitor, &[("tailscale-user-login", "alice@example.com")]);
        assert_eq!(lines, ["host: localhost", "tailscale-funnel-request: ?1", "x-forwarded-for: 100.64.0.2"]);
    }

    #[test]
    fn long_names_become_several_words() {
        let encoded = encode_word(&"ä".repeat(40));
        assert!(encoded.split(' ').all(|word| word.len() <= 75 && word.ends_with("?=")));
        assert_eq!(encoded.split(' ').count(), 4);
    }
}
