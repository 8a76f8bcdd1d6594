//! The client of `admin.sock`: one request over HTTP/1.1, one JSON answer.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::exit::Exit;
use crate::config::{Config, ConfigError};
use crate::endpoint::admin::shape::ErrorAnswer;
use crate::peer::PlaceError;

/// Longer than the daemon takes for anything.
const DEADLINE: Duration = Duration::from_secs(40);

/// No answer is longer: a thousand clients have 1 MiB.
const LARGEST: usize = 16 << 20;

/// Why a command could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration, where the socket is named.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A place of a socket in it.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The socket is not there, or nobody listens.
    #[error("tsidecar does not answer on {}: {error}; is it running? (`systemctl status tsidecar`)", socket.display())]
    Away {
        /// The socket.
        socket: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The socket is not ours to open.
    #[error("you may not open {}: run this as root", socket.display())]
    Denied {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection was closed before an answer: the daemon admits nobody but root.
    #[error("tsidecar closed the connection on {} ({error}); run this as root, and look at its log", socket.display())]
    Closed {
        /// The socket.
        socket: PathBuf,
        /// Why.
        error: hyper::Error,
    },
    /// No answer in time.
    #[error("tsidecar did not answer within {} s", DEADLINE.as_secs())]
    Timeout,
    /// The daemon says no.
    #[error("{}", .0.error_description)]
    Refused(ErrorAnswer),
    /// The runtime of the command does not start.
    #[error("this command cannot run: {0}")]
    Runtime(std::io::Error),
    /// The answer is none.
    #[error("tsidecar gave an answer that this command does not know ({0}): are they of the same version?")]
    Answer(String),
}

impl CommandError {
    /// The exit code.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Place(_) => Exit::Config,
            Self::Away { .. } | Self::Denied { .. } | Self::Closed { .. } | Self::Timeout => {
                Exit::Unreachable
            }
            Self::Refused(_) | Self::Answer(_) | Self::Runtime(_) => Exit::Failed,
        }
    }

    /// The error for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Config(_) | Self::Place(_) => "invalid_configuration",
            Self::Away { .. } | Self::Denied { .. } | Self::Closed { .. } | Self::Timeout => "unreachable",
            Self::Refused(answer) => &answer.error,
            Self::Answer(_) => "unknown_answer",
            Self::Runtime(_) => "failed",
        }
    }
}

/// The administration socket of a daemon.
#[derive(Clone, Debug)]
pub struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    /// The daemon of a configuration file; secrets that it names stay unread.
    ///
    /// # Errors
    /// [`CommandError::Config`].
    pub fn of(config: &Path) -> Result<Self, CommandError> {
        Ok(Self::at(Config::options(config)?.listen.admin_socket))
    }

    /// The daemon behind a socket.
    pub const fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks for a JSON answer.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CommandError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    /// Sends a request with or without a JSON body, and reads the JSON answer; an empty one is `null`.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CommandError> {
        let unknown = |error: serde_json::Error| CommandError::Answer(error.to_string());
        let body = body.map(serde_json::to_vec).transpose().map_err(unknown)?.unwrap_or_default();
        let exchange = self.exchange(method, path, body);
        let answered = tokio::time::timeout(DEADLINE, exchange).await;
        let (status, body) = answered.map_err(|_| CommandError::Timeout)??;
        if status.is_success() {
            let text: &[u8] = if body.is_empty() { b"null" } else { &body };
            return serde_json::from_slice(text).map_err(unknown);
        }
        match serde_json::from_slice(&body) {
            Ok(refusal) => Err(CommandError::Refused(refusal)),
            Err(_) => Err(CommandError::Answer(format!("status {}", status.as_u16()))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), CommandError> {
        let socket = self.socket.clone();
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => CommandError::Denied { socket: socket.clone() },
            _ => CommandError::Away { socket: socket.clone(), error },
        })?;
        let closed = |error| CommandError::Closed { socket: socket.clone(), error };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(closed)?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "tsidecar")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| CommandError::Answer(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(closed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        driver.abort();
        match body {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => Err(CommandError::Answer(error.to_string())),
        }
    }
}

/// A client id as a segment of a path.
pub fn segment(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    id.bytes().fold(String::new(), |mut text, byte| {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_a_path() {
        assert_eq!(segment("grafana"), "grafana");
        assert_eq!(segment("a/b+c %d"), "a%2Fb%2Bc%20%25d");
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let error = Daemon::at(socket.clone()).get::<()>("/admin/status").await.unwrap_err();
        assert_eq!(error.exit(), Exit::Unreachable);
        let text = error.to_string().replace(&folder.path().display().to_string(), "/run");
        assert!(text.starts_with("tsidecar does not answer on /run/admin.sock: No such file"), "{text}");
        // A file that nobody listens on, as after a crash.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let error = Daemon::at(socket).get::<()>("/admin/status").await.unwrap_err();
        assert!(error.to_string().contains("Connection refused"), "{error}");
    }
}
