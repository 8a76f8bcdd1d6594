//! What a client says of itself (RFC 7591 §2, OpenID Connect Dynamic Client Registration §2): read from JSON, made into the
//! description that our rules work on, and echoed.
//!
//! Layer 1. Both who registers and who publishes a document write the same members. What we do not know is ignored; what we know
//! and cannot do is refused with the reason, so that nobody finds out at the first sign-in.

mod members;

use serde_json::{Map, Value, json};

use crate::algorithm::VerifyAlgorithm;
use crate::client::{
    AuthMethod, ClientError, ClientKeys, ClientSpec, GrantType, LogoutSpec, PkceRule, SignedRequests,
};
use crate::error::ErrorCode;
use crate::id::ClientId;
use crate::jose::{Algorithm, JsonError, json_object};
use crate::secret::{ClientSecret, SecretDigest};
use crate::uri::{FetchUrl, RedirectUri, UriError, redirect_host};

use members::Members;

/// The longest text that is read as the metadata of a client, in bytes. What is kept of it must fit into one record.
pub const LONGEST_METADATA: usize = 16 * 1024;

/// Where the metadata of a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a registration request (RFC 7591 §3.1).
    Registration,
    /// In the document at the client's id (Client ID Metadata Document): it has no secret, whatever it says.
    Document,
}

/// What is wrong with the metadata of a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Longer than 16 KiB.
    #[error("the client metadata is longer than {LONGEST_METADATA} bytes")]
    TooLong,
    /// Not a JSON object, nested too deeply, or with a member that stands twice.
    #[error("the client metadata is {0}")]
    Json(#[from] JsonError),
    /// A member whose value has another type than it must have.
    #[error("{name} must be {wanted}")]
    Type {
        /// The member.
        name: &'static str,
        /// What its value must be.
        wanted: &'static str,
    },
    /// A member with a value that we do not serve.
    #[error("{name} {value:?} is not supported; supported: {supported}")]
    Unsupported {
        /// The member.
        name: &'static str,
        /// What was asked for, shortened.
        value: String,
        /// What may be asked for.
        supported: &'static str,
    },
    /// No redirect URI.
    #[error("redirect_uris is missing or empty; a client that signs people in needs one")]
    NoRedirect,
    /// No grant type that begins with something is left.
    #[error(
        "grant_types has none that a client may register for itself: authorization_code, urn:ietf:params:oauth:grant-type:device_code, or urn:ietf:params:oauth:grant-type:token-exchange"
    )]
    GrantTypes,
    /// Response types without `code`.
    #[error("response_types must contain \"code\", the only one that is served")]
    ResponseTypes,
    /// `jwks` and `jwks_uri` at once (RFC 7591 §2).
    #[error("jwks and jwks_uri exclude each other")]
    TwoKeySources,
    /// `private_key_jwt` without keys.
    #[error("private_key_jwt needs the keys of the client: jwks or jwks_uri")]
    NoKeys,
    /// A URL that must be https.
    #[error("{name} {reason}")]
    Url {
        /// The member.
        name: &'static str,
        /// What is wrong with it.
        reason: UriError,
    },
    /// A URI to return to after a logout that strangers may not have.
    #[error("post_logout_redirect_uri {uri:?} {reason}")]
    PostLogoutUri {
        /// The URI as it was written.
        uri: String,
        /// What is wrong with it.
        reason: UriError,
    },
    /// A name that reads differently from how it is written.
    #[error("client_name has characters that change the direction of text or cannot be seen")]
    DeceptiveName,
    /// The description that the metadata makes is no client.
    #[error("{0}")]
    Client(#[from] ClientError),
}

