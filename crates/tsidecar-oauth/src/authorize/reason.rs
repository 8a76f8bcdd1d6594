//! Why an authorization request is refused: on a page, or by a redirect to a proven target.

use crate::error::ErrorCode;
use crate::id::IdError;
use crate::params::ParamsError;
use crate::policy::Denied;
use crate::request_object::RequestObjectError;
use crate::resource::UnknownResource;

/// Why a request goes no further and must not be redirected (RFC 6749 §4.1.2.1): shown to the person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectError {
    /// The parameters themselves are unusable.
    #[error("{0}")]
    Params(#[from] ParamsError),
    /// No `client_id`.
    #[error("the request names no application (client_id is missing)")]
    MissingClient,
    /// `client_id` is no client id.
    #[error("the application's client_id {0}")]
    ClientId(#[from] IdError),
    /// No such client, or it is switched off.
    #[error("this application is not registered here")]
    UnknownClient,
    /// No `redirect_uri`.
    #[error("the request does not say where to return to (redirect_uri is missing)")]
    MissingRedirect,
    /// A redirect URI that is not registered: the person is told both, for a difference of one letter is found in no other way.
    #[error(
        "the return address (redirect_uri) {asked} is not one of those registered for this application: {registered}"
    )]
    UnregisteredRedirect {
        /// What the request has, not longer than a page can show.
        asked: String,
        /// Some of those that the application has.
        registered: String,
    },
    /// What would be sent to a target, if the request had proven one.
    #[error("{0}")]
    NoTarget(RedirectReason),
}

/// Why a request was refused although its target is proven: sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectReason {
    /// A request object that is not good (RFC 9101 §7).
    #[error("{0}")]
    RequestObject(RequestObjectError),
    /// A plain request of a client that must sign (RFC 9101 §10.5).
    #[error("this application must sign its requests (request)")]
    ObjectRequired,
    /// `request` and `request_uri` (RFC 9101 §5).
    #[error("request and request_uri cannot stand together")]
    TwoCarriers,
    /// A name for a pushed request under which nothing waits (RFC 9126 §4, §7.3).
    #[error(
        "the pushed request (request_uri) has expired, was used already, or is not one of this application"
    )]
    Pushed,
    /// A request of a client that must push (RFC 9126 §5).
    #[error("this application must push its requests (pushed_authorization_request_endpoint)")]
    PushRequired,
    /// `request_uri` that is not ours (OpenID Connect Core §6.2).
    #[error("request objects by reference are not supported")]
    RequestUri,
    /// `registration` (OpenID Connect Core §7.2.1).
    #[error("registration inside a request is not supported")]
    Registration,
    /// No `response_type`.
    #[error("response_type is missing")]
    MissingResponseType,
    /// A response type other than `code`.
    #[error("only response_type=code is supported")]
    ResponseType,
    /// A response mode that we do not serve.
    #[error("this response_mode is not supported")]
    ResponseMode,
    /// A form cannot be posted to an application's own scheme.
    #[error("response_mode=form_post needs a redirect_uri with https or http")]
    FormPostScheme,
    /// A challenge whose method is not S256; a missing method means `plain` (RFC 7636 §4.3).
    #[error("code_challenge_method must be S256")]
    ChallengeMethod,
    /// A challenge that is no S256 challenge, or a method without one.
    #[error("code_challenge must be 43 characters of base64url")]
    Challenge,
    /// PKCE is missing.
    #[error("code_challenge is required (PKCE with S256)")]
    PkceRequired,
    /// Neither PKCE nor `nonce`.
    #[error("send code_challenge (PKCE with S256), or scope openid with a nonce")]
    PkceOrNonce,
    /// `nonce` is longer than 512 bytes.
    #[error("nonce is longer than 512 bytes")]
    Nonce,
    /// `dpop_jkt` is no thumbprint (RFC 9449 §10).
    #[error("dpop_jkt must be 43 characters of base64url")]
    ProofKey,
    /// `prompt` contradicts itself.
    #[error("prompt=none cannot be combined with other values")]
    Prompt,
    /// `max_age` is no number.
    #[error("max_age must be a number of seconds")]
    MaxAge,
    /// `claims` is not of its form.
    #[error("claims must be a JSON object of userinfo and id_token, each an object of claims")]
    Claims,
    /// `id_token_hint` is no ID token of ours.
    #[error("id_token_hint is not an ID token of this issuer")]
    Hint,
    /// `prompt=none`, and the person is not signed in, not recently enough, or has signed out.
    #[error("the person must sign in, and prompt=none allows no page")]
    SignInNeeded,
    /// `prompt=none`, and the client shows a page every time.
    #[error("the person must confirm each sign-in to this application, and prompt=none allows no page")]
    PageNeeded,
    /// `prompt=none`, and the client is a stranger that asks for what the person has not allowed.
    #[error("the person must allow this application first, and prompt=none allows no page")]
    ConsentNeeded,
    /// The person pressed *Deny*.
    #[error("the person did not allow this")]
    ConsentDenied,
    /// The person of the network is not the expected one (`id_token_hint`, or `sub` in `claims`).
    #[error("another person is signed in: the account is the one of the network")]
    OtherPerson,
    /// The person pressed *Cancel*.
    #[error("the person cancelled the sign-in")]
    Cancelled,
    /// A resource that is unknown, or not for this client and person.
    #[error("{0}")]
    Resource(UnknownResource),
    /// The request is too large for a code.
    #[error("the request is too large: shorten nonce, scope or resource")]
    TooLarge,
    /// The policy says no.
    #[error("{0}")]
    Denied(Denied),
    /// The device may not sign anybody in; the caller adds why.
    #[error("this device may not sign in")]
    Device,
    /// tailscaled does not answer, or we are going down.
    #[error("sign-in is not possible right now, try again in a moment")]
    Unavailable,
    /// Our own fault.
    #[error("an error on our side; the log of tsidecar has more")]
    Broken,
}

impl RedirectReason {
    /// The code sent to the client. One arm per reason, no wildcard.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::RequestObject(error) => error.code(),
            Self::Pushed => ErrorCode::InvalidRequestUri,
            Self::RequestUri => ErrorCode::RequestUriNotSupported,
            Self::Registration => ErrorCode::RegistrationNotSupported,
            Self::ResponseType => ErrorCode::UnsupportedResponseType,
            Self::MissingResponseType
            | Self::ResponseMode
            | Self::FormPostScheme
            | Self::ObjectRequired
            | Self::TwoCarriers
            | Self::PushRequired
            | Self::ChallengeMethod
            | Self::Challenge
            | Self::PkceRequired
            | Self::PkceOrNonce
            | Self::Nonce
            | Self::ProofKey
            | Self::Prompt
            | Self::MaxAge
            | Self::Claims
            | Self::Hint
            | Self::TooLarge => ErrorCode::InvalidRequest,
            Self::SignInNeeded | Self::OtherPerson => ErrorCode::LoginRequired,
            Self::PageNeeded => ErrorCode::InteractionRequired,
            Self::ConsentNeeded => ErrorCode::ConsentRequired,
            Self::Resource(_) => ErrorCode::InvalidTarget,
            Self::Denied(_) | Self::Device | Self::Cancelled | Self::ConsentDenied => ErrorCode::AccessDenied,
            Self::Unavailable => ErrorCode::TemporarilyUnavailable,
            Self::Broken => ErrorCode::ServerError,
        }
    }
}
