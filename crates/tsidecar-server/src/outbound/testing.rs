//! A network for tests: names answer as told, and every connection leads to one TLS server in memory, whatever the address.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;
use tsidecar_oauth::uri::FetchUrl;

use super::limits::FetchLimiter;
use super::own::OwnAddresses;
use super::system::{Answer, Network, Wire};
use super::{Authorities, Lane, Outbound, TIMES, Verifier};
use crate::config::TestHost;

/// An address that anybody may dial, and that no test ever does.
pub(super) const GLOBAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(93, 184, 215, 14));

pub(super) fn url(text: &str) -> FetchUrl {
    FetchUrl::parse(text).unwrap()
}

/// An authority of our own.
pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        params.distinguished_name.push(DnType::CommonName, Base64::encode_string(key.public_key_raw()));
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        let text = Base64::encode_string(self.0.der());
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    pub(super) fn authorities(&self) -> Authorities {
        Authorities::from_pem(self.pem().as_bytes()).unwrap()
    }

    /// A server's side of TLS for a name.
    pub(super) fn acceptor(&self, name: &str) -> TlsAcceptor {
        self.acceptor_of(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    pub(super) fn acceptor_of(&self, params: &CertificateParams) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate: CertificateDer<'static> = params.signed_by(&key, &self.0).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = versions.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// The PEM text of an authority.
pub(crate) fn ca_for_tests() -> String {
    Ca::new().pem()
}

/// What the server does with a connection.
#[derive(Clone)]
pub(super) enum Reply {
    /// Answers with these bytes and closes.
    Says(String),
    /// Answers with these bytes, and then one more every second, for ever.
    Drips(String),
    /// Answers with these bytes, and then with more as fast as they are taken, for ever.
    Floods(String),
    /// Takes the connection and says nothing, not even hello.
    Silent,
    /// Speaks without TLS.
    Plain,
    /// Takes no connection.
    Refuses,
}

impl Reply {
    /// A 200 with a document.
    pub(super) fn document(headers: &str, body: &str) -> Self {
        Self::Says(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()))
    }
}

/// The network.
pub(super) struct World {
    acceptor: TlsAcceptor,
    own: OwnAddresses,
    /// What the next questions for a name are answered with; the last answer stays.
    pub(super) answers: Mutex<VecDeque<Vec<IpAddr>>>,
    /// What the server does with the next connections; the last stays.
    pub(super) replies: Mutex<VecDeque<Reply>>,
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) dialled: Mutex<Vec<SocketAddr>>,
    pub(super) requests: Arc<Mutex<Vec<String>>>,
}

impl World {
    /// A network on which `app.test` has a global address and a certificate that is believed.
    pub(super) fn new(ca: &Ca, reply: Reply) -> Self {
        Self {
            acceptor: ca.acceptor("app.test"),
            own: OwnAddresses::of(&[[127, 0, 0, 1].into()]),
            answers: Mutex::new([vec![GLOBAL]].into()),
            replies: Mutex::new([reply].into()),
            asked: Mutex::default(),
            dialled: Mutex::default(),
            requests: Arc::default(),
        }
    }

    pub(super) fn own(mut self, own: &[IpAddr]) -> Self {
        self.own = OwnAddresses::of(own);
        self
    }

    pub(super) fn acceptor(mut self, acceptor: TlsAcceptor) -> Self {
        self.acceptor = acceptor;
        self
    }

    pub(super) fn answers(self, answers: &[&[&str]]) -> Self {
        let parsed =
            answers.iter().map(|answer| answer.iter().map(|address| address.parse().unwrap()).collect());
        *self.answers.lock().unwrap() = parsed.collect();
        self
    }

    pub(super) fn replies(self, replies: impl IntoIterator<Item = Reply>) -> Self {
        *self.replies.lock().unwrap() = replies.into_iter().collect();
        self
    }

