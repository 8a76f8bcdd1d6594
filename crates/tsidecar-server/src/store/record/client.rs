//! The record of a client.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tsidecar_oauth::client::{ClientKeys, ClientSpec, Lives, LogoutSpec, SignedRequests};
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::policy::Access;
use tsidecar_oauth::secret::SecretDigest;
use tsidecar_oauth::time::{Lifetime, UnixTime};

use super::number::{
    algorithm, algorithm_number, grant_type, grant_type_number, login, login_number, method, method_number,
    pkce, pkce_number, verify, verify_number,
};
use super::{DecodeError, V1, content_of, encode, split};
use crate::store::{StoreError, StoredClient};

#[derive(Serialize, Deserialize)]
struct ClientV1<'a> {
    not_before: UnixTime,
    changed_at: UnixTime,
    spec: Option<SpecV1<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(in crate::store) struct SpecV1<'a> {
    name: Cow<'a, str>,
    public: bool,
    secrets: Vec<[u8; 32]>,
    keys: KeysV1<'a>,
    assertion_algs: Vec<u8>,
    token_endpoint_audience: bool,
    request_object_alg: Option<u8>,
    require_request_object: bool,
    redirect_uris: Cow<'a, [String]>,
    strict_auth_method: Option<u8>,
    grant_types: Vec<u8>,
    pkce: u8,
    allow: Option<AccessV1<'a>>,
    id_token_alg: u8,
    id_token_claims: bool,
    userinfo_alg: Option<u8>,
    login: u8,
    require_par: bool,
    require_dpop: bool,
    post_logout_redirect_uris: Cow<'a, [String]>,
    backchannel_uri: Option<Cow<'a, str>>,
    backchannel_session_required: bool,
    id_token_life: Lifetime,
    access_token_life: Lifetime,
    refresh_idle: Lifetime,
    refresh_absolute: Lifetime,
    disabled: bool,
}

#[derive(Serialize, Deserialize)]
enum KeysV1<'a> {
    None,
    Inline(Cow<'a, str>),
    Uri(Cow<'a, str>),
}

#[derive(Serialize, Deserialize)]
struct AccessV1<'a> {
    users: Cow<'a, [String]>,
    groups: Cow<'a, [String]>,
    tags: Cow<'a, [String]>,
    capability: bool,
}

/// The bytes of a client; its id is the key, not part of them.
///
/// # Errors
/// [`StoreError::TooLarge`].
pub(in crate::store) fn encode_client(client: &StoredClient) -> Result<Vec<u8>, StoreError> {
    encode(&ClientV1 {
        not_before: client.not_before,
        changed_at: client.changed_at,
        spec: client.spec.as_ref().map(SpecV1::of),
    })
}

impl<'a> SpecV1<'a> {
    /// The content for a description.
    pub(in crate::store) fn of(spec: &'a ClientSpec) -> Self {
        Self {
            name: Cow::Borrowed(&spec.name),
            public: spec.public,
            secrets: spec.secrets.iter().map(|digest| *digest.as_bytes()).collect(),
            keys: match &spec.keys {
                ClientKeys::None => KeysV1::None,
                ClientKeys::Inline(text) => KeysV1::Inline(Cow::Borrowed(text)),
                ClientKeys::Uri(uri) => KeysV1::Uri(Cow::Borrowed(uri)),
            },
            assertion_algs: spec.signed.assertion_algs.iter().copied().map(verify_number).collect(),
            token_endpoint_audience: spec.signed.token_endpoint_audience,
            request_object_alg: spec.signed.request_object_alg.map(verify_number),
            require_request_object: spec.signed.require_request_object,
            redirect_uris: Cow::Borrowed(&spec.redirect_uris),
            strict_auth_method: spec.strict_auth_method.map(method_number),
            grant_types: spec.grant_types.iter().copied().map(grant_type_number).collect(),
            pkce: pkce_number(spec.pkce),
            allow: spec.allow.as_ref().map(|access| AccessV1 {
                users: Cow::Borrowed(&access.users),
                groups: Cow::Borrowed(&access.groups),
                tags: Cow::Borrowed(&access.tags),
                capability: access.capability,
            }),
            id_token_alg: algorithm_number(spec.id_token_alg),
            id_token_claims: spec.id_token_claims,
            userinfo_alg: spec.userinfo_alg.map(algorithm_number),
            login: login_number(spec.login),
            require_par: spec.require_par,
            require_dpop: spec.require_dpop,
            post_logout_redirect_uris: Cow::Borrowed(&spec.logout.post_logout_redirect_uris),
            backchannel_uri: spec.logout.backchannel_uri.as_deref().map(Cow::Borrowed),
            backchannel_session_required: spec.logout.backchannel_session_required,
            id_token_life: spec.lives.id_token,
            access_token_life: spec.lives.access_token,
            refresh_idle: spec.lives.refresh_idle,
            refresh_absolute: spec.lives.refresh_absolute,
            disabled: spec.disabled,
        }
    }
}

