//! Introspection (RFC 7662): who may ask, whether the token is alive, and what is said of it.
//!
//! Layer 2. The answer is facts of the token and its grant. Whoever may not ask learns the same as of a token that does not exist.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::claims::Confirmation;
use crate::client::{AuthMethod, Client};
use crate::client_auth::{AuthenticatedClient, ClientAuthError};
use crate::grant::{Grant, Holder, Present};
use crate::id::{ClientId, Thumbprint};
use crate::issued::IssuedToken;
use crate::resource::Resources;
use crate::scope::Scope;
use crate::time::UnixTime;
use crate::token::exchange::{act, may_act};
use crate::uri::Issuer;
use crate::workload::Workloads;

/// Who asks, proven.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a>(Who<'a>);

#[derive(Clone, Copy, Debug)]
enum Who<'a> {
    Client(&'a Client),
    /// A workload, by the tags of its node.
    Tags(&'a [String]),
}

impl<'a> Asker<'a> {
    /// A client that authenticated. A public one cannot: its id is no secret (RFC 7662 §2.1).
    ///
    /// # Errors
    /// [`ClientAuthError::Method`].
    pub fn client(client: &'a AuthenticatedClient) -> Result<Self, ClientAuthError> {
        match client.method() {
            AuthMethod::None => Err(ClientAuthError::Method),
            AuthMethod::ClientSecretBasic
            | AuthMethod::ClientSecretPost
            | AuthMethod::PrivateKeyJwt
            | AuthMethod::Tailnet => Ok(Self(Who::Client(client.client()))),
        }
    }

    /// A tagged node, as whois says now, by the tags for which it may speak, if one of them stands for a resource or is a client.
    ///
    /// # Errors
    /// [`ClientAuthError::Missing`]: other nodes are nobody without credentials.
    pub fn workload(
        tags: &'a [String],
        resources: &Resources,
        workloads: &Workloads,
    ) -> Result<Self, ClientAuthError> {
        if tags.iter().any(|tag| resources.are_served_by(tag) || workloads.get(tag).is_some()) {
            Ok(Self(Who::Tags(tags)))
        } else {
            Err(ClientAuthError::Missing)
        }
    }

    /// The name for the log: the client id, or the tags.
    pub fn name(&self) -> String {
        match self.0 {
            Who::Client(client) => client.id().to_string(),
            Who::Tags(tags) => tags.join(" "),
        }
    }

    /// Whether somebody who proved to be a client asks, and not a node.
    const fn is_client(&self) -> bool {
        matches!(self.0, Who::Client(_))
    }

    fn is(&self, client: &ClientId) -> bool {
        match self.0 {
            Who::Client(asker) => asker.id() == client,
            Who::Tags(tags) => tags.iter().any(|tag| tag == client.as_str()),
        }
    }
}

/// What a token is judged by, beside its own facts.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The grant of the token.
    pub grant: Option<&'a Grant>,
    /// The client of that grant.
    pub client: Option<&'a Client>,
    /// Configured resources.
    pub resources: &'a Resources,
    /// Configured workloads.
    pub workloads: &'a Workloads,
    /// `[compat] introspect_any_client`: tsidp's looser rule.
    pub any_client: bool,
    /// The time.
    pub now: UnixTime,
}

/// Why a token is said not to be active. The asker is never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inactive {
    /// No token of ours.
    #[error("not a token of this server")]
    Unknown,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// A refresh token that is not the current one.
    #[error("the refresh token is not the current one")]
    NotCurrent,
    /// The grant is unknown or revoked.
    #[error("the grant of the token was withdrawn")]
    GrantGone,
    /// The client is gone or switched off, or everything it got was withdrawn.
    #[error("the client of the token is gone")]
    ClientGone,
    /// The device is gone, or belongs to somebody else now.
    #[error("the device is gone, or belongs to somebody else now")]
    DeviceGone,
    /// The asker is neither the token's client nor its audience.
    #[error("the asker is neither the client of the token nor its audience")]
    Foreign,
}

/// A token that its asker may know of, whose grant and client are alive; the tailnet has the last word.
#[derive(Debug)]
pub struct LiveToken<'a> {
    token: &'a IssuedToken,
    grant: &'a Grant,
    workloads: &'a Workloads,
    named: bool,
}

