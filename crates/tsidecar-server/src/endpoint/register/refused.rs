//! Why nothing is registered, read or changed: one table to status and code.

use tsidecar_oauth::client::ClientError;
use tsidecar_oauth::error::ErrorCode;
use tsidecar_oauth::metadata::MetadataError;
use tsidecar_oauth::uri::Issuer;

use crate::failure::Failure;
use crate::store::StoreError;
use crate::tailnet::Unidentified;
use crate::web::error::{self, Challenge};
use crate::web::response::Answer;

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The internet may not.
    #[error("clients register from inside the tailnet only")]
    Outside,
    /// The sender may not, and what to do about it.
    #[error("{0}")]
    Denied(String),
    /// Too many came; the seconds until the next may.
    #[error("too many clients are being registered from here; try again later")]
    TooMany(u32),
    /// No registration access token.
    #[error("the registration access token is missing")]
    NoToken,
    /// The token opens nothing: it is wrong, another client's, or the client is gone.
    #[error("the registration access token is not good for this client, or the client is gone")]
    DeadToken,
    /// The metadata cannot be used.
    #[error("{0}")]
    Metadata(MetadataError),
    /// As [`Self::Metadata`], for reasons beside the metadata itself.
    #[error("{0}")]
    Unusable(String),
    /// A passing state, our own fault, or no HTTP.
    #[error("{}", spell(.0))]
    Failure(Failure),
}

impl Refused {
    /// Metadata that cannot be used, in a sentence.
    pub(super) fn metadata(sentence: impl Into<String>) -> Self {
        Self::Unusable(sentence.into())
    }

    /// The answer.
    pub(super) fn answer(&self, issuer: &Issuer) -> Answer {
        let text = self.to_string();
        let refused = |code| error::answer(&Failure::refused(code, text.clone()), issuer, Challenge::None);
        match self {
            Self::Outside | Self::Denied(_) => error::denied(&text),
            Self::TooMany(retry_after) => error::crowded(*retry_after, &text),
            Self::NoToken => error::registration_token(None, &text, issuer),
            Self::DeadToken => error::registration_token(Some(ErrorCode::InvalidToken), &text, issuer),
            Self::Metadata(reason) => refused(reason.code()),
            Self::Unusable(_) => refused(ErrorCode::InvalidClientMetadata),
            Self::Failure(failure) => error::answer(failure, issuer, Challenge::None),
        }
    }
}

fn spell(failure: &Failure) -> String {
    match failure {
        Failure::Refused { description, .. } => description.clone(),
        Failure::Http { description, .. } => (*description).to_owned(),
        Failure::Unavailable { why, .. } | Failure::Broken { why } => why.clone(),
    }
}

impl From<MetadataError> for Refused {
    fn from(error: MetadataError) -> Self {
        Self::Metadata(error)
    }
}

impl From<ClientError> for Refused {
    fn from(error: ClientError) -> Self {
        Self::Metadata(error.into())
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Failure(error.into())
    }
}

impl From<Unidentified> for Refused {
    fn from(error: Unidentified) -> Self {
        Self::Failure(error.into())
    }
}
