//! The error codes of the family of specifications: one closed enum, so that a call site cannot invent one.
//!
//! Layer 3. Each module keeps its own reasons, finer than these; a `code()` beside them maps every reason to a code.

use std::fmt;

/// A registered error code (RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, RFC 7591 §3.2.2, RFC 8628 §3.5, RFC 8707 §2, RFC 9101 §7, RFC 9449 §5, OpenID Connect Core §3.1.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// A parameter is missing, repeated, malformed or contradicts another.
    InvalidRequest,
    /// The client is unknown or did not authenticate.
    InvalidClient,
    /// The code or refresh token is not good (any more).
    InvalidGrant,
    /// The client may not use this grant type.
    UnauthorizedClient,
    /// We do not serve this grant type.
    UnsupportedGrantType,
    /// We do not serve this response type.
    UnsupportedResponseType,
    /// The scope is not within what was granted.
    InvalidScope,
    /// The resource is unknown, or not for this client.
    InvalidTarget,
    /// The person, or the policy, says no.
    AccessDenied,
    /// The person would have to sign in anew, or is not the expected one, and the application wants no page.
    LoginRequired,
    /// The person would have to answer a page, and the application wants none.
    InteractionRequired,
    /// `prompt=none`, and the person has not allowed the client what it asks (OpenID Connect Core §3.1.2.6).
    ConsentRequired,
    /// Request objects by reference are not served.
    RequestUriNotSupported,
    /// Registration inside an authorization request is not served.
    RegistrationNotSupported,
    /// The access token is missing, expired, revoked or not one of ours.
    InvalidToken,
    /// The proof of possession is not good (RFC 9449 §5).
    InvalidDpopProof,
    /// The proof of possession needs a nonce of ours (RFC 9449 §8).
    UseDpopNonce,
    /// The request object is not good (RFC 9101 §7).
    InvalidRequestObject,
    /// The `request_uri` names no request (any more) (RFC 9101 §7, RFC 9126 §4).
    InvalidRequestUri,
    /// A redirect URI that cannot be registered (RFC 7591 §3.2.2).
    InvalidRedirectUri,
    /// Metadata that cannot be registered (RFC 7591 §3.2.2).
    InvalidClientMetadata,
    /// The access token does not carry the scope.
    InsufficientScope,
    /// Nobody has answered the device authorization yet (RFC 8628 §3.5).
    AuthorizationPending,
    /// As before, and the device asks too often (RFC 8628 §3.5).
    SlowDown,
    /// Nobody answered the device authorization in time (RFC 8628 §3.5).
    ExpiredToken,
    /// Try again later.
    TemporarilyUnavailable,
    /// Our own fault.
    ServerError,
}

impl ErrorCode {
    /// The code as it travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::InteractionRequired => "interaction_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::InvalidToken => "invalid_token",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
            Self::InvalidRequestObject => "invalid_request_object",
            Self::InvalidRequestUri => "invalid_request_uri",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InsufficientScope => "insufficient_scope",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A sentence as `error_description` may carry it: printable ASCII without quote and backslash (RFC 6749 §4.1.2.1, §5.2).
pub fn plain(sentence: &str) -> String {
    let allowed = |c| match c {
        '"' | '\\' | '`' => '\'',
        ' '..='~' => c,
        _ => '?',
    };
    sentence.chars().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_plain() {
        assert_eq!(plain("say \"no\"\r\nSet-Cookie: \\ä `x`"), "say 'no'??Set-Cookie: '? 'x'");
    }
}