impl MetadataError {
    /// The code of RFC 7591 §3.2.2. One arm per reason, no wildcard.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Client(ClientError::RedirectUri { .. }) => ErrorCode::InvalidRedirectUri,
            Self::TooLong
            | Self::Json(_)
            | Self::Type { .. }
            | Self::Unsupported { .. }
            | Self::NoRedirect
            | Self::GrantTypes
            | Self::ResponseTypes
            | Self::TwoKeySources
            | Self::NoKeys
            | Self::Url { .. }
            | Self::PostLogoutUri { .. }
            | Self::DeceptiveName
            | Self::Client(_) => ErrorCode::InvalidClientMetadata,
        }
    }
}

/// The metadata of a client, read and judged as far as it stands alone. The description it makes is judged by
/// [`Client::registered`](crate::client::Client::registered) and [`Client::of_document`](crate::client::Client::of_document).
#[derive(Debug)]
pub struct ClientMetadata {
    spec: ClientSpec,
    method: AuthMethod,
    claimed_id: Option<String>,
    claimed_secret: Option<ClientSecret>,
    sector: Option<FetchUrl>,
    beside: Map<String, Value>,
}

impl ClientMetadata {
    /// Reads metadata. Members that we do not know are ignored, and `null` is as absent (RFC 7591 §2).
    ///
    /// # Errors
    /// [`MetadataError`] with the first thing that is wrong.
    pub fn parse(bytes: &[u8], source: Source) -> Result<Self, MetadataError> {
        if bytes.len() > LONGEST_METADATA {
            return Err(MetadataError::TooLong);
        }
        let members = Members::new(json_object(bytes)?);
        refuse_encryption(&members)?;
        let grant_types = grant_types(&members)?;
        let redirect_uris = redirect_uris(&members, &grant_types)?;
        response_types(&members, &grant_types)?;
        let keys = keys(&members)?;
        let method = match source {
            Source::Registration => registered_method(&members, &redirect_uris)?,
            Source::Document => document_method(&members, &keys)?,
        };
        if method == AuthMethod::PrivateKeyJwt && keys == ClientKeys::None {
            return Err(MetadataError::NoKeys);
        }
        let public = method == AuthMethod::None;
        let spec = ClientSpec {
            name: name(&members, &redirect_uris)?,
            public,
            pkce: PkceRule::Required,
            keys,
            signed: signed(&members, method)?,
            redirect_uris,
            grant_types,
            id_token_alg: signing(&members, "id_token_signed_response_alg")?.unwrap_or_default(),
            userinfo_alg: signing(&members, "userinfo_signed_response_alg")?,
            require_par: members.flag("require_pushed_authorization_requests")?,
            require_dpop: members.flag("dpop_bound_access_tokens")?,
            logout: LogoutSpec { post_logout_redirect_uris: post_logout(&members)?, ..LogoutSpec::default() },
            ..ClientSpec::default()
        };
        let sector = sector(&members)?;
        let mut beside = members.informative()?;
        beside.insert(METHOD.to_owned(), method.as_str().into());
        if let Some(sector) = &sector {
            beside.insert(SECTOR.to_owned(), sector.as_str().into());
        }
        let claimed_id = members.text("client_id")?.map(str::to_owned);
        let claimed_secret = members.text("client_secret")?.map(|text| ClientSecret::new(text.to_owned()));
        Ok(Self { spec, method, claimed_id, claimed_secret, sector, beside })
    }

    /// How the client authenticates.
    pub const fn method(&self) -> AuthMethod {
        self.method
    }

    /// Tells whether the client needs a secret of ours.
    pub const fn needs_secret(&self) -> bool {
        matches!(self.method, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost)
    }

    /// The `client_id` that stands in the metadata: a document must name itself, and who changes a registration its own.
    pub fn claimed_id(&self) -> Option<&str> {
        self.claimed_id.as_deref()
    }

    /// The `client_secret` that stands in the metadata (RFC 7592 §2.2); a client never chooses its own.
    pub const fn claimed_secret(&self) -> Option<&ClientSecret> {
        self.claimed_secret.as_ref()
    }

    /// Where the list stands that must name every redirect URI (OpenID Connect Dynamic Client Registration §5), if the client
    /// names one.
    pub const fn sector(&self) -> Option<&FetchUrl> {
        self.sector.as_ref()
    }

