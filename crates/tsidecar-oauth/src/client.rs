//! OAuth clients: what an administrator registers, and the validated form that every rule works on.
//!
//! Layer 1. A [`ClientSpec`] is a plain description, as a configuration file or a record holds it; a [`Client`] exists
//! only after validation.

mod error;
mod spec;

use std::sync::Arc;

pub use self::error::ClientError;
pub use self::spec::{
    AuthMethod, ClientKeys, ClientSpec, GrantType, Lives, Login, LogoutSpec, PkceRule, SignedRequests,
};
use crate::algorithm::VerifyAlgorithm;
use crate::backchannel::Target;
use crate::id::ClientId;
use crate::jose::{Algorithm, PublicKeys};
use crate::policy::Access;
use crate::provenance::{Provenance, Registration};
use crate::scope::ScopeToken;
use crate::secret::ClientSecret;
use crate::time::UnixTime;
use crate::uri::{FetchUrl, RedirectUri};
use crate::workload::WorkloadRule;

/// A validated client.
#[derive(Clone, Debug)]
pub struct Client {
    id: ClientId,
    redirect_uris: Vec<RedirectUri>,
    keys: KeySource,
    backchannel: Option<Target>,
    provenance: Provenance,
    workload: Option<WorkloadRule>,
    spec: ClientSpec,
    not_before: UnixTime,
}

/// Where the keys of a client are, ready for use.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// It has none.
    None,
    /// They stand in its description.
    Inline(Arc<PublicKeys>),
    /// They are fetched.
    Uri(FetchUrl),
}

impl KeySource {
    fn new(keys: &ClientKeys) -> Result<Self, ClientError> {
        match keys {
            ClientKeys::None => Ok(Self::None),
            ClientKeys::Inline(text) => {
                PublicKeys::parse(text).map(|keys| Self::Inline(Arc::new(keys))).map_err(ClientError::Keys)
            }
            ClientKeys::Uri(uri) => FetchUrl::parse(uri).map(Self::Uri).map_err(ClientError::KeysUri),
        }
    }
}

impl Client {
    /// Validates the description of a client.
    ///
    /// `not_before` is the moment before which everything issued under this id is void (a removal or a revocation).
    ///
    /// # Errors
    /// [`ClientError`] with the first thing that is wrong.
    pub fn new(spec: ClientSpec, not_before: UnixTime) -> Result<Self, ClientError> {
        Self::from(spec, Provenance::Administrator, not_before)
    }

    /// Validates the description of a client that registered itself: its redirect URIs must be such that strangers may have
    /// (RFC 8252 §7; attack A51).
    ///
    /// # Errors
    /// [`ClientError`] with the first thing that is wrong.
    pub fn registered(spec: ClientSpec, registration: Registration) -> Result<Self, ClientError> {
        Self::from(spec, Provenance::Registered(registration), UnixTime::default())
    }

    /// Validates what a document says of a client, its URL being the id. Everything issued before `not_before` is void.
    ///
    /// # Errors
    /// [`ClientError`] with the first thing that is wrong.
    pub fn of_document(spec: ClientSpec, not_before: UnixTime) -> Result<Self, ClientError> {
        Self::from(spec, Provenance::Document, not_before)
    }

    /// Makes the client that a tag is. It has no secret and no redirect URI: the tailnet's word is all that it can show.
    ///
    /// # Errors
    /// [`ClientError::Id`], [`ClientError::TagId`] when it is no tag, [`ClientError::Life`].
    pub fn of_workload(rule: WorkloadRule) -> Result<Self, ClientError> {
        let id = ClientId::parse(&rule.tag)?;
        if id.as_str().strip_prefix("tag:").is_none_or(str::is_empty) {
            return Err(ClientError::TagId);
        }
        let spec = ClientSpec {
            id: rule.tag.clone(),
            name: rule.tag.clone(),
            strict_auth_method: Some(AuthMethod::Tailnet),
            grant_types: vec![GrantType::ClientCredentials, GrantType::TokenExchange],
            lives: Lives { access_token: rule.access_token, ..Lives::default() },
            ..ClientSpec::default()
        };
        check_lives(&spec.lives)?;
        Ok(Self {
            id,
            redirect_uris: Vec::new(),
            keys: KeySource::None,
            backchannel: None,
            provenance: Provenance::Administrator,
            workload: Some(rule),
            spec,
            not_before: UnixTime::default(),
        })
    }

