//! Why a request on `admin.sock` is not done: one table to status and code.

use std::path::PathBuf;

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER};
use tsidecar_oauth::client::ClientError;
use tsidecar_oauth::id::{ClientId, IdError};
use tsidecar_oauth::jose::JoseError;
use tsidecar_oauth::rotation::RotationError;

use super::shape::ErrorAnswer;
use crate::failure::Failure;
use crate::keys::rotation::KeyError;
use crate::snapshot::SnapshotError;
use crate::store::StoreError;
use crate::tailnet::Unready;
use crate::web::response::{Answer, json};

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// There is nothing at the path.
    #[error("there is nothing at this path")]
    NoPath,
    /// The path has other methods.
    #[error("the method is not allowed here; allowed: {0}")]
    Method(&'static str),
    /// The body cannot be read as HTTP.
    #[error("{0}")]
    Body(String, StatusCode),
    /// The body, or a parameter, is not what it should be.
    #[error("{0}")]
    Invalid(String),
    /// There is no such client.
    #[error("there is no client \"{0}\"")]
    NoClient(String),
    /// No entry of the registry means this.
    #[error(
        "there is no resource {0:?}: no [[resource]] of the configuration has it as its uri or as an alias, or has a pattern that it matches"
    )]
    NoResource(String),
    /// There is no such grant.
    #[error("there is no grant \"{0}\"")]
    NoGrant(String),
    /// There is such a client already.
    #[error("there is a client \"{0}\" already")]
    Exists(ClientId),
    /// The client stands in a file.
    #[error("client \"{id}\" stands in {}: change it there, then `systemctl reload tsidecar`", file.display())]
    InFile {
        /// The client.
        id: ClientId,
        /// The file.
        file: PathBuf,
    },
    /// The client registered itself.
    #[error(
        "client \"{0}\" registered itself, and only it changes what it registered: approve it as it is with `tsidecar client approve {0}`, or remove it and add one of your own with `tsidecar client add`"
    )]
    Registered(ClientId),
    /// The client needs no approval.
    #[error("client \"{0}\" was written down by an administrator, so it is approved")]
    NeedsNoApproval(ClientId),
    /// The client is not what was looked at.
    #[error(
        "client \"{0}\" is not what that digest was told for: it has changed, or the digest is another client's. Nothing is approved; look again with `tsidecar client show {0}`"
    )]
    Changed(ClientId),
    /// There is no approval to take back.
    #[error("client \"{0}\" is not approved")]
    NotApproved(ClientId),
    /// The client would not be valid.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// There is no key for what the client asks for.
    #[error("{0}")]
    NoKey(#[from] JoseError),
    /// Keys are not changed.
    #[error("{0}")]
    Keys(#[from] KeyError),
    /// The client id is none.
    #[error("client_id {0}")]
    Id(#[from] IdError),
    /// A public client has no secrets, nor has one that proves itself by keys.
    #[error("client \"{0}\" has no secret: it is public, or has keys of its own")]
    Secretless(ClientId),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The change is stored but could not be taken into use.
    #[error("the change is stored, but not in use before a restart: {0}")]
    Snapshot(#[from] SnapshotError),
    /// tailscaled does not answer.
    #[error("{0}")]
    Unready(#[from] Unready),
}

impl From<Failure> for AdminError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Http { status, description } => Self::Body(description.to_owned(), status),
            Failure::Refused { description, .. } => Self::Body(description, StatusCode::BAD_REQUEST),
            Failure::Unavailable { why, .. } => Self::Body(why, StatusCode::SERVICE_UNAVAILABLE),
            Failure::Broken { why } => Self::Body(why, StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

impl AdminError {
    fn table(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoPath
            | Self::NoClient(_)
            | Self::NoGrant(_)
            | Self::NoResource(_)
            | Self::NotApproved(_)
            | Self::Keys(KeyError::Rotation(RotationError::Unknown(_))) => {
                (StatusCode::NOT_FOUND, "not_found")
            }
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
            Self::Body(_, status) => (*status, "invalid_request"),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Client(_) | Self::NoKey(_) | Self::Id(_) => {
                (StatusCode::BAD_REQUEST, "invalid_client_metadata")
            }
            Self::Exists(_)
            | Self::InFile { .. }
            | Self::Registered(_)
            | Self::NeedsNoApproval(_)
            | Self::Changed(_)
            | Self::Secretless(_)
            | Self::Keys(KeyError::Rotation(RotationError::NotInUse(_))) => {
                (StatusCode::CONFLICT, "conflict")
            }
            Self::Store(StoreError::Busy | StoreError::NoSpace { .. } | StoreError::Closed)
            | Self::Unready(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Self::Store(StoreError::TooLarge { .. }) => (StatusCode::BAD_REQUEST, "invalid_client_metadata"),
            Self::Store(StoreError::Seen(_) | StoreError::Corrupt { .. } | StoreError::Io(_))
            | Self::Snapshot(_)
            | Self::Keys(
                KeyError::State(_)
                | KeyError::Snapshot(_)
                | KeyError::Store(_)
                | KeyError::Thread(_)
                | KeyError::Homeless,
            ) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        }
    }

    /// The answer. Our own faults are logged; everything else is for the caller to read.
    pub(super) fn answer(&self) -> Answer {
        let (status, error) = self.table();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error.reason = %self, "an administrator's request failed on our side");
        }
        let body = ErrorAnswer { error: error.to_owned(), error_description: self.to_string() };
        let mut answer = json(status, serde_json::to_vec(&body).unwrap_or_default());
        match self {
            Self::Method(allowed) => {
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => (),
        }
        answer
    }
}