    pub(super) fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().iter().map(ToString::to_string).collect()
    }

    /// A client on this network that believes the authority.
    pub(super) fn outbound(self: &Arc<Self>, ca: &Ca) -> Outbound {
        let lane = || Lane::new(Verifier::of(&ca.authorities()).unwrap());
        Outbound {
            network: Box::new(Arc::clone(self)),
            strangers: lane(),
            acquaintances: lane(),
            administrators: lane(),
            test: None,
            limiter: FetchLimiter::new(),
            times: TIMES,
        }
    }
}

/// A test host beside everything else.
pub(super) fn with_test_host(mut outbound: Outbound, name: &str, port: u16, ca: &Ca) -> Outbound {
    let test = TestHost { name: name.to_owned(), port, authorities: ca.authorities() };
    outbound.test = Some((test, Verifier::of(&ca.authorities()).unwrap()));
    outbound
}

fn next<T: Clone>(queue: &Mutex<VecDeque<T>>) -> T {
    let mut queue = queue.lock().unwrap();
    if queue.len() > 1 { queue.pop_front().unwrap() } else { queue.front().unwrap().clone() }
}

impl Network for Arc<World> {
    fn resolve<'a>(&'a self, host: &'a str) -> Answer<'a, Vec<IpAddr>> {
        self.asked.lock().unwrap().push(host.to_owned());
        let answer = next(&self.answers);
        Box::pin(async move { Ok(answer) })
    }

    fn own_addresses(&self) -> io::Result<OwnAddresses> {
        Ok(self.own.clone())
    }

    fn connect(&self, address: SocketAddr) -> Answer<'_, Box<dyn Wire>> {
        self.dialled.lock().unwrap().push(address);
        let reply = next(&self.replies);
        Box::pin(async move {
            if matches!(reply, Reply::Refuses) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = tokio::io::duplex(16 * 1024);
            tokio::spawn(serve(theirs, self.acceptor.clone(), reply, Arc::clone(&self.requests)));
            Ok(Box::new(ours) as Box<dyn Wire>)
        })
    }
}

async fn serve(stream: DuplexStream, acceptor: TlsAcceptor, reply: Reply, requests: Arc<Mutex<Vec<String>>>) {
    let mut stream = stream;
    match reply {
        Reply::Silent => std::future::pending().await,
        Reply::Plain => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
        reply => {
            // A client that does not believe us leaves.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, reply, &requests).await;
            }
        }
    }
}

/// Reads one request and does with it as told; ends when nobody listens any more.
pub(super) async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    reply: Reply,
    requests: &Mutex<Vec<String>>,
) {
    let request = request(&mut stream).await;
    requests.lock().unwrap().push(request);
    let (head, pause) = match &reply {
        Reply::Drips(head) => (head, Some(Duration::from_secs(1))),
        Reply::Floods(head) => (head, Some(Duration::ZERO)),
        Reply::Says(whole) => (whole, None),
        Reply::Silent | Reply::Plain | Reply::Refuses => panic!("no answer"),
    };
    let mut sent = stream.write_all(head.as_bytes()).await;
    if let Some(pause) = pause {
        let more: &[u8] = if pause.is_zero() { b"1000\r\n" } else { b" " };
        let chunk = if pause.is_zero() { [more, &[b'x'; 0x1000], b"\r\n"].concat() } else { more.to_vec() };
        while sent.is_ok() {
            sent = stream.write_all(&chunk).await.and(stream.flush().await);
            tokio::time::sleep(pause).await;
        }
    }
    let _ = stream.shutdown().await;
}

async fn request<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut read = Vec::new();
    let whole = |read: &[u8]| {
        let text = String::from_utf8_lossy(read).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        (body.len() >= length.map_or(0, |length| length.parse().unwrap())).then_some(text.clone())
    };
    loop {
        if let Some(text) = whole(&read) {
            return text;
        }
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return String::from_utf8_lossy(&read).into_owned();
        }
    }
}
