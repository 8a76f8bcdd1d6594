//! The authorization endpoint (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2): validate a request, issue a code.
//!
//! Layer 2. Nothing is written at authorization; a code is sealed facts. An error goes to a redirect URI only when a
//! [`RedirectTarget`] exists, which cannot be made from a string.

use std::net::IpAddr;

use url::form_urlencoded::byte_serialize;

use crate::client::{Client, GrantType, PkceRule};
use crate::error::ErrorCode;
use crate::fresh::FreshId;
use crate::id::{ClientId, GrantId, IdError, Listener};
use crate::identity::Identity;
use crate::params::{Params, ParamsError};
use crate::pkce::CodeChallenge;
use crate::policy::{Denied, Policy};
use crate::resource::{Resource, Resources, UnknownResource};
use crate::scope::{Scope, ScopeToken};
use crate::seal::{RedirectDigest, ResourceDigest, SealError, SealedCode};
use crate::secret::AuthorizationCode;
use crate::time::{Lifetime, UnixTime};
use crate::uri::{Issuer, ResourceIndicator};

/// How long a code lives (RFC 6749 §4.1.2 recommends at most 10 minutes; FAPI 2.0 §5.3.1.2 demands 60 seconds).
pub const CODE_LIFETIME: Lifetime = Lifetime::from_secs(60);

/// The longest `nonce`, in bytes: 384 must pass (FAPI 2.0's suite), and a code stays under its limit.
pub const LONGEST_NONCE: usize = 512;

/// More resources than one authorization ever names.
const MOST_RESOURCES: usize = 8;

/// The response types that we serve (OAuth 2.1 §4.1).
pub const RESPONSE_TYPES: [&str; 1] = ["code"];

/// The response modes that we serve.
pub const RESPONSE_MODES: [&str; 1] = ["query"];

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
    /// A redirect URI that is not registered.
    #[error("the return address (redirect_uri) is not one of those registered for this application")]
    UnregisteredRedirect,
}

/// Why a request was refused although its target is proven: sent there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectReason {
    /// `request` (OpenID Connect Core §6.1).
    #[error("request objects are not supported")]
    RequestObject,
    /// `request_uri` (OpenID Connect Core §6.2).
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
    /// `prompt` contradicts itself.
    #[error("prompt=none cannot be combined with other values")]
    Prompt,
    /// `max_age` is no number.
    #[error("max_age must be a number of seconds")]
    MaxAge,
    /// `prompt=login` or `max_age=0`: only a page can ask the person.
    #[error("a fresh sign-in cannot be asked for: the network signs people in")]
    FreshLogin,
    /// `prompt=select_account`.
    #[error("the account cannot be chosen: it is the one of the network")]
    SelectAccount,
    /// A resource that is unknown, or not for this client.
    #[error("{}", UnknownResource)]
    Resource,
    /// The request is too large for a code.
    #[error("the request is too large: shorten nonce, scope or resource")]
    TooLarge,
    /// The policy says no.
    #[error("{0}")]
    Denied(Denied),
    /// The device may not sign anybody in.
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
            Self::RequestObject => ErrorCode::RequestNotSupported,
            Self::RequestUri => ErrorCode::RequestUriNotSupported,
            Self::Registration => ErrorCode::RegistrationNotSupported,
            Self::ResponseType => ErrorCode::UnsupportedResponseType,
            Self::MissingResponseType
            | Self::ResponseMode
            | Self::ChallengeMethod
            | Self::Challenge
            | Self::PkceRequired
            | Self::PkceOrNonce
            | Self::Nonce
            | Self::Prompt
            | Self::MaxAge
            | Self::TooLarge => ErrorCode::InvalidRequest,
            Self::FreshLogin => ErrorCode::LoginRequired,
            Self::SelectAccount => ErrorCode::AccountSelectionRequired,
            Self::Resource => ErrorCode::InvalidTarget,
            Self::Denied(_) | Self::Device => ErrorCode::AccessDenied,
            Self::Unavailable => ErrorCode::TemporarilyUnavailable,
            Self::Broken => ErrorCode::ServerError,
        }
    }
}

/// The client that a request names.
///
/// # Errors
/// [`DirectError::MissingClient`], [`DirectError::ClientId`].
pub fn client_id(params: &Params) -> Result<ClientId, DirectError> {
    Ok(ClientId::parse(params.get("client_id").ok_or(DirectError::MissingClient)?)?)
}

/// A proven place to redirect to: registered redirect URI, the request's `state`, and our issuer.
#[derive(Clone, Debug)]
pub struct RedirectTarget {
    uri: String,
    state: Option<String>,
    issuer: Issuer,
}