impl<'a> LiveToken<'a> {
    /// Judges a token: who may ask, then whether grant and client are alive.
    ///
    /// # Errors
    /// [`Inactive`].
    pub fn check(token: &'a IssuedToken, standing: Standing<'a>, asker: Asker<'_>) -> Result<Self, Inactive> {
        let grant = standing.grant.ok_or(Inactive::GrantGone)?;
        let is_server = match token {
            IssuedToken::Jwt(access) => {
                let resource = standing.resources.of_audience(&access.audience);
                resource.is_some_and(|resource| match asker.0 {
                    Who::Client(client) => resource.is_served_by(client.id().as_str()),
                    Who::Tags(tags) => tags.iter().any(|tag| resource.is_served_by(tag)),
                })
            }
            IssuedToken::Opaque(_) | IssuedToken::Refresh(_) => false,
        };
        let is_owner = asker.is(&grant.facts().client);
        let is_any = standing.any_client && asker.is_client() && !matches!(token, IssuedToken::Refresh(_));
        if !is_owner && !is_server && !is_any {
            return Err(Inactive::Foreign);
        }
        judge_life(token, grant, standing.now)?;
        let alive = |client: &&Client| !client.is_disabled() && grant.facts().issued_at > client.not_before();
        standing.client.filter(alive).ok_or(Inactive::ClientGone)?;
        let scope = scope_of(token, grant);
        let named = is_server || scope.contains("profile") || scope.contains("email");
        Ok(Self { token, grant, workloads: standing.workloads, named })
    }

    /// Whose token it is: the tailnet is asked who is where they were seen, unless it is a client's own.
    pub const fn holder(&self) -> &'a Holder {
        &self.grant.facts().holder
    }

    /// What is said of the token, now that its holder is still there. `username` only where the asker knows the person anyway: to
    /// the resource itself, or when the scope gives a client the name or the address.
    ///
    /// # Errors
    /// [`Inactive::DeviceGone`] when it is another person, node or device.
    pub fn answer(
        &self,
        present: Option<Present<'a>>,
        issuer: &'a Issuer,
    ) -> Result<ActiveToken<'a>, Inactive> {
        if !self.grant.facts().is_held(present, self.workloads) {
            return Err(Inactive::DeviceGone);
        }
        let login = match present {
            Some(Present::Person(identity)) => Some(identity.login.as_str()),
            Some(Present::Workload(_)) | None => None,
        };
        let username = login.filter(|login| self.named && !login.is_empty());
        Ok(ActiveToken { token: self.token, grant: self.grant, issuer, username })
    }
}

fn judge_life(token: &IssuedToken, grant: &Grant, now: UnixTime) -> Result<(), Inactive> {
    if grant.is_revoked() {
        return Err(Inactive::GrantGone);
    }
    let expires_at = expiry(token, grant);
    if let IssuedToken::Refresh(refresh) = token {
        if grant.facts().idle.is_none() {
            return Err(Inactive::GrantGone);
        }
        if refresh.generation() != grant.state().generation {
            return Err(Inactive::NotCurrent);
        }
    }
    if expires_at.is_past(now) { Err(Inactive::Expired) } else { Ok(()) }
}

fn expiry(token: &IssuedToken, grant: &Grant) -> UnixTime {
    match token {
        IssuedToken::Opaque(access) => access.expires_at,
        IssuedToken::Jwt(access) => access.expires_at,
        IssuedToken::Refresh(_) => grant.ends_at(),
    }
}

const fn scope_of<'a>(token: &'a IssuedToken, grant: &'a Grant) -> &'a Scope {
    match token {
        IssuedToken::Opaque(access) => &access.scope,
        IssuedToken::Jwt(access) => &access.scope,
        IssuedToken::Refresh(_) => &grant.facts().scope,
    }
}

/// What is said of a token that is active (RFC 7662 §2.2, RFC 9470 §6.2, RFC 9449 §6.2).
#[derive(Debug)]
pub struct ActiveToken<'a> {
    token: &'a IssuedToken,
    grant: &'a Grant,
    issuer: &'a Issuer,
    username: Option<&'a str>,
}

