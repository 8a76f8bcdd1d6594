//! The token endpoint (RFC 6749 §3.2): which grant is asked for, and why one is refused.
//!
//! Layer 2. One file per grant; [`answer`] signs what a grant came to.

pub mod answer;
pub mod client_credentials;
pub mod code;
pub mod device;
pub mod exchange;
pub mod refresh;

use self::exchange::{ExchangeError, ExchangeRequest};
use crate::client::GrantType;
use crate::error::ErrorCode;
use crate::excerpt::Excerpt;
use crate::id::Thumbprint;
use crate::params::Params;
use crate::pkce::CodeVerifier;
use crate::policy::Denied;
use crate::resource::UnknownResource;
use crate::scope::Scope;
use crate::seal::SealError;
use crate::secret::{AuthorizationCode, DeviceCode, TokenText, VerifierText};

/// A token request, with the parameters of its grant and no others.
#[derive(Debug)]
pub enum TokenRequest {
    /// `grant_type=authorization_code` (RFC 6749 §4.1.3).
    AuthorizationCode(CodeRequest),
    /// `grant_type=refresh_token` (RFC 6749 §6).
    RefreshToken(RefreshRequest),
    /// `grant_type=urn:ietf:params:oauth:grant-type:device_code` (RFC 8628 §3.4).
    DeviceCode(DeviceCodeRequest),
    /// `grant_type=client_credentials` (RFC 6749 §4.4.2).
    ClientCredentials(ClientCredentialsRequest),
    /// `grant_type=urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693 §2.1).
    TokenExchange(ExchangeRequest),
}

/// The parameters of a code's redemption.
#[derive(Debug)]
pub struct CodeRequest {
    /// `code`.
    pub code: AuthorizationCode,
    /// `redirect_uri`.
    pub redirect_uri: Option<String>,
    /// `code_verifier`, unchecked.
    pub verifier: Option<VerifierText>,
    /// `resource`, as presented.
    pub resources: Vec<String>,
}

/// The parameters of a refresh.
#[derive(Debug)]
pub struct RefreshRequest {
    /// `refresh_token`.
    pub token: TokenText,
    /// `scope`, if the client narrows it.
    pub scope: Option<Scope>,
    /// `resource`, as presented.
    pub resources: Vec<String>,
}

/// The parameters of a device's poll.
#[derive(Debug)]
pub struct DeviceCodeRequest {
    /// `device_code`.
    pub code: DeviceCode,
    /// `resource`, as presented.
    pub resources: Vec<String>,
}

/// What a client asks for itself.
#[derive(Debug)]
pub struct ClientCredentialsRequest {
    /// `scope`.
    pub scope: Option<Scope>,
    /// `resource`, as presented.
    pub resources: Vec<String>,
}

impl TokenRequest {
    /// Reads a token request.
    ///
    /// # Errors
    /// [`TokenError::MissingParameter`], [`TokenError::UnsupportedGrantType`].
    pub fn parse(params: &Params) -> Result<Self, TokenError> {
        let required = |name| params.get(name).map(str::to_owned).ok_or(TokenError::MissingParameter(name));
        let resources = params.all("resource").map(str::to_owned).collect();
        match required("grant_type")?.as_str() {
            "authorization_code" => Ok(Self::AuthorizationCode(CodeRequest {
                code: AuthorizationCode::new(required("code")?),
                redirect_uri: params.get("redirect_uri").map(str::to_owned),
                verifier: params.get("code_verifier").map(|text| VerifierText::new(text.to_owned())),
                resources,
            })),
            "refresh_token" => Ok(Self::RefreshToken(RefreshRequest {
                token: TokenText::new(required("refresh_token")?),
                scope: params.get("scope").map(Scope::parse),
                resources,
            })),
            "urn:ietf:params:oauth:grant-type:device_code" => Ok(Self::DeviceCode(DeviceCodeRequest {
                code: DeviceCode::new(required("device_code")?),
                resources,
            })),
            "client_credentials" => Ok(Self::ClientCredentials(ClientCredentialsRequest {
                scope: params.get("scope").map(Scope::parse),
                resources,
            })),
            "urn:ietf:params:oauth:grant-type:token-exchange" => {
                Ok(Self::TokenExchange(ExchangeRequest::parse(params)?))
            }
            _ => Err(TokenError::UnsupportedGrantType),
        }
    }

    /// The grant type of the request.
    pub const fn grant_type(&self) -> GrantType {
        match self {
            Self::AuthorizationCode(_) => GrantType::AuthorizationCode,
            Self::RefreshToken(_) => GrantType::RefreshToken,
            Self::DeviceCode(_) => GrantType::DeviceCode,
            Self::ClientCredentials(_) => GrantType::ClientCredentials,
            Self::TokenExchange(_) => GrantType::TokenExchange,
        }
    }
}