impl RedirectTarget {
    /// Proves the redirect URI of a request against its client.
    ///
    /// # Errors
    /// [`DirectError`] when the client is unknown or off, or the redirect URI missing or not registered.
    pub fn prove(params: &Params, client: Option<&Client>, issuer: &Issuer) -> Result<Self, DirectError> {
        let client = client.filter(|client| !client.is_disabled()).ok_or(DirectError::UnknownClient)?;
        let presented = params.get("redirect_uri").ok_or(DirectError::MissingRedirect)?;
        if !client.redirects_to(presented) {
            return Err(DirectError::UnregisteredRedirect);
        }
        let state = params.get("state").map(str::to_owned);
        Ok(Self { uri: presented.to_owned(), state, issuer: issuer.clone() })
    }

    /// The redirect URI as it was presented.
    pub fn redirect_uri(&self) -> &str {
        &self.uri
    }

    /// The location of a success: the client's own query, then `code`, `state`, `iss` (RFC 6749 §4.1.2, RFC 9207 §2).
    pub fn with_code(&self, code: &AuthorizationCode) -> String {
        self.location(&[("code", code.expose())])
    }

    /// The location of an error: `error`, `error_description`, `state`, `iss` (RFC 6749 §4.1.2.1, RFC 9207 §2).
    pub fn with_error(&self, reason: RedirectReason) -> String {
        self.location(&[("error", reason.code().as_str()), ("error_description", &reason.to_string())])
    }

    fn location(&self, first: &[(&str, &str)]) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        let all = first.iter().copied().chain(state).chain([("iss", self.issuer.as_str())]);
        let mut location = self.uri.clone();
        let mut join = match location.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        for (name, value) in all {
            location.push_str(join);
            location.push_str(name);
            location.push('=');
            byte_serialize(value.as_bytes()).for_each(|piece| location.push_str(piece));
            join = "&";
        }
        location
    }
}

/// A validated authorization request: client known, redirect URI registered, challenge present where the client needs
/// one, scope and resources permitted.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    client: ClientId,
    target: RedirectTarget,
    challenge: Option<CodeChallenge>,
    nonce: Option<String>,
    scope: Scope,
    resources: Vec<ResourceIndicator>,
}

impl AuthorizationRequest {
    /// Validates the parameters of a request whose target is proven.
    ///
    /// # Errors
    /// [`RedirectReason`], to be sent to the target.
    pub fn validate(
        params: &Params,
        client: &Client,
        target: RedirectTarget,
        resources: &Resources,
    ) -> Result<Self, RedirectReason> {
        check_unsupported(params)?;
        let wanted = named_resources(params, client, resources)?;
        let scope = granted_scope(params.get("scope"), client, &wanted);
        let nonce = params.get("nonce").map(str::to_owned);
        if nonce.as_ref().is_some_and(|nonce| nonce.len() > LONGEST_NONCE) {
            return Err(RedirectReason::Nonce);
        }
        let challenge = challenge(params)?;
        let has_nonce = scope.contains("openid") && nonce.is_some();
        match client.pkce() {
            PkceRule::Required if challenge.is_none() => return Err(RedirectReason::PkceRequired),
            PkceRule::OrNonce if challenge.is_none() && !has_nonce => {
                return Err(RedirectReason::PkceOrNonce);
            }
            PkceRule::Required | PkceRule::OrNonce | PkceRule::Optional => (),
        }
        check_prompt(params)?;
        let resources = wanted.iter().map(|resource| resource.uri.clone()).collect();
        Ok(Self { client: client.id().clone(), target, challenge, nonce, scope, resources })
    }

    /// The proven target.
    pub const fn target(&self) -> &RedirectTarget {
        &self.target
    }

    /// The scope that will be granted.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }
}

/// Refuses what we do not serve, before anything else is looked at.
fn check_unsupported(params: &Params) -> Result<(), RedirectReason> {
    if params.get("request").is_some() {
        return Err(RedirectReason::RequestObject);
    }
    if params.get("request_uri").is_some() {
        return Err(RedirectReason::RequestUri);
    }
    if params.get("registration").is_some() {
        return Err(RedirectReason::Registration);
    }
    let response_type = params.get("response_type").ok_or(RedirectReason::MissingResponseType)?;
    if !RESPONSE_TYPES.contains(&response_type) {
        return Err(RedirectReason::ResponseType);
    }
    match params.get("response_mode") {
        Some(mode) if !RESPONSE_MODES.contains(&mode) => Err(RedirectReason::ResponseMode),
        _ => Ok(()),
    }
}

