//! A host that the daemon fetches from and posts to: HTTPS on loopback, by the exception for tests in the configuration.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use base64ct::{Base64, Encoding as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use tempfile::TempDir;

/// What a host answers with: a status, a media type, a body.
#[derive(Clone)]
struct Answer {
    status: u16,
    media_type: String,
    body: String,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<BTreeMap<String, Answer>>,
    /// Head and body of each request, as it came.
    requests: Mutex<Vec<String>>,
    came: Condvar,
}

/// `https://rp.test:PORT`. Paths without an answer are 404. It listens until the test ends.
pub(crate) struct Host {
    port: u16,
    folder: TempDir,
    shared: Arc<Shared>,
}

impl Host {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tls, ca) = server("rp.test");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca).unwrap();
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tls, shared) = (Arc::clone(&tls), Arc::clone(&serving));
                thread::spawn(move || {
                    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
                    // Whoever does not believe the certificate leaves, and that is an error.
                    serve(StreamOwned::new(connection, stream?), &shared)
                });
            }
            io::Result::Ok(())
        });
        Self { port, folder, shared }
    }

    /// The table of the configuration that makes it the host for tests.
    pub(crate) fn tables(&self) -> String {
        format!("[outbound]\ntest_host = \"rp.test:{}\"\ntest_ca = \"{}\"\n", self.port, self.ca().display())
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://rp.test:{}{path}", self.port)
    }

    /// Answers a path with this from now on.
    pub(crate) fn answer(&self, path: &str, status: u16, media_type: &str, body: &str) {
        let answer = Answer { status, media_type: media_type.to_owned(), body: body.to_owned() };
        self.shared.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Every request so far, once there are so many.
    #[track_caller]
    pub(crate) fn requests(&self, at_least: usize) -> Vec<String> {
        let requests = self.shared.requests.lock().unwrap();
        let (requests, timed_out) = self
            .shared
            .came
            .wait_timeout_while(requests, Duration::from_secs(20), |requests| requests.len() < at_least)
            .unwrap();
        assert!(!timed_out.timed_out(), "{} requests came, not {at_least}: {requests:?}", requests.len());
        requests.clone()
    }
}

/// The server's side of TLS for a name, and the PEM text of the authority that signed for it.
fn server(name: &str) -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let text = Base64::encode_string(ca.der());
    (Arc::new(config), format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
}

/// Reads one request, remembers it, answers it.
fn serve(mut stream: StreamOwned<ServerConnection, std::net::TcpStream>, shared: &Shared) -> io::Result<()> {
    stream.sock.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = read(&mut stream)?;
    let path = request.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
    let missing = Answer { status: 404, media_type: "text/plain".to_owned(), body: String::new() };
    let answer = shared.answers.lock().unwrap().get(&path).cloned().unwrap_or(missing);
    shared.requests.lock().unwrap().push(request);
    shared.came.notify_all();
    let Answer { status, media_type, body } = answer;
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn read(stream: &mut impl Read) -> io::Result<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap_or(0)) {
                return Ok(text);
            }
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            some => read.extend_from_slice(&bytes[..some]),
        }
    }
}