    fn from(spec: ClientSpec, provenance: Provenance, not_before: UnixTime) -> Result<Self, ClientError> {
        let id = ClientId::parse(&spec.id)?;
        // Documents have no secrets, so nothing of theirs travels by HTTP Basic.
        let is_url = spec.id.starts_with("https://");
        if is_url != (provenance == Provenance::Document) {
            return Err(ClientError::UrlId);
        }
        if spec.id.starts_with("tag:") {
            return Err(ClientError::TagId);
        }
        if !is_url && spec.id.contains(['+', '%']) {
            return Err(ClientError::Ambiguous);
        }
        let length = spec.name.chars().count();
        if !(1..=100).contains(&length) || spec.name.chars().any(char::is_control) {
            return Err(ClientError::Name);
        }
        check_credentials(&spec)?;
        // A refresh token follows from something else.
        if spec.grant_types.iter().all(|grant_type| *grant_type == GrantType::RefreshToken) {
            return Err(ClientError::GrantTypes);
        }
        check_lives(&spec.lives)?;
        let redirect_uris = check_redirects(&spec, &provenance)?;
        if spec.signed.assertion_algs.is_empty() {
            return Err(ClientError::AssertionAlgs);
        }
        let keys = KeySource::new(&spec.keys)?;
        let backchannel = check_logout(&spec)?;
        Ok(Self { id, redirect_uris, keys, backchannel, provenance, workload: None, spec, not_before })
    }

    /// `client_id`.
    pub const fn id(&self) -> &ClientId {
        &self.id
    }

    /// The name shown to people.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Tells whether the client has no secret (RFC 6749 §2.1).
    pub const fn is_public(&self) -> bool {
        self.spec.public
    }

    /// Tells whether the client is switched off.
    pub const fn is_disabled(&self) -> bool {
        self.spec.disabled
    }

    /// The registered redirect URIs.
    pub fn redirect_uris(&self) -> &[RedirectUri] {
        &self.redirect_uris
    }

    /// Tells whether a presented redirect URI is registered.
    pub fn redirects_to(&self, presented: &str) -> bool {
        self.redirect_uris.iter().any(|uri| uri.matches(presented))
    }

    /// Tells whether the client may use a grant type.
    pub fn may_use(&self, grant_type: GrantType) -> bool {
        self.spec.grant_types.contains(&grant_type)
    }

    /// When the client needs PKCE; a public one always does, and one that is known by its document (design section 7).
    pub const fn pkce(&self) -> PkceRule {
        let always = self.spec.public || matches!(self.provenance, Provenance::Document);
        if always { PkceRule::Required } else { self.spec.pkce }
    }

    /// Where the client comes from.
    pub const fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Which nodes the client is; `None` for everybody who is no workload.
    pub const fn workload(&self) -> Option<&WorkloadRule> {
        self.workload.as_ref()
    }

    /// Whether the client may have a scope of a resource that it may ask for.
    pub fn may_have(&self, scope: &ScopeToken) -> bool {
        let only = self.workload.as_ref().and_then(|rule| rule.scopes.as_ref());
        only.is_none_or(|scopes| scopes.contains(scope))
    }

    /// Whether an administrator wrote the client down; whatever else it names is a stranger's word.
    pub const fn is_by_administrator(&self) -> bool {
        matches!(self.provenance, Provenance::Administrator)
    }

    /// Who may sign in; `None` is everybody whom the tailnet lets reach us.
    pub const fn allow(&self) -> Option<&Access> {
        self.spec.allow.as_ref()
    }

    /// The algorithm of this client's ID tokens.
    pub const fn id_token_alg(&self) -> Algorithm {
        self.spec.id_token_alg
    }

