//! HTTP as bytes: a request exactly as a test writes it, and the whole answer as a text that fits a snapshot.

use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A form post.
    pub(crate) fn post(target: &str, pairs: &[(&str, &str)]) -> Self {
        let mut request =
            Self::new("POST", target).header("Content-Type", "application/x-www-form-urlencoded");
        request.body = form(pairs).into_bytes();
        request
    }

    /// Adds a header; one that is there stays beside it.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes every header of a name away.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn basic(self, id: &str, secret: &str) -> Self {
        let credentials = base64(format!("{id}:{secret}").as_bytes());
        self.header("Authorization", &format!("Basic {credentials}"))
    }

    /// The request as the only one of its connection.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.clone().header("Connection", "close").kept_alive()
    }

    /// The request as one of several of its connection.
    fn kept_alive(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if !self.body.is_empty() || self.method == "POST" {
            write!(head, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// Encodes parameters for a query or a form.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn base64(bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding as _};
    Base64::encode_string(bytes)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(bad)?;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| bad())?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Ok(Self { status: status.ok_or_else(bad)?, headers, body: bytes[end + 4..].to_vec() })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.show()))
    }

    /// The text of a member of the JSON body.
    #[track_caller]
    pub(crate) fn member(&self, name: &str) -> String {
        let json = self.json();
        json[name].as_str().unwrap_or_else(|| panic!("no {name}: {}", self.show())).to_owned()
    }

    /// `error` of a JSON body.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        self.member("error")
    }

    /// A parameter of the query in `Location`.
    #[track_caller]
    pub(crate) fn redirected(&self, name: &str) -> String {
        self.redirect(name).unwrap_or_else(|| panic!("no {name} in the redirect: {}", self.show()))
    }

    pub(crate) fn redirect(&self, name: &str) -> Option<String> {
        let query = self.header("location")?.split_once('?')?.1;
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// Status, headers in order of their names, body; without what differs from run to run.
    pub(crate) fn show(&self) -> String {
        let mut shown = format!("{}\n", self.status);
        let mut headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| {
                !["date", "content-length", "connection", "x-request-id"].contains(&name.as_str())
            })
            .collect();
        headers.sort();
        for (name, value) in headers {
            let value = if name == "dpop-nonce" { "[nonce]".to_owned() } else { without_code(value) };
            writeln!(shown, "{name}: {value}").unwrap();
        }
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(mut json) => {
                redact(&mut json);
                write!(shown, "\n{}", serde_json::to_string_pretty(&json).unwrap()).unwrap();
            }
            Err(_) if self.body.is_empty() => (),
            Err(_) => write!(shown, "\n{}", self.text()).unwrap(),
        }
        let shown = cut(&cut(&shown, "<style>", "</style>"), "'sha256-", "'");
        cut(&cut(&shown, "name=\"code\" value=\"", "\""), "urn:ietf:params:oauth:request_uri:", "\"")
    }
}

/// Leaves out what stands between two marks.
pub(crate) fn cut(text: &str, from: &str, until: &str) -> String {
    match text.split_once(from).and_then(|(before, rest)| Some((before, rest.split_once(until)?.1))) {
        Some((before, after)) => format!("{before}{from}[…]{until}{after}"),
        None => text.to_owned(),
    }
}

fn without_code(location: &str) -> String {
    match location.split_once("code=") {
        Some((before, after)) if before.ends_with(['?', '&']) => {
            let rest = after.find('&').map_or("", |end| &after[end..]);
            format!("{before}code=[code]{rest}")
        }
        _ => location.to_owned(),
    }
}

/// Replaces tokens by what kind they are, and times.
fn redact(json: &mut Value) {
    match json {
        Value::Object(members) => members.iter_mut().for_each(|(name, value)| match value {
            Value::String(text) if text.starts_with("tsat_") => *value = "[opaque]".into(),
            Value::String(text) if text.starts_with("tsrt_") => *value = "[refresh]".into(),
            Value::String(text) if text.starts_with("eyJ") => *value = "[JWT]".into(),
            Value::String(_) if ["jti", "at_hash", "kid", "n", "x", "y"].contains(&name.as_str()) => {
                *value = format!("[{name}]").into();
            }
            Value::Number(_) if ["iat", "exp", "nbf", "auth_time"].contains(&name.as_str()) => {
                *value = "[time]".into();
            }
            other => redact(other),
        }),
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => (),
    }
}

/// Redacts claims for a snapshot.
pub(crate) fn shown(claims: &Value) -> String {
    let mut claims = claims.clone();
    redact(&mut claims);
    serde_json::to_string_pretty(&claims).unwrap()
}

/// The header and the claims of a JWT, unverified.
pub(crate) fn jwt(token: &str) -> (Value, Value) {
    use base64ct::{Base64UrlUnpadded, Encoding as _};
    let part = |n: usize| {
        let part = token.split('.').nth(n).unwrap_or_default();
        serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).expect("base64url")).expect("JSON")
    };
    (part(0), part(1))
}

/// Sends bytes over a new connection and reads until it closes.
pub(crate) fn exchange(socket: &Path, bytes: &[u8]) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // A server may refuse before it has read everything.
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        sent?;
        read?;
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
    }
    Reply::parse(&answer)
}

/// A connection that carries several requests, as those of serve's pool do.
pub(crate) struct Connection {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Sends requests, one behind the other, without waiting for an answer.
    pub(crate) fn send(&mut self, requests: &[Request]) {
        self.stream.write_all(&requests.iter().flat_map(Request::kept_alive).collect::<Vec<_>>()).unwrap();
    }

    /// Reads the next answer; an error when the connection ended before it was whole.
    pub(crate) fn receive(&mut self) -> io::Result<Reply> {
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let reply = Reply::parse(&self.read)?;
                let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
                if reply.body.len() >= length {
                    self.read.drain(..end + 4 + length);
                    return Ok(Reply { body: reply.body[..length].to_vec(), ..reply });
                }
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes)? {
                0 => return Err(ended()),
                some => self.read.extend_from_slice(&bytes[..some]),
            }
        }
    }
}