/// What is said of every other token: nothing else (RFC 7662 §2.2).
pub const INACTIVE: &str = r#"{"active":false}"#;

impl Serialize for ActiveToken<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let facts = self.grant.facts();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("active", &true)?;
        map.serialize_entry("iss", self.issuer)?;
        map.serialize_entry("sub", &facts.subject)?;
        map.serialize_entry("client_id", &facts.client)?;
        match self.token {
            // Without a resource the token is for the client's own use; tsidp says so, too.
            IssuedToken::Opaque(_) => map.serialize_entry("aud", &facts.client)?,
            IssuedToken::Jwt(access) => map.serialize_entry("aud", &access.audience)?,
            IssuedToken::Refresh(_) => (),
        }
        map.serialize_entry("scope", &scope_of(self.token, self.grant).to_string())?;
        map.serialize_entry("exp", &expiry(self.token, self.grant))?;
        map.serialize_entry("iat", &self.issued_at())?;
        if let Some(token_type) = self.token_type() {
            map.serialize_entry("token_type", token_type)?;
        }
        if let IssuedToken::Jwt(access) = self.token {
            map.serialize_entry("jti", &access.jti)?;
        }
        if let Some(username) = self.username {
            map.serialize_entry("username", username)?;
        }
        if let Some((auth_time, acr)) = facts.authentication() {
            map.serialize_entry("auth_time", &auth_time)?;
            map.serialize_entry("acr", acr.as_str())?;
        }
        if let Some(act) = facts.exchange.as_ref().and_then(|exchange| act(&exchange.actors)) {
            map.serialize_entry("act", &act)?;
        }
        if let IssuedToken::Jwt(access) = self.token
            && let Some(subject) = &access.may_act
        {
            map.serialize_entry("may_act", &may_act(subject))?;
        }
        if let Some(key) = self.key() {
            map.serialize_entry("cnf", &Confirmation(key))?;
        }
        map.end()
    }
}