    /// The algorithm of this client's UserInfo answers; `None` answers plain JSON.
    pub const fn userinfo_alg(&self) -> Option<Algorithm> {
        self.spec.userinfo_alg
    }

    /// Whether identity claims also stand in the ID token.
    pub const fn id_token_claims(&self) -> bool {
        self.spec.id_token_claims
    }

    /// Where the client's own keys are.
    pub const fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// Tells whether the client must push its requests (`require_pushed_authorization_requests`, RFC 9126 §6).
    pub const fn requires_push(&self) -> bool {
        self.spec.require_par
    }

    /// Tells whether the client must sign its requests (`require_signed_request_object`, RFC 9101 §10.5).
    pub const fn requires_request_object(&self) -> bool {
        self.spec.signed.require_request_object
    }

    /// The algorithms that the client's request objects may be signed with (`request_object_signing_alg`).
    pub fn request_object_algs(&self) -> &[VerifyAlgorithm] {
        self.spec.signed.request_object_alg.as_ref().map_or(&VerifyAlgorithm::ALL, std::slice::from_ref)
    }

    /// Where the client is told that a session has ended; `None` when it does not want to know.
    pub const fn backchannel(&self) -> Option<&Target> {
        self.backchannel.as_ref()
    }

    /// Tells whether a person may be sent here after a logout: compared byte for byte, loopback ports too
    /// (RP-Initiated Logout §3).
    pub fn returns_to(&self, presented: &str) -> bool {
        self.spec.logout.post_logout_redirect_uris.iter().any(|uri| uri == presented)
    }

    /// How the client signs people in.
    pub const fn login(&self) -> Login {
        self.spec.login
    }

    /// Whether every token of the client must be bound to a key (RFC 9449 §5.2).
    pub const fn requires_proof(&self) -> bool {
        self.spec.require_dpop
    }

    /// The algorithms of the client's proofs (RFC 9449): all that we know, but without RS256 when its assertions may not have it
    /// either (FAPI 2.0 Security Profile §5.4.1).
    pub fn proof_algorithms(&self) -> &'static [VerifyAlgorithm] {
        let with_rs256 = self.spec.signed.assertion_algs.contains(&VerifyAlgorithm::Rs256);
        if with_rs256 { &VerifyAlgorithm::ALL } else { &VerifyAlgorithm::FAPI }
    }

    /// Whether the sign-ins of the client belong to a session of the browser: it lasts longer than one of them, or the client
    /// wants to know when it ends.
    pub const fn keeps_sessions(&self) -> bool {
        let logout = &self.spec.logout;
        matches!(self.spec.login, Login::Session)
            || logout.backchannel_uri.is_some()
            || !logout.post_logout_redirect_uris.is_empty()
    }

    /// The lives of what is issued to this client.
    pub const fn lives(&self) -> Lives {
        self.spec.lives
    }

    /// Everything issued before this moment is void.
    pub const fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// The description that the client was made from.
    pub const fn spec(&self) -> &ClientSpec {
        &self.spec
    }

    /// Tells whether a method of authentication is acceptable from this client, the secret aside.
    ///
    /// Basic and post stand in for each other, nothing else stands in for anything (design section 6): keys beside a secret
    /// check request objects, and a client that is to have the choice of neither says so by its strict method.
    pub fn accepts(&self, method: AuthMethod) -> bool {
        let has_secret = !self.spec.secrets.is_empty();
        match self.spec.strict_auth_method {
            Some(only) => method == only,
            None => match method {
                AuthMethod::None => self.spec.public,
                AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => has_secret,
                AuthMethod::PrivateKeyJwt => {
                    !self.spec.public && !has_secret && self.spec.keys != ClientKeys::None
                }
                AuthMethod::Tailnet => false,
            },
        }
    }

    /// Compares a presented secret with those of the client, each in constant time and always all of them.
    pub fn knows(&self, presented: &ClientSecret) -> bool {
        self.spec.secrets.iter().fold(false, |known, digest| digest.matches(presented) | known)
    }
}