/// Reads a client back.
///
/// # Errors
/// [`DecodeError`].
pub(in crate::store) fn decode_client(id: ClientId, bytes: &[u8]) -> Result<StoredClient, DecodeError> {
    let v1: ClientV1<'_> = match split(bytes)? {
        (V1, content) => content_of(content)?,
        (version, _) => return Err(DecodeError::Version(version)),
    };
    let spec = v1.spec.map(|spec| spec_of(&id, spec)).transpose()?;
    Ok(StoredClient { id, spec, not_before: v1.not_before, changed_at: v1.changed_at })
}

/// The description that a content stands for.
///
/// # Errors
/// [`DecodeError`].
pub(in crate::store) fn spec_of(id: &ClientId, v1: SpecV1<'_>) -> Result<ClientSpec, DecodeError> {
    Ok(ClientSpec {
        id: id.as_str().to_owned(),
        name: v1.name.into_owned(),
        public: v1.public,
        secrets: v1.secrets.into_iter().map(SecretDigest::from_bytes).collect(),
        keys: match v1.keys {
            KeysV1::None => ClientKeys::None,
            KeysV1::Inline(text) => ClientKeys::Inline(text.into_owned()),
            KeysV1::Uri(uri) => ClientKeys::Uri(uri.into_owned()),
        },
        signed: SignedRequests {
            assertion_algs: v1.assertion_algs.into_iter().map(verify).collect::<Result<_, _>>()?,
            token_endpoint_audience: v1.token_endpoint_audience,
            request_object_alg: v1.request_object_alg.map(verify).transpose()?,
            require_request_object: v1.require_request_object,
        },
        redirect_uris: v1.redirect_uris.into_owned(),
        strict_auth_method: v1.strict_auth_method.map(method).transpose()?,
        grant_types: v1.grant_types.into_iter().map(grant_type).collect::<Result<_, _>>()?,
        pkce: pkce(v1.pkce)?,
        allow: v1.allow.map(|access| Access {
            users: access.users.into_owned(),
            groups: access.groups.into_owned(),
            tags: access.tags.into_owned(),
            capability: access.capability,
        }),
        id_token_alg: algorithm(v1.id_token_alg)?,
        id_token_claims: v1.id_token_claims,
        userinfo_alg: v1.userinfo_alg.map(algorithm).transpose()?,
        login: login(v1.login)?,
        require_par: v1.require_par,
        require_dpop: v1.require_dpop,
        logout: LogoutSpec {
            post_logout_redirect_uris: v1.post_logout_redirect_uris.into_owned(),
            backchannel_uri: v1.backchannel_uri.map(Cow::into_owned),
            backchannel_session_required: v1.backchannel_session_required,
        },
        lives: Lives {
            id_token: v1.id_token_life,
            access_token: v1.access_token_life,
            refresh_idle: v1.refresh_idle,
            refresh_absolute: v1.refresh_absolute,
        },
        disabled: v1.disabled,
    })
}