impl ActiveToken<'_> {
    const fn issued_at(&self) -> UnixTime {
        match self.token {
            IssuedToken::Opaque(access) => access.issued_at,
            IssuedToken::Jwt(access) => access.issued_at,
            IssuedToken::Refresh(_) => self.grant.state().rotated_at,
        }
    }

    const fn key(&self) -> Option<Thumbprint> {
        match self.token {
            IssuedToken::Opaque(access) => access.key,
            IssuedToken::Jwt(access) => access.key,
            IssuedToken::Refresh(_) => self.grant.facts().key,
        }
    }

    /// How an access token is used; a refresh token has no such type (RFC 6749 §7.1).
    const fn token_type(&self) -> Option<&'static str> {
        match (self.token, self.key()) {
            (IssuedToken::Refresh(_), _) => None,
            (IssuedToken::Opaque(_) | IssuedToken::Jwt(_), Some(_)) => Some("DPoP"),
            (IssuedToken::Opaque(_) | IssuedToken::Jwt(_), None) => Some("Bearer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::ClientSpec;
    use crate::client::tests::{confidential, public};
    use crate::client_auth::tests::authenticated;
    use crate::grant::{Generation, GrantFacts};
    use crate::id::Subject;
    use crate::identity::Identity;
    use crate::issued::tests::{jwt, opaque};
    use crate::jose::Algorithm;
    use crate::policy::tests::alice;
    use crate::resource::{Entry, ResourceSpec};
    use crate::seal::RefreshToken;
    use crate::settle::tests::{at, grant};
    use crate::settle::{OfConsent, revoke, rotate};
    use crate::workload::Workload;
    use crate::workload::tests::{node, rule, workloads};

    const MCP: &str = "https://mcp.test/mcp";

    /// The resource is served by `mcp-server` and `tag:mcp`.
    fn resources() -> Resources {
        let servers = vec!["mcp-server".to_owned(), "tag:mcp".to_owned()];
        let spec = ResourceSpec { servers, alg: Algorithm::Es256, ..ResourceSpec::default() };
        Resources::new(vec![Entry::new(MCP, &[], spec).unwrap()])
    }

    /// A confidential client; `cli` is the one of the grant.
    fn asks(id: &str) -> AuthenticatedClient {
        authenticated(ClientSpec { id: id.to_owned(), ..confidential() })
    }

    struct Case {
        token: IssuedToken,
        grant: Option<Grant>,
        client: Option<Client>,
        any_client: bool,
        now: u64,
    }

    impl Case {
        fn of(token: IssuedToken) -> Self {
            let client = Client::new(public(), UnixTime::default()).unwrap();
            Self { token, grant: Some(grant()), client: Some(client), any_client: false, now: 1_100 }
        }

        fn told(&self, asker: Asker<'_>, identity: &Identity) -> Result<Value, Inactive> {
            self.told_of(asker, Some(Present::Person(identity)))
        }

        fn told_of(&self, asker: Asker<'_>, present: Option<Present<'_>>) -> Result<Value, Inactive> {
            let workloads = workloads([rule("tag:ci")]);
            let (resources, issuer) = (resources(), Issuer::parse("https://idp.tail.test").unwrap());
            let standing = Standing {
                grant: self.grant.as_ref(),
                client: self.client.as_ref(),
                resources: &resources,
                workloads: &workloads,
                any_client: self.any_client,
                now: at(self.now),
            };
            let live = LiveToken::check(&self.token, standing, asker)?;
            live.answer(present, &issuer).map(|answer| serde_json::to_value(answer).unwrap())
        }

        fn told_to(&self, id: &str) -> Result<Value, Inactive> {
            self.told(Asker::client(&asks(id)).unwrap(), &alice())
        }

        fn told_to_tags(&self, tags: &[&str]) -> Result<Value, Inactive> {
            let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            self.told(Asker::workload(&tags, &resources(), &Workloads::default()).unwrap(), &alice())
        }
    }

    fn refresh(generation: u32) -> IssuedToken {
        IssuedToken::Refresh(RefreshToken::new(grant().id(), Generation::from_number(generation)))
    }

    #[test]
    fn what_is_said_of_each_kind() {
        assert_eq!(
            Case::of(IssuedToken::Opaque(opaque("openid email"))).told_to("cli").unwrap(),
            json!({"active": true, "iss": "https://idp.tail.test", "sub": "userid:1001", "client_id": "cli", "aud": "cli",
                "scope": "openid email", "exp": 1600, "iat": 1000, "token_type": "Bearer", "username": "alice@example.com",
                "auth_time": 990, "acr": "urn:tsidecar:acr:ambient"})
        );
        let jti = jwt(MCP).jti;
        assert_eq!(
            Case::of(IssuedToken::Jwt(jwt(MCP))).told_to("mcp-server").unwrap(),
            json!({"active": true, "iss": "https://idp.tail.test", "sub": "userid:1001", "client_id": "cli", "aud": MCP,
                "scope": "read", "exp": 1600, "iat": 1000, "token_type": "Bearer", "jti": jti,
                "username": "alice@example.com", "auth_time": 990, "acr": "urn:tsidecar:acr:ambient"})
        );
        assert_eq!(
            Case::of(refresh(0)).told_to("cli").unwrap(),
            json!({"active": true, "iss": "https://idp.tail.test", "sub": "userid:1001", "client_id": "cli", "scope": "openid",
                "exp": 1500, "iat": 1000, "auth_time": 990, "acr": "urn:tsidecar:acr:ambient"})
        );
    }

    /// RFC 9449 §6.2.
    #[test]
    fn a_bound_token_says_its_key() {
        let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        let mut access = jwt(MCP);
        access.key = Thumbprint::parse(jkt);
        let told = Case::of(IssuedToken::Jwt(access)).told_to("mcp-server").unwrap();
        assert_eq!((&told["token_type"], &told["cnf"]), (&json!("DPoP"), &json!({ "jkt": jkt })));
    }

    /// A19: others learn nothing.
    #[test]
    fn only_the_client_and_the_audience_may_ask() {
        let (own, token) =
            (Case::of(IssuedToken::Opaque(opaque("openid"))), Case::of(IssuedToken::Jwt(jwt(MCP))));
        assert!(own.told_to("cli").is_ok() && token.told_to("cli").is_ok());
        assert!(token.told_to("mcp-server").is_ok() && token.told_to_tags(&["tag:x", "tag:mcp"]).is_ok());
        for foreign in [
            own.told_to("mcp-server"),
            own.told_to_tags(&["tag:mcp"]),
            own.told_to("other"),
            token.told_to("other"),
            Case::of(IssuedToken::Jwt(jwt("https://gone.test"))).told_to("mcp-server"),
            Case::of(refresh(0)).told_to("mcp-server"),
            Case::of(refresh(0)).told_to_tags(&["tag:mcp"]),
        ] {
            assert_eq!(foreign, Err(Inactive::Foreign));
        }
        let nobody = vec!["tag:other".to_owned()];
        assert_eq!(
            Asker::workload(&nobody, &resources(), &Workloads::default()).err(),
            Some(ClientAuthError::Missing)
        );
        assert_eq!(Asker::client(&authenticated(public())).err(), Some(ClientAuthError::Method));
    }

    /// tsidp's rule opens access tokens to authenticated clients, not refresh tokens and not to workloads.
    #[test]
    fn the_looser_rule() {
        let loose = |token| Case { any_client: true, ..Case::of(token) };
        assert!(loose(IssuedToken::Opaque(opaque("openid"))).told_to("other").is_ok());
        assert!(loose(IssuedToken::Jwt(jwt(MCP))).told_to("other").is_ok());
        assert_eq!(loose(refresh(0)).told_to("other"), Err(Inactive::Foreign));
        let opaque = loose(IssuedToken::Opaque(opaque("openid")));
        assert_eq!(opaque.told_to_tags(&["tag:mcp"]), Err(Inactive::Foreign));
    }

    #[test]
    fn a_token_lives_as_long_as_all_that_it_rests_on() {
        let case = || Case::of(IssuedToken::Opaque(opaque("openid")));
        let told = |case: Case| case.told_to("cli").err();
        assert_eq!(told(Case { now: 1_599, ..case() }), None);
        assert_eq!(told(Case { now: 1_600, ..case() }), Some(Inactive::Expired));
        assert_eq!(told(Case { grant: None, ..case() }), Some(Inactive::GrantGone));
        let revoked = revoke(Some(&grant()), at(1_050)).write;
        assert_eq!(told(Case { grant: revoked.clone(), ..case() }), Some(Inactive::GrantGone));
        assert_eq!(told(Case { grant: revoked, ..Case::of(refresh(0)) }), Some(Inactive::GrantGone));
        assert_eq!(told(Case { client: None, ..case() }), Some(Inactive::ClientGone));
        let client = |spec, not_before| Some(Client::new(spec, at(not_before)).unwrap());
        let disabled = client(ClientSpec { disabled: true, ..public() }, 0);
        assert_eq!(told(Case { client: disabled, ..case() }), Some(Inactive::ClientGone));
        assert_eq!(told(Case { client: client(public(), 990), ..case() }), Some(Inactive::ClientGone));
    }

    #[test]
    fn only_the_current_refresh_token_is_active() {
        let rotated =
            rotate(Some(&grant()), Generation::from_number(0), OfConsent::Holds, at(1_050)).write.unwrap();
        let case =
            |generation, now| Case { grant: Some(rotated.clone()), now, ..Case::of(refresh(generation)) };
        assert_eq!(case(1, 1_100).told_to("cli").unwrap()["iat"], 1_050);
        assert_eq!(case(0, 1_051).told_to("cli"), Err(Inactive::NotCurrent));
        assert_eq!(case(2, 1_100).told_to("cli"), Err(Inactive::NotCurrent));
        assert_eq!(case(1, 1_550).told_to("cli"), Err(Inactive::Expired));
    }

    #[test]
    fn another_person_or_device_ends_it() {
        let case = Case::of(IssuedToken::Opaque(opaque("openid")));
        let cli = asks("cli");
        let told = |identity: Identity| case.told(Asker::client(&cli).unwrap(), &identity).err();
        assert_eq!(told(alice()), None);
        assert_eq!(told(Identity { subject: Subject::user(7), ..alice() }), Some(Inactive::DeviceGone));
        let mut moved = alice();
        moved.device.id = crate::id::DeviceId::parse("nOTHER").unwrap();
        assert_eq!(told(moved), Some(Inactive::DeviceGone));
    }

    #[test]
    fn the_login_name_is_for_those_who_know_the_person() {
        let named = |token| Case::of(token).told_to("cli").unwrap().get("username").is_some();
        assert!(!named(IssuedToken::Opaque(opaque("openid"))));
        assert!(named(IssuedToken::Opaque(opaque("openid profile"))));
        assert!(!named(IssuedToken::Jwt(jwt(MCP))), "the client asks for its own token");
        let tagged = Identity { login: String::new(), ..alice() };
        let told = Case::of(IssuedToken::Jwt(jwt(MCP)));
        let server = asks("mcp-server");
        let told = told.told(Asker::client(&server).unwrap(), &tagged).unwrap();
        assert!(told.get("username").is_none());
    }

    fn held(holder: Holder, subject: &str) -> Case {
        let (client, idle) = (ClientId::parse(subject).unwrap(), None);
        let subject = Subject::client(&client);
        let facts = GrantFacts { client, subject, holder, idle, ..grant().facts().clone() };
        Case {
            grant: Some(Grant::new(grant().id(), facts, at(1_000))),
            ..Case::of(IssuedToken::Jwt(jwt(MCP)))
        }
    }

    /// RFC 9068 §2.2: of a client for itself no person, no authentication; whatever the tailnet says, it is there.
    #[test]
    fn a_token_of_a_client_for_itself() {
        let (own, jti, server) = (held(Holder::Client, "robot"), jwt(MCP).jti, asks("mcp-server"));
        let asker = || Asker::client(&server).unwrap();
        let told = json!({"active": true, "iss": "https://idp.tail.test", "sub": "robot", "client_id": "robot", "aud": MCP,
            "scope": "read", "exp": 1600, "iat": 1000, "token_type": "Bearer", "jti": jti});
        assert_eq!(own.told_of(asker(), None).unwrap(), told);
        let off = Client::new(ClientSpec { disabled: true, ..confidential() }, UnixTime::default()).unwrap();
        assert_eq!(Case { client: Some(off), ..own }.told_of(asker(), None), Err(Inactive::ClientGone));
        let gone = Case { client: None, ..held(Holder::Client, "robot") };
        assert_eq!(gone.told_of(asker(), None), Err(Inactive::ClientGone));
    }

    /// A32, A47: a workload's token lives while that node is there with that tag, by the rule of now.
    #[test]
    fn a_token_of_a_workload() {
        let seen = grant().facts().seen().unwrap().clone();
        let (id, server) = (seen.device.as_str().to_owned(), asks("mcp-server"));
        let (case, asker) = (held(Holder::Workload(seen), "tag:ci"), || Asker::client(&server).unwrap());
        let ci = node(&id, &["tag:ci"]);
        let told = case.told_of(asker(), Some(Present::Workload(&ci))).unwrap();
        assert_eq!((&told["sub"], &told["active"]), (&json!("tag:ci"), &json!(true)));
        assert!(["username", "auth_time", "acr"].iter().all(|name| told.get(name).is_none()), "{told}");
        let gone = |present: Option<Present<'_>>| case.told_of(asker(), present).err();
        assert_eq!(gone(None), Some(Inactive::DeviceGone));
        assert_eq!(gone(Some(Present::Person(&alice()))), Some(Inactive::DeviceGone));
        let router = Workload { routes_for_others: true, ..ci.clone() };
        let shared = Workload { external: true, ..ci.clone() };
        for other in [node("nOTHER", &["tag:ci"]), node(&id, &["tag:other"]), router, shared] {
            assert_eq!(gone(Some(Present::Workload(&other))), Some(Inactive::DeviceGone), "{other:?}");
        }
        let unruled = held(case.grant.as_ref().unwrap().facts().holder.clone(), "tag:unruled");
        let node = node(&id, &["tag:unruled"]);
        let told = unruled.told_of(asker(), Some(Present::Workload(&node)));
        assert_eq!(told, Err(Inactive::DeviceGone), "the rule was taken away");
        // The node itself may ask, as the client of its token.
        let (tags, ours) = (["tag:ci".to_owned()], workloads([rule("tag:ci")]));
        let itself = Asker::workload(&tags, &Resources::default(), &ours).unwrap();
        assert_eq!(case.told_of(itself, Some(Present::Workload(&ci))).unwrap()["active"], true);
    }
}