fn check_credentials(spec: &ClientSpec) -> Result<(), ClientError> {
    // Keys beside a secret, or beside `none`, serve request objects.
    if spec.public != (spec.secrets.is_empty() && (spec.public || spec.keys == ClientKeys::None)) {
        return Err(ClientError::Credentials);
    }
    // RFC 6749 §4.4: a client for itself proves who it is.
    if spec.public && spec.grant_types.contains(&GrantType::ClientCredentials) {
        return Err(ClientError::PublicCredentials);
    }
    if spec.secrets.len() > 2 {
        return Err(ClientError::TooManySecrets);
    }
    if spec.public && !matches!(spec.pkce, PkceRule::Required | PkceRule::OrNonce) {
        return Err(ClientError::PublicPkce);
    }
    if spec.signed.require_request_object && spec.keys == ClientKeys::None {
        return Err(ClientError::NoRequestKeys);
    }
    let fits = spec.strict_auth_method.is_none_or(|method| match method {
        AuthMethod::None => spec.public,
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => !spec.secrets.is_empty(),
        AuthMethod::PrivateKeyJwt => !spec.public && spec.keys != ClientKeys::None,
        AuthMethod::Tailnet => false,
    });
    if fits { Ok(()) } else { Err(ClientError::StrictMethod) }
}

fn check_logout(spec: &ClientSpec) -> Result<Option<Target>, ClientError> {
    let LogoutSpec { post_logout_redirect_uris, backchannel_uri, backchannel_session_required } =
        &spec.logout;
    if post_logout_redirect_uris.len() > MOST_REDIRECTS {
        return Err(ClientError::PostLogoutCount);
    }
    for uri in post_logout_redirect_uris {
        RedirectUri::parse(uri).map_err(|reason| ClientError::PostLogoutUri { uri: uri.clone(), reason })?;
    }
    let Some(uri) = backchannel_uri else { return Ok(None) };
    let uri = FetchUrl::parse(uri).map_err(ClientError::BackchannelUri)?;
    let (algorithm, session_required) = (spec.id_token_alg, *backchannel_session_required);
    Ok(Some(Target { uri, algorithm, session_required }))
}

/// More redirect URIs, of either kind, are a mistake.
const MOST_REDIRECTS: usize = 32;

fn check_redirects(spec: &ClientSpec, provenance: &Provenance) -> Result<Vec<RedirectUri>, ClientError> {
    let uris = &spec.redirect_uris;
    if !spec.grant_types.contains(&GrantType::AuthorizationCode) {
        return if uris.is_empty() { Ok(Vec::new()) } else { Err(ClientError::NeedlessRedirects) };
    }
    if !(1..=MOST_REDIRECTS).contains(&uris.len()) {
        return Err(ClientError::RedirectCount);
    }
    let check = |uri: &String| {
        let parsed = match provenance {
            Provenance::Administrator => RedirectUri::parse(uri),
            Provenance::Registered(_) | Provenance::Document => RedirectUri::parse_of_stranger(uri),
        };
        parsed.map_err(|reason| ClientError::RedirectUri { uri: uri.clone(), reason })
    };
    uris.iter().map(check).collect()
}