    /// The redirect URIs, as they were written.
    pub fn redirect_uris(&self) -> &[String] {
        &self.spec.redirect_uris
    }

    /// The algorithms with which something is to be signed for this client.
    pub fn signing_algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.spec.signing_algorithms()
    }

    /// What is echoed beside the description, as a JSON object for the record; no rule goes by it.
    pub fn beside(&self) -> String {
        Value::Object(self.beside.clone()).to_string()
    }

    /// The description of the client. `pkce` is for confidential clients; public ones always need it.
    pub fn into_spec(self, id: &ClientId, secrets: Vec<SecretDigest>, pkce: PkceRule) -> ClientSpec {
        let pkce = if self.spec.public { PkceRule::Required } else { pkce };
        ClientSpec { id: id.as_str().to_owned(), secrets, pkce, ..self.spec }
    }
}

/// The whole metadata of a client as it is in effect (RFC 7591 §3.2.1): what the description says, and what is kept
/// [beside](ClientMetadata::beside) it. Never `null`, never an empty list.
pub fn echo(spec: &ClientSpec, beside: &str) -> Map<String, Value> {
    let mut all = json_object(beside.as_bytes()).unwrap_or_default();
    let mut say = |name: &str, value: Value| {
        let is_said = match &value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(list) => !list.is_empty(),
            _ => true,
        };
        if is_said {
            all.insert(name.to_owned(), value);
        }
    };
    say("client_name", spec.name.as_str().into());
    say("redirect_uris", json!(spec.redirect_uris));
    let grant_types: Vec<_> = spec.grant_types.iter().map(|grant_type| grant_type.as_str()).collect();
    say("grant_types", json!(grant_types));
    if spec.grant_types.contains(&GrantType::AuthorizationCode) {
        say("response_types", json!(["code"]));
    }
    match &spec.keys {
        ClientKeys::None => (),
        ClientKeys::Inline(text) => say("jwks", serde_json::from_str(text).unwrap_or_default()),
        ClientKeys::Uri(uri) => say("jwks_uri", uri.as_str().into()),
    }
    say("id_token_signed_response_alg", spec.id_token_alg.as_str().into());
    say("userinfo_signed_response_alg", spec.userinfo_alg.map(Algorithm::as_str).into());
    let request_object_alg = spec.signed.request_object_alg.map(VerifyAlgorithm::as_str);
    say("request_object_signing_alg", request_object_alg.into());
    if let [only] = spec.signed.assertion_algs.as_slice() {
        say("token_endpoint_auth_signing_alg", only.as_str().into());
    }
    say("require_signed_request_object", spec.signed.require_request_object.into());
    say("require_pushed_authorization_requests", spec.require_par.into());
    say("dpop_bound_access_tokens", spec.require_dpop.into());
    say("post_logout_redirect_uris", json!(spec.logout.post_logout_redirect_uris));
    all
}

/// Tells whether a document is a JSON array of texts that names each of these URIs (OpenID Connect Dynamic Client Registration §5).
pub fn names_all(document: &[u8], redirect_uris: &[String]) -> bool {
    let listed: Vec<String> = serde_json::from_slice(document).unwrap_or_default();
    redirect_uris.iter().all(|uri| listed.contains(uri))
}

const METHOD: &str = "token_endpoint_auth_method";
const SECTOR: &str = "sector_identifier_uri";

/// Whoever wants encrypted answers could not read ours.
fn refuse_encryption(members: &Members) -> Result<(), MetadataError> {
    const ENCRYPTION: [&str; 6] = [
        "id_token_encrypted_response_alg",
        "id_token_encrypted_response_enc",
        "userinfo_encrypted_response_alg",
        "userinfo_encrypted_response_enc",
        "request_object_encryption_alg",
        "request_object_encryption_enc",
    ];
    for name in ENCRYPTION {
        if let Some(value) = members.text(name)? {
            return Err(unsupported(name, value, "none; leave it out"));
        }
    }
    Ok(())
}

