//! What an endpoint returns when it does not answer: the caller's fault, a passing state, or our own fault.

use tsidecar_oauth::client_auth::ClientAuthError;
use tsidecar_oauth::dpop::DpopError;
use tsidecar_oauth::error::ErrorCode;
use tsidecar_oauth::par::PushError;
use tsidecar_oauth::params::ParamsError;
use tsidecar_oauth::token::TokenError;
use tsidecar_oauth::token::answer::AnswerError;

use crate::store::StoreError;
use crate::tailnet::{Unidentified, Unready};

/// Seconds after which a client may try again when we were only busy.
const BUSY_RETRY: u32 = 1;

/// Seconds after which a client may try again when tailscaled was away: its restart takes about as long.
const AWAY_RETRY: u32 = 5;

/// Why a machine endpoint does not answer.
#[derive(Debug)]
pub enum Failure {
    /// The caller's fault, with a registered code and a fixed sentence.
    Refused {
        /// The code on the wire.
        code: ErrorCode,
        /// The sentence on the wire.
        description: String,
    },
    /// The request itself is unusable as HTTP: too large, too slow, of a wrong type.
    Http {
        /// The status.
        status: hyper::StatusCode,
        /// The sentence on the wire.
        description: &'static str,
    },
    /// A passing state: 503 with `Retry-After`; nothing was burned.
    Unavailable {
        /// Seconds after which to try again.
        retry_after: u32,
        /// What is the matter, for the log.
        why: String,
    },
    /// Our own fault: 500; the log has more.
    Broken {
        /// What went wrong, for the log; never a secret.
        why: String,
    },
}

impl Failure {
    /// A refusal with a code and a sentence.
    pub fn refused(code: ErrorCode, description: impl Into<String>) -> Self {
        Self::Refused { code, description: description.into() }
    }

    /// A refusal of a request whose parameters are missing, malformed or contradictory.
    pub fn invalid_request(description: impl Into<String>) -> Self {
        Self::refused(ErrorCode::InvalidRequest, description)
    }
}

impl From<ParamsError> for Failure {
    fn from(error: ParamsError) -> Self {
        Self::invalid_request(error.to_string())
    }
}

impl From<ClientAuthError> for Failure {
    fn from(error: ClientAuthError) -> Self {
        Self::refused(error.code(), error.to_string())
    }
}

impl From<DpopError> for Failure {
    fn from(error: DpopError) -> Self {
        Self::refused(error.code(), error.to_string())
    }
}

impl From<PushError> for Failure {
    fn from(error: PushError) -> Self {
        Self::refused(error.code(), error.to_string())
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::refused(error.code(), error.to_string())
    }
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        Self::Broken { why: error.to_string() }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken { why: format!("an answer could not be written: {error}") }
    }
}

impl From<Unready> for Failure {
    fn from(error: Unready) -> Self {
        Self::Unavailable { retry_after: AWAY_RETRY, why: error.to_string() }
    }
}

impl From<Unidentified> for Failure {
    fn from(error: Unidentified) -> Self {
        match error {
            Unidentified::Unready(unready) => unready.into(),
            Unidentified::Contradiction => Self::invalid_request(error.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let why = error.to_string();
        match error {
            StoreError::Busy => Self::Unavailable { retry_after: BUSY_RETRY, why },
            StoreError::NoSpace { .. } | StoreError::Closed => {
                Self::Unavailable { retry_after: AWAY_RETRY, why }
            }
            StoreError::Seen(_)
            | StoreError::TooLarge { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Io(..) => Self::Broken { why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store that is busy, full or closing is a passing state: SDKs throw tokens away on anything but 503 with
    /// `temporarily_unavailable` (reference/oauth.md 1.4). Damage is not.
    #[test]
    fn passing_states_of_the_store_are_told_from_damage() {
        for passing in [StoreError::Busy, StoreError::NoSpace { free_bytes: 1 }, StoreError::Closed] {
            let failure = Failure::from(passing);
            assert!(
                matches!(failure, Failure::Unavailable { retry_after: BUSY_RETRY..=AWAY_RETRY, .. }),
                "{failure:?}"
            );
        }
        let damage = StoreError::Io(std::io::Error::other("damaged"));
        assert!(matches!(Failure::from(damage), Failure::Broken { .. }));
    }
}