fn check_lives(lives: &Lives) -> Result<(), ClientError> {
    const DAY: u64 = 86_400;
    let checks = [
        ("id_token_lifetime", lives.id_token, 60, DAY),
        ("access_token_lifetime", lives.access_token, 60, DAY),
        ("refresh_idle_lifetime", lives.refresh_idle, 300, 3650 * DAY),
        ("refresh_absolute_lifetime", lives.refresh_absolute, 300, 3650 * DAY),
    ];
    for (name, life, least, most) in checks {
        if !(least..=most).contains(&life.as_secs()) {
            return Err(ClientError::Life { name, least, most });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::id::IdError;
    use crate::jose::JwkError;
    use crate::time::Lifetime;
    use crate::uri::UriError;

    /// A confidential client with the secret `"s"` 32 times.
    pub(crate) fn confidential() -> ClientSpec {
        ClientSpec {
            id: "grafana".into(),
            name: "Grafana".into(),
            secrets: vec![ClientSecret::new("s".repeat(32)).digest()],
            redirect_uris: vec!["https://grafana.test/cb".into()],
            ..ClientSpec::default()
        }
    }

    /// A public client on loopback.
    pub(crate) fn public() -> ClientSpec {
        ClientSpec {
            id: "cli".into(),
            name: "CLI".into(),
            public: true,
            redirect_uris: vec!["http://127.0.0.1/cb".into()],
            ..ClientSpec::default()
        }
    }

    fn error(change: impl FnOnce(&mut ClientSpec)) -> Option<ClientError> {
        let mut spec = confidential();
        change(&mut spec);
        Client::new(spec, UnixTime::default()).err()
    }

    #[test]
    fn what_a_client_may_not_be() {
        assert_eq!(error(|_| ()), None);
        assert_eq!(error(|s| s.id = "userid:5".into()), Some(ClientError::Id(IdError::Reserved)));
        assert_eq!(error(|s| s.id = "tag:ci".into()), Some(ClientError::TagId));
        assert_eq!(error(|s| s.id = "team+grafana".into()), Some(ClientError::Ambiguous));
        assert_eq!(error(|s| s.name = "a\u{1b}[31m".into()), Some(ClientError::Name));
        assert_eq!(error(|s| s.name.clear()), Some(ClientError::Name));
        assert_eq!(error(|s| s.public = true), Some(ClientError::Credentials));
        assert_eq!(error(|s| s.secrets.clear()), Some(ClientError::Credentials));
        assert_eq!(error(|s| s.secrets = vec![s.secrets[0]; 3]), Some(ClientError::TooManySecrets));
        assert_eq!(error(|s| s.redirect_uris.clear()), Some(ClientError::RedirectCount));
        assert_eq!(error(|s| s.grant_types = vec![GrantType::RefreshToken]), Some(ClientError::GrantTypes));
        let device_only = |s: &mut ClientSpec| s.grant_types = vec![GrantType::DeviceCode];
        assert_eq!(error(device_only), Some(ClientError::NeedlessRedirects));
        let without = |s: &mut ClientSpec| {
            device_only(s);
            s.redirect_uris.clear();
        };
        assert_eq!(error(without), None);
        assert_eq!(error(|s| s.strict_auth_method = Some(AuthMethod::None)), Some(ClientError::StrictMethod));
        assert!(matches!(
            error(|s| s.redirect_uris = vec!["javascript:x".into()]),
            Some(ClientError::RedirectUri { reason: UriError::Scheme, .. })
        ));
        assert_eq!(error(|s| s.signed.require_request_object = true), Some(ClientError::NoRequestKeys));
        assert_eq!(error(|s| s.signed.assertion_algs.clear()), Some(ClientError::AssertionAlgs));
        let keys = |keys| error(|s| s.keys = keys);
        let no_keys = ClientKeys::Inline(r#"{"keys":[]}"#.into());
        assert_eq!(keys(no_keys), Some(ClientError::Keys(JwkError::NoUsableKey)));
        let plain = ClientKeys::Uri("http://grafana.test/jwks".into());
        assert_eq!(keys(plain), Some(ClientError::KeysUri(UriError::NotHttps)));
        assert_eq!(keys(ClientKeys::Uri("https://grafana.test/jwks".into())), None);
        let logout = |change: fn(&mut LogoutSpec)| error(|s| change(&mut s.logout));
        let uris = |uris: &[&str]| uris.iter().map(|uri| (*uri).to_owned()).collect::<Vec<_>>();
        let returning = |list: &[&str]| error(|s| s.logout.post_logout_redirect_uris = uris(list));
        assert_eq!(returning(&["https://grafana.test/", "http://127.0.0.1/bye", "app.x:/bye"]), None);
        for (bad, reason) in [
            ("javascript:alert(1)", UriError::Scheme),
            ("https://grafana.test/#x", UriError::Fragment),
            ("https://u@grafana.test/", UriError::UserInfo),
            ("/bye", UriError::Malformed),
        ] {
            let uri = bad.to_owned();
            assert_eq!(returning(&[bad]), Some(ClientError::PostLogoutUri { uri, reason }), "{bad}");
        }
        assert_eq!(returning(&["https://grafana.test/"; 33]), Some(ClientError::PostLogoutCount));
        let plain = logout(|l| l.backchannel_uri = Some("http://grafana.test/logout".into()));
        assert_eq!(plain, Some(ClientError::BackchannelUri(UriError::NotHttps)));
        assert_eq!(logout(|l| l.backchannel_uri = Some("https://grafana.test/logout".into())), None);
        assert!(matches!(
            error(|s| s.lives.id_token = Lifetime::from_secs(1)),
            Some(ClientError::Life { name: "id_token_lifetime", .. })
        ));
    }

    /// Byte for byte: not even the port of a loopback address is free.
    #[test]
    fn where_people_return_to_after_a_logout_is_exact() {
        let mut spec = confidential();
        spec.logout.post_logout_redirect_uris =
            vec!["https://a.test/bye".into(), "http://127.0.0.1/bye".into()];
        let client = Client::new(spec, UnixTime::default()).unwrap();
        assert!(client.returns_to("https://a.test/bye") && client.returns_to("http://127.0.0.1/bye"));
        for other in [
            "https://a.test/bye?x=1",
            "https://a.test/bye/",
            "https://A.test/bye",
            "https://a.test:443/bye",
            "http://127.0.0.1:8080/bye",
            "https://grafana.test/cb",
            "",
        ] {
            assert!(!client.returns_to(other), "{other}");
        }
    }

    #[test]
    fn a_public_client_always_needs_pkce() {
        let client = Client::new(public(), UnixTime::default()).unwrap();
        assert_eq!(client.pkce(), PkceRule::Required);
        let spec = ClientSpec { pkce: PkceRule::Optional, ..public() };
        assert_eq!(Client::new(spec, UnixTime::default()).err(), Some(ClientError::PublicPkce));
    }

    #[test]
    fn basic_and_post_stand_in_for_each_other_unless_strict() {
        let client = Client::new(confidential(), UnixTime::default()).unwrap();
        assert!(
            client.accepts(AuthMethod::ClientSecretBasic) && client.accepts(AuthMethod::ClientSecretPost)
        );
        assert!(!client.accepts(AuthMethod::None));
        let spec = ClientSpec { strict_auth_method: Some(AuthMethod::ClientSecretPost), ..confidential() };
        let strict = Client::new(spec, UnixTime::default()).unwrap();
        assert!(
            !strict.accepts(AuthMethod::ClientSecretBasic) && strict.accepts(AuthMethod::ClientSecretPost)
        );
        assert!(AuthMethod::ClientSecretPost.at_least(AuthMethod::ClientSecretBasic));
        assert!(!AuthMethod::None.at_least(AuthMethod::ClientSecretPost));
        assert!(!AuthMethod::ClientSecretPost.at_least(AuthMethod::PrivateKeyJwt));
        let keys = ClientKeys::Uri("https://grafana.test/jwks".to_owned());
        let both = ClientSpec { keys: keys.clone(), ..confidential() };
        let accepts = |spec: &ClientSpec| {
            Client::new(spec.clone(), UnixTime::default()).unwrap().accepts(AuthMethod::PrivateKeyJwt)
        };
        assert!(!accepts(&both), "keys beside a secret check request objects only");
        assert!(accepts(&ClientSpec { secrets: Vec::new(), ..both.clone() }));
        assert!(accepts(&ClientSpec { strict_auth_method: Some(AuthMethod::PrivateKeyJwt), ..both }));
    }

    #[test]
    fn two_secrets_overlap() {
        let (old, new) = (ClientSecret::new("o".repeat(40)), ClientSecret::new("n".repeat(40)));
        let spec = ClientSpec { secrets: vec![old.digest(), new.digest()], ..confidential() };
        let client = Client::new(spec, UnixTime::default()).unwrap();
        assert!(client.knows(&old) && client.knows(&new));
        assert!(!client.knows(&ClientSecret::new("x".repeat(40))));
    }
}