fn unsupported(name: &'static str, value: &str, supported: &'static str) -> MetadataError {
    MetadataError::Unsupported { name, value: value.chars().take(64).collect(), supported }
}

/// Grant types that nobody here serves are left out, and so are client credentials: a client that nobody vouches for acts for
/// people only.
fn grant_types(members: &Members) -> Result<Vec<GrantType>, MetadataError> {
    let Some(listed) = members.texts("grant_types")? else { return Ok(GrantType::DEFAULT.to_vec()) };
    let ours = GrantType::ALL.into_iter().filter(|grant_type| match grant_type {
        GrantType::ClientCredentials => false,
        GrantType::AuthorizationCode
        | GrantType::RefreshToken
        | GrantType::DeviceCode
        | GrantType::TokenExchange => listed.contains(&grant_type.as_str()),
    });
    let ours: Vec<_> = ours.collect();
    if ours.iter().all(|grant_type| *grant_type == GrantType::RefreshToken) {
        return Err(MetadataError::GrantTypes);
    }
    Ok(ours)
}

/// Byte for byte. Of a client that never redirects they are left out.
fn redirect_uris(members: &Members, grant_types: &[GrantType]) -> Result<Vec<String>, MetadataError> {
    let listed = members.texts("redirect_uris")?.unwrap_or_default();
    if !grant_types.contains(&GrantType::AuthorizationCode) {
        return Ok(Vec::new());
    }
    if listed.is_empty() {
        return Err(MetadataError::NoRedirect);
    }
    Ok(listed.into_iter().map(str::to_owned).collect())
}

fn response_types(members: &Members, grant_types: &[GrantType]) -> Result<(), MetadataError> {
    let Some(listed) = members.texts("response_types")? else { return Ok(()) };
    let has_code = listed.contains(&"code") || !grant_types.contains(&GrantType::AuthorizationCode);
    if has_code { Ok(()) } else { Err(MetadataError::ResponseTypes) }
}

fn keys(members: &Members) -> Result<ClientKeys, MetadataError> {
    match (members.object("jwks")?, members.text("jwks_uri")?) {
        (None, None) => Ok(ClientKeys::None),
        (Some(set), None) => Ok(ClientKeys::Inline(Value::Object(set.clone()).to_string())),
        (None, Some(uri)) => Ok(ClientKeys::Uri(uri.to_owned())),
        (Some(_), Some(_)) => Err(MetadataError::TwoKeySources),
    }
}

fn method(name: &str) -> Option<AuthMethod> {
    AuthMethod::ALL.into_iter().find(|method| method.as_str() == name)
}

/// Who does not say gets no secret where it could not keep one: the programs behind such redirects are copied to every device, and
/// the SDKs obey (reference 1.4).
fn registered_method(members: &Members, redirect_uris: &[String]) -> Result<AuthMethod, MetadataError> {
    let Some(wanted) = members.text(METHOD)? else {
        let is_web = |uri: &String| !RedirectUri::is_loopback(uri) && crate::uri::is_web(uri);
        let is_native = !redirect_uris.iter().any(is_web);
        return Ok(if is_native { AuthMethod::None } else { AuthMethod::ClientSecretBasic });
    };
    let supported = "none, client_secret_basic, client_secret_post, private_key_jwt";
    method(wanted).ok_or_else(|| unsupported(METHOD, wanted, supported))
}