/// Why a token request is refused. Finer than the codes on the wire; the log has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A required parameter is missing.
    #[error("{0} is missing")]
    MissingParameter(&'static str),
    /// A grant type that we do not serve.
    #[error("this grant_type is not supported")]
    UnsupportedGrantType,
    /// A grant type that this client may not use.
    #[error("this client may not use this grant_type")]
    GrantTypeNotAllowed,
    /// Not a code or token of ours.
    #[error("the code or token is not valid")]
    Seal(SealError),
    /// The code or token was issued to another client.
    #[error("the code or token was issued to another client")]
    WrongClient,
    /// The code has expired.
    #[error("the code has expired")]
    CodeExpired,
    /// The code was used before.
    #[error("the code was used before")]
    CodeReplayed,
    /// Nobody has answered the device authorization yet.
    #[error("nobody has answered yet")]
    AuthorizationPending,
    /// Nobody has answered yet, and the device asks more often than it may.
    #[error("nobody has answered yet; wait five seconds longer between two requests from now on")]
    SlowDown,
    /// Nobody answered the device authorization in time, or its device did not ask again in time.
    #[error("the device code has expired")]
    DeviceCodeExpired,
    /// The person refused the device authorization.
    #[error("the request was refused")]
    DeviceDenied,
    /// Not a device code of ours, or one of long ago.
    #[error("the device code is not valid")]
    DeviceCodeUnknown,
    /// A poll from outside the tailnet.
    #[error("device authorization works only from inside the tailnet")]
    DeviceOutside,
    /// The redirect URI differs from the one of the authorization request.
    #[error("redirect_uri differs from the one of the authorization request")]
    WrongRedirect,
    /// PKCE: a challenge without verifier.
    #[error("code_verifier is missing")]
    VerifierMissing,
    /// PKCE: a verifier without challenge (RFC 9700 §4.8.2).
    #[error("code_verifier was sent, but the authorization request had no code_challenge")]
    VerifierUnexpected,
    /// PKCE: the verifier does not prove the challenge.
    #[error("code_verifier does not match")]
    VerifierMismatch,
    /// A resource that is not known any more, or not open to the client and person any more.
    #[error("{0}")]
    Resource(UnknownResource),
    /// A resource outside the grant: a grant never gets another one.
    #[error("the resource {0} was not part of the authorization; name one that was, or authorize again")]
    ResourceNotGranted(Excerpt),
    /// A workload that does not say for which resource.
    #[error("resource is missing: a workload names the one that its token is for")]
    ResourceMissing,
    /// A scope outside the grant.
    #[error("the scope is wider than the one that was granted")]
    ScopeTooWide,
    /// The session of the code was ended before the code was used.
    #[error("the person signed out before the code was used")]
    SignedOut,
    /// Everything that the client got before was withdrawn.
    #[error("the grant was withdrawn")]
    Withdrawn,
    /// The person took back what they had allowed the client.
    #[error("the person has withdrawn what they had allowed this client")]
    ConsentWithdrawn,
    /// The grant is unknown.
    #[error("the grant is not known")]
    GrantUnknown,
    /// The grant was revoked.
    #[error("the grant was revoked")]
    GrantRevoked,
    /// The grant, or its refresh token, has expired.
    #[error("the refresh token has expired")]
    GrantExpired,
    /// A refresh token that was rotated away; the grant is revoked.
    #[error("the refresh token was used before; the grant is revoked")]
    RefreshReused,
    /// A refresh token newer than the store; the grant is revoked.
    #[error("the refresh token is newer than the state of this server; the grant is revoked")]
    RefreshAhead,
    /// A weaker client authentication than at redemption.
    #[error("the client authenticated in a weaker way than before")]
    WeakerAuthentication,
    /// A public client's token from another place than its code.
    #[error("the code or refresh token belongs to another device")]
    WrongPlace,
    /// No proof of possession, and the client, the code or the refresh token needs one (RFC 9449 §5, §5.2, §10).
    #[error("DPoP: a proof is needed")]
    ProofMissing,
    /// A proof by another key than the one to which the code or refresh token is bound.
    #[error("DPoP: the code or token is bound to another key")]
    WrongKey,
    /// The device left the tailnet, or belongs to somebody else now.
    #[error("the device is gone, or belongs to somebody else now")]
    IdentityChanged,
    /// The device may not sign anybody in (any more).
    #[error("the device may not sign in")]
    DeviceRefused,
    /// The policy says no (any more).
    #[error("{0}")]
    Denied(Denied),
    /// A token exchange that is refused.
    #[error("{0}")]
    Exchange(ExchangeError),
}