fn named_resources<'a>(
    params: &Params,
    client: &Client,
    resources: &'a Resources,
) -> Result<Vec<&'a Resource>, RedirectReason> {
    let mut wanted: Vec<&Resource> = Vec::new();
    for presented in params.all("resource") {
        let resource = resources.find(presented, client).map_err(|_| RedirectReason::Resource)?;
        if wanted.iter().all(|known| known.uri != resource.uri) {
            wanted.push(resource);
        }
        if wanted.len() > MOST_RESOURCES {
            return Err(RedirectReason::TooLarge);
        }
    }
    Ok(wanted)
}

/// The part of the requested scope that we grant; what we do not know is dropped, never fatal (OpenID Connect Core
/// §3.1.2.1). Nothing requested, or nothing known, means the default of the resources, or `openid` without one.
fn granted_scope(requested: Option<&str>, client: &Client, resources: &[&Resource]) -> Scope {
    let known = |token: &ScopeToken| {
        crate::claims::SCOPES.contains(&token.as_str())
            || (token.as_str() == "offline_access" && client.may_use(GrantType::RefreshToken))
            || resources.iter().any(|resource| resource.knows(token))
    };
    let granted = Scope::parse(requested.unwrap_or_default()).filter(known);
    if !granted.is_empty() {
        return granted;
    }
    let default: Scope = resources.iter().flat_map(|resource| &resource.default_scopes).cloned().collect();
    if default.is_empty() { Scope::parse("openid") } else { default }
}

fn challenge(params: &Params) -> Result<Option<CodeChallenge>, RedirectReason> {
    match (params.get("code_challenge"), params.get("code_challenge_method")) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(RedirectReason::Challenge),
        (Some(challenge), Some("S256")) => {
            CodeChallenge::parse(challenge).map(Some).ok_or(RedirectReason::Challenge)
        }
        (Some(_), _) => Err(RedirectReason::ChallengeMethod),
    }
}

/// Judges `prompt` and `max_age` for people whom the network signs in: each authorization is a fresh authentication, so
/// `prompt=none` and any positive `max_age` hold; what needs an answer from a person does not.
fn check_prompt(params: &Params) -> Result<(), RedirectReason> {
    let prompts: Vec<&str> = params.get("prompt").unwrap_or_default().split_ascii_whitespace().collect();
    if prompts.contains(&"none") && prompts.len() > 1 {
        return Err(RedirectReason::Prompt);
    }
    let max_age =
        params.get("max_age").map(str::parse::<u64>).transpose().map_err(|_| RedirectReason::MaxAge)?;
    if prompts.contains(&"login") || max_age == Some(0) {
        return Err(RedirectReason::FreshLogin);
    }
    if prompts.contains(&"select_account") {
        return Err(RedirectReason::SelectAccount);
    }
    Ok(())
}

/// Where and when an authorization takes place.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The listener of the request.
    pub listener: &'a Listener,
    /// The address of the person's device.
    pub address: IpAddr,
    /// The moment, which is also `auth_time`: whois has just been asked.
    pub now: UnixTime,
}

/// Issues the facts of a code to an identity, if the policy admits it to the client.
///
/// # Errors
/// [`RedirectReason::Denied`], to be sent to the target.
pub fn issue(
    request: &AuthorizationRequest,
    client: &Client,
    identity: &Identity,
    policy: &Policy,
    occasion: Occasion<'_>,
    fresh: FreshId,
) -> Result<SealedCode, RedirectReason> {
    policy.admit(client, identity).map_err(RedirectReason::Denied)?;
    Ok(SealedCode {
        grant: GrantId::new(&identity.subject, fresh),
        client: request.client.clone(),
        redirect_uri: RedirectDigest::of(request.target.redirect_uri()),
        challenge: request.challenge,
        nonce: request.nonce.clone(),
        scope: request.scope.clone(),
        resources: request.resources.iter().map(ResourceDigest::of).collect(),
        subject: identity.subject.clone(),
        device: identity.device.id.clone(),
        address: occasion.address,
        listener: occasion.listener.clone(),
        auth_time: occasion.now,
        issued_at: occasion.now,
        expires_at: occasion.now.after(CODE_LIFETIME),
    })
}

/// What a failed sealing of a code means for the request.
pub const fn seal_reason(error: SealError) -> RedirectReason {
    match error {
        SealError::TooLong => RedirectReason::TooLarge,
        SealError::Form | SealError::UnknownKey | SealError::Broken | SealError::NoKey => {
            RedirectReason::Broken
        }
    }
}