/// The strongest that both sides can do (`token_endpoint_auth_methods_supported` of OpenID Connect RP Metadata Choices lists several);
/// who names none proves itself with its keys, or has none.
fn document_method(members: &Members, keys: &ClientKeys) -> Result<AuthMethod, MetadataError> {
    const CHOICE: &str = "token_endpoint_auth_methods_supported";
    let possible = |method: &AuthMethod| match method {
        AuthMethod::None => true,
        AuthMethod::PrivateKeyJwt => *keys != ClientKeys::None,
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost | AuthMethod::Tailnet => false,
    };
    let wanted = members.text(METHOD)?;
    let choice = members.texts(CHOICE)?.unwrap_or_default();
    let named = choice.into_iter().chain(wanted).filter_map(method);
    match (named.filter(possible).max(), wanted) {
        (Some(strongest), _) => Ok(strongest),
        (None, Some("private_key_jwt")) => Err(MetadataError::NoKeys),
        (None, Some(wanted)) => Err(unsupported(METHOD, wanted, "none, private_key_jwt")),
        (None, None) if *keys == ClientKeys::None => Ok(AuthMethod::None),
        (None, None) => Ok(AuthMethod::PrivateKeyJwt),
    }
}

fn name(members: &Members, redirect_uris: &[String]) -> Result<String, MetadataError> {
    let Some(name) = members.text("client_name")?.map(str::trim).filter(|name| !name.is_empty()) else {
        let host = redirect_uris.first().map(|uri| redirect_host(uri)).filter(|host| !host.is_empty());
        return Ok(host.unwrap_or_else(|| "Unnamed client".to_owned()).chars().take(100).collect());
    };
    // People judge by what they see.
    let deceives = |c: char| matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    if name.chars().any(deceives) {
        return Err(MetadataError::DeceptiveName);
    }
    Ok(name.to_owned())
}

fn verify(members: &Members, name: &'static str) -> Result<Option<VerifyAlgorithm>, MetadataError> {
    let Some(wanted) = members.text(name)? else { return Ok(None) };
    let known = VerifyAlgorithm::parse(wanted);
    known.map(Some).ok_or_else(|| unsupported(name, wanted, "RS256, PS256, ES256, EdDSA"))
}

fn signing(members: &Members, name: &'static str) -> Result<Option<Algorithm>, MetadataError> {
    let Some(wanted) = members.text(name)? else { return Ok(None) };
    let verified = VerifyAlgorithm::parse(wanted);
    let ours = Algorithm::ALL.into_iter().find(|ours| Some(VerifyAlgorithm::from(*ours)) == verified);
    ours.map(Some).ok_or_else(|| unsupported(name, wanted, "RS256, ES256, EdDSA"))
}

fn signed(members: &Members, method: AuthMethod) -> Result<SignedRequests, MetadataError> {
    let usual = SignedRequests::default();
    let assertion_algs = match verify(members, "token_endpoint_auth_signing_alg")? {
        Some(only) if method == AuthMethod::PrivateKeyJwt => vec![only],
        Some(_) | None => usual.assertion_algs,
    };
    Ok(SignedRequests {
        assertion_algs,
        request_object_alg: verify(members, "request_object_signing_alg")?,
        require_request_object: members.flag("require_signed_request_object")?,
        ..SignedRequests::default()
    })
}

fn post_logout(members: &Members) -> Result<Vec<String>, MetadataError> {
    let listed = members.texts("post_logout_redirect_uris")?.unwrap_or_default();
    let check = |uri: &str| {
        let checked = RedirectUri::parse_of_stranger(uri);
        checked.map_err(|reason| MetadataError::PostLogoutUri { uri: uri.to_owned(), reason })?;
        Ok(uri.to_owned())
    };
    listed.into_iter().map(check).collect()
}

/// A client may prove that its redirect URIs belong together; every subject here is a public one all the same.
fn sector(members: &Members) -> Result<Option<FetchUrl>, MetadataError> {
    if let Some(wanted) = members.text("subject_type")?.filter(|wanted| *wanted != "public") {
        return Err(unsupported("subject_type", wanted, "public"));
    }
    let Some(uri) = members.text(SECTOR)? else { return Ok(None) };
    FetchUrl::parse(uri).map(Some).map_err(|reason| MetadataError::Url { name: SECTOR, reason })
}

#[cfg(test)]
mod tests;