impl TokenError {
    /// The code sent to the client (RFC 6749 §5.2, RFC 8707 §2). One arm per reason, no wildcard.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::MissingParameter(_) => ErrorCode::InvalidRequest,
            Self::UnsupportedGrantType => ErrorCode::UnsupportedGrantType,
            Self::GrantTypeNotAllowed | Self::DeviceOutside => ErrorCode::UnauthorizedClient,
            Self::Resource(_) | Self::ResourceNotGranted(_) | Self::ResourceMissing => {
                ErrorCode::InvalidTarget
            }
            Self::ScopeTooWide => ErrorCode::InvalidScope,
            Self::AuthorizationPending => ErrorCode::AuthorizationPending,
            Self::SlowDown => ErrorCode::SlowDown,
            Self::DeviceCodeExpired => ErrorCode::ExpiredToken,
            Self::DeviceDenied => ErrorCode::AccessDenied,
            Self::ProofMissing => ErrorCode::InvalidDpopProof,
            Self::Exchange(error) => error.code(),
            Self::Seal(_)
            | Self::DeviceCodeUnknown
            | Self::WrongClient
            | Self::CodeExpired
            | Self::CodeReplayed
            | Self::WrongRedirect
            | Self::VerifierMissing
            | Self::VerifierUnexpected
            | Self::VerifierMismatch
            | Self::SignedOut
            | Self::Withdrawn
            | Self::ConsentWithdrawn
            | Self::GrantUnknown
            | Self::GrantRevoked
            | Self::GrantExpired
            | Self::RefreshReused
            | Self::RefreshAhead
            | Self::WeakerAuthentication
            | Self::WrongPlace
            | Self::WrongKey
            | Self::IdentityChanged
            | Self::DeviceRefused
            | Self::Denied(_) => ErrorCode::InvalidGrant,
        }
    }

    /// Tells whether somebody should look: a leaked code or token, or a store that went back.
    pub const fn is_alarming(self) -> bool {
        match self {
            Self::Exchange(error) => error.is_alarming(),
            Self::CodeReplayed
            | Self::RefreshReused
            | Self::RefreshAhead
            | Self::WrongPlace
            | Self::WrongKey
            | Self::WrongClient => true,
            _ => false,
        }
    }
}

/// Checks the key that proved itself against the one to which a code or refresh token is bound, if it is.
fn check_key(bound: Option<Thumbprint>, proven: Option<Thumbprint>) -> Result<(), TokenError> {
    match (bound, proven) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(TokenError::ProofMissing),
        (Some(bound), Some(proven)) if bound == proven => Ok(()),
        (Some(_), Some(_)) => Err(TokenError::WrongKey),
    }
}

/// Checks a verifier against a challenge: both or neither (RFC 7636 §4.6, RFC 9700 §4.8.2).
fn check_verifier(
    challenge: Option<&crate::pkce::CodeChallenge>,
    verifier: Option<&str>,
) -> Result<(), TokenError> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(TokenError::VerifierUnexpected),
        (Some(_), None) => Err(TokenError::VerifierMissing),
        (Some(challenge), Some(verifier)) => match CodeVerifier::parse(verifier) {
            Some(verifier) if verifier.proves(challenge) => Ok(()),
            Some(_) | None => Err(TokenError::VerifierMismatch),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<TokenRequest, TokenError> {
        TokenRequest::parse(&Params::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn requests_by_grant_type() {
        assert_eq!(parse("").unwrap_err(), TokenError::MissingParameter("grant_type"));
        assert_eq!(parse("grant_type=authorization_code").unwrap_err(), TokenError::MissingParameter("code"));
        assert_eq!(
            parse("grant_type=refresh_token").unwrap_err(),
            TokenError::MissingParameter("refresh_token")
        );
        let device = "grant_type=urn:ietf:params:oauth:grant-type:device_code";
        assert_eq!(parse(device).unwrap_err(), TokenError::MissingParameter("device_code"));
        let request = parse(&format!("{device}&device_code=x&resource=r")).unwrap();
        assert_eq!(request.grant_type(), GrantType::DeviceCode);
        let request = parse("grant_type=client_credentials&scope=a&resource=r").unwrap();
        assert_eq!(request.grant_type(), GrantType::ClientCredentials);
        let exchange = "grant_type=urn:ietf:params:oauth:grant-type:token-exchange";
        assert_eq!(parse(exchange).unwrap_err(), ExchangeError::Missing("subject_token").into());
        for other in ["password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer"] {
            let error = parse(&format!("grant_type={other}")).unwrap_err();
            assert_eq!(
                (error, error.code().as_str()),
                (TokenError::UnsupportedGrantType, "unsupported_grant_type")
            );
        }
        let request =
            parse("grant_type=refresh_token&refresh_token=x&scope=a+b&resource=r&resource=s").unwrap();
        assert_eq!(request.grant_type(), GrantType::RefreshToken);
        let TokenRequest::RefreshToken(request) = request else { panic!("{request:?}") };
        assert_eq!((request.scope.unwrap().to_string().as_str(), request.resources.len()), ("a b", 2));
        assert!(matches!(
            parse("grant_type=authorization_code&code=x").unwrap(),
            TokenRequest::AuthorizationCode(_)
        ));
    }

    /// A4 at the token endpoint.
    #[test]
    fn verifier_and_challenge_come_together() {
        let challenge = crate::pkce::CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let check = check_verifier;
        let wrong = "eBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let right = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(check(challenge.as_ref(), Some(right)), Ok(()));
        assert_eq!(check(challenge.as_ref(), None), Err(TokenError::VerifierMissing));
        assert_eq!(check(challenge.as_ref(), Some("short")), Err(TokenError::VerifierMismatch));
        assert_eq!(check(challenge.as_ref(), Some(wrong)), Err(TokenError::VerifierMismatch));
        assert_eq!(check(None, Some(right)), Err(TokenError::VerifierUnexpected));
        assert_eq!(check(None, None), Ok(()));
    }
}
