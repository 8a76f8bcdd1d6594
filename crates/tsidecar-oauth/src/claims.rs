//! Claims: which one, from what, under which scope (OpenID Connect Core §5.1 and §5.4, RFC 9068 §2.2).
//!
//! Layer 1. Typed, serialised once. Extra claims of rules stand in a map of their own, which the reader of rules has
//! cleared of everything that a rule may not set.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::acr::Acr;
use crate::id::{ClientId, JwtId, SessionId, Subject, Thumbprint};
use crate::identity::{Identity, IdentityKind};
use crate::policy::{ClaimsAt, ClaimsPolicy, Policy};
use crate::requested::ClaimSet;
use crate::scope::Scope;
use crate::time::{Lifetime, UnixTime};
use crate::uri::Issuer;

/// Scopes of OpenID Connect that we know, in the order of the metadata. `offline_access` is accepted, never listed.
pub const SCOPES: [&str; 4] = ["openid", "profile", "email", "groups"];

/// Claims that we issue by default, for `claims_supported`.
pub const CLAIMS: [&str; 17] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "auth_time",
    "acr",
    "sid",
    "nonce",
    "at_hash",
    "name",
    "preferred_username",
    "picture",
    "email",
    "email_verified",
    "groups",
];

/// Claims that `[compat] tsidp_claims` adds, for `claims_supported`.
pub const TSIDP_CLAIMS: [&str; 7] = ["key", "addresses", "nid", "node", "tailnet", "uid", "username"];

/// The subject types that we serve (OpenID Connect Core §8): one `sub` for every client, as [`Identity`] has it.
pub const SUBJECT_TYPES: [&str; 1] = ["public"];

/// Claims that are issued under a policy, for `claims_supported`; those of capability rules aside, which only they know.
pub fn supported(policy: &ClaimsPolicy) -> impl Iterator<Item = &'static str> {
    let tsidp = policy.tsidp_claims.then_some(TSIDP_CLAIMS);
    CLAIMS.into_iter().chain(tsidp.into_iter().flatten())
}

/// How far `nbf` lies before `iat`: room for relying parties whose clock is behind (tsidp issues #73, #76).
const NOT_BEFORE_ROOM: Lifetime = Lifetime::from_minutes(5);

/// Claims about the person, as the granted scope and the policy have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct IdentityClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    tsidp: Option<TsidpClaims>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

/// tsidp's claims about the device, behind `[compat] tsidp_claims`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum TsidpClaims {
    IdToken { key: String, addresses: Vec<String>, nid: i64, node: String, tailnet: String, uid: Option<i64> },
    UserInfo { username: String },
}

impl IdentityClaims {
    /// Selects the claims of an identity for one client, scope and place; `requested` are those that the request named for this
    /// place (OpenID Connect Core §5.5), whatever the scope.
    pub fn select(
        policy: &Policy,
        client: &ClientId,
        identity: &Identity,
        scope: &Scope,
        requested: ClaimSet,
        at: ClaimsAt,
    ) -> Self {
        let wanted = |name, by: &str| scope.contains(by) || requested.contains(name);
        let mut claims = Self {
            extra: policy.extra_claims(client, identity, at),
            tsidp: policy.claims.tsidp_claims.then(|| tsidp_claims(identity, at)),
            ..Self::default()
        };
        if wanted("name", "profile") {
            claims.name = display_name(identity);
        }
        if wanted("preferred_username", "profile") {
            claims.preferred_username = preferred_username(&policy.claims, identity);
        }
        if wanted("picture", "profile") {
            claims.picture.clone_from(&identity.picture);
        }
        let (email_wanted, verified_wanted) = (wanted("email", "email"), wanted("email_verified", "email"));
        if email_wanted || verified_wanted {
            let (email, verified) = email(&policy.claims, identity).unzip();
            claims.email = email.filter(|_| email_wanted);
            claims.email_verified = verified.filter(|_| verified_wanted);
        }
        if wanted("groups", "groups") {
            claims.groups = Some(policy.groups(client, identity));
        }
        claims.with_rules_first()
    }

    /// Only the claims that the request named: what an ID token has whose identity claims are switched off.
    pub fn named_only(
        policy: &Policy,
        client: &ClientId,
        identity: &Identity,
        requested: ClaimSet,
        at: ClaimsAt,
    ) -> Self {
        if requested == ClaimSet::default() {
            return Self::default();
        }
        let mut claims = Self::select(policy, client, identity, &Scope::default(), requested, at);
        claims.tsidp = None;
        claims.extra.retain(|name, _| requested.contains(name));
        claims
    }

    /// What a rule sets wins over what we would have said, except that groups are united.
    fn with_rules_first(mut self) -> Self {
        if let (Some(groups), Some(Value::Array(more))) = (&mut self.groups, self.extra.get("groups")) {
            for group in more.iter().filter_map(Value::as_str) {
                if !groups.iter().any(|known| known == group) {
                    groups.push(group.to_owned());
                }
            }
            self.extra.remove("groups");
        }
        for name in self.extra.keys() {
            match name.as_str() {
                "name" => self.name = None,
                "preferred_username" => self.preferred_username = None,
                "picture" => self.picture = None,
                "email_verified" => self.email_verified = None,
                "groups" => self.groups = None,
                _ => (),
            }
        }
        self
    }
}

fn display_name(identity: &Identity) -> Option<String> {
    let given = match &identity.kind {
        IdentityKind::Tagged(tagged) => tagged.name.clone().unwrap_or_default(),
        IdentityKind::User | IdentityKind::External => identity.display_name.clone(),
    };
    (!given.is_empty()).then_some(given)
}

/// The bare local part only for users of our own domains; otherwise the whole login (attack A40: an invited
/// `admin@other.example` must not become `admin`).
fn preferred_username(policy: &ClaimsPolicy, identity: &Identity) -> Option<String> {
    match (&identity.kind, identity.login_parts()) {
        (IdentityKind::Tagged(_), _) => None,
        (IdentityKind::User, Some((local, domain)))
            if policy.local_domains.iter().any(|known| known == domain) =>
        {
            Some(local.to_owned())
        }
        _ => (!identity.login.is_empty()).then(|| identity.login.clone()),
    }
}

/// The e-mail address, and whether it counts as verified: a policy by domain, never for other tailnets and tags.
fn email(policy: &ClaimsPolicy, identity: &Identity) -> Option<(String, bool)> {
    if let IdentityKind::Tagged(tagged) = &identity.kind {
        return tagged.email.clone().map(|email| (email, false));
    }
    let (_, domain) = identity.login_parts()?;
    if !domain.contains('.') {
        let suffix = &policy.email_suffix;
        return (!suffix.is_empty()).then(|| (format!("{}.{suffix}", identity.login), false));
    }
    let trusted =
        policy.verified_domains.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(domain));
    Some((identity.login.clone(), trusted && identity.kind == IdentityKind::User))
}

fn tsidp_claims(identity: &Identity, at: ClaimsAt) -> TsidpClaims {
    match at {
        ClaimsAt::UserInfo => TsidpClaims::UserInfo { username: identity.login.clone() },
        ClaimsAt::IdToken => TsidpClaims::IdToken {
            key: identity.device.key.clone(),
            addresses: identity.device.addresses.clone(),
            nid: identity.device.node_id,
            node: identity.device.name.clone(),
            tailnet: identity.device.tailnet().to_owned(),
            uid: identity.uid(),
        },
    }
}

/// The claims of an ID token (OpenID Connect Core §2).
#[derive(Debug, Serialize)]
pub struct IdTokenClaims<'a> {
    iss: &'a Issuer,
    sub: &'a Subject,
    aud: &'a ClientId,
    exp: UnixTime,
    iat: UnixTime,
    nbf: UnixTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<UnixTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    at_hash: String,
    #[serde(flatten)]
    identity: IdentityClaims,
}

/// What an ID token says beside the person: whose, for whom, when.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// `iss`.
    pub issuer: &'a Issuer,
    /// `sub`.
    pub subject: &'a Subject,
    /// The client.
    pub client: &'a ClientId,
    /// `auth_time` and `acr`; `None` when no person was there (RFC 9068 §2.2.1).
    pub authentication: Option<(UnixTime, Acr)>,
    /// `sid`, in ID tokens.
    pub session: Option<SessionId>,
    /// `iat`.
    pub now: UnixTime,
    /// `exp` less `iat`.
    pub lifetime: Lifetime,
}

impl<'a> IdTokenClaims<'a> {
    /// Collects the claims; `nonce` only on the first token of a grant (OpenID Connect Core §12.2).
    pub fn new(
        envelope: Envelope<'a>,
        nonce: Option<&'a str>,
        at_hash: String,
        identity: IdentityClaims,
    ) -> Self {
        let (auth_time, acr) = envelope.authentication.unzip();
        Self {
            iss: envelope.issuer,
            sub: envelope.subject,
            aud: envelope.client,
            exp: envelope.now.after(envelope.lifetime),
            iat: envelope.now,
            nbf: envelope.now.before(NOT_BEFORE_ROOM),
            auth_time,
            acr: acr.map(Acr::as_str),
            sid: envelope.session.map(|session| session.to_string()),
            nonce,
            at_hash,
            identity,
        }
    }
}

/// `cnf`: the key that must prove itself with a token (RFC 7800 §3.1, RFC 9449 §6.1); in access tokens and at introspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation(pub Thumbprint);

impl Serialize for Confirmation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Cnf {
            jkt: String,
        }
        Cnf { jkt: self.0.to_string() }.serialize(serializer)
    }
}

/// The claims of an access token for a resource (RFC 9068 §2.2).
#[derive(Debug, Serialize)]
pub struct AccessTokenClaims<'a> {
    iss: &'a Issuer,
    sub: &'a Subject,
    aud: &'a str,
    client_id: &'a ClientId,
    exp: UnixTime,
    iat: UnixTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<UnixTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'static str>,
    jti: JwtId,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    may_act: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
}

impl<'a> AccessTokenClaims<'a> {
    /// Collects the claims; the audience is the resource as registered.
    pub fn new(envelope: Envelope<'a>, audience: &'a str, scope: &Scope, jti: JwtId) -> Self {
        let (auth_time, acr) = envelope.authentication.unzip();
        Self {
            iss: envelope.issuer,
            sub: envelope.subject,
            aud: audience,
            client_id: envelope.client,
            exp: envelope.now.after(envelope.lifetime),
            iat: envelope.now,
            auth_time,
            acr: acr.map(Acr::as_str),
            jti,
            scope: scope.to_string(),
            act: None,
            may_act: None,
            cnf: None,
        }
    }

    /// Says who acts for the subject, and who alone may (RFC 8693 §4.1, §4.4).
    #[must_use]
    pub fn acting(self, act: Option<Value>, may_act: Option<&str>) -> Self {
        let may_act = may_act.map(crate::token::exchange::may_act);
        Self { act, may_act, ..self }
    }

    /// Binds the token to a key.
    #[must_use]
    pub fn bound_to(self, cnf: Option<Confirmation>) -> Self {
        Self { cnf, ..self }
    }
}

/// The answer of the UserInfo endpoint (OpenID Connect Core §5.3.2).
#[derive(Debug, Serialize)]
pub struct UserInfo<'a> {
    sub: &'a Subject,
    #[serde(flatten)]
    identity: IdentityClaims,
}

impl<'a> UserInfo<'a> {
    /// Collects the claims of now.
    pub const fn new(subject: &'a Subject, identity: IdentityClaims) -> Self {
        Self { sub: subject, identity }
    }
}

/// The answer of the UserInfo endpoint as claims of a JWT (OpenID Connect Core §5.3.2). Without `exp` and `iat` it is never
/// taken for an ID token.
#[derive(Debug, Serialize)]
pub struct SignedUserInfo<'a> {
    iss: &'a Issuer,
    aud: &'a ClientId,
    #[serde(flatten)]
    claims: UserInfo<'a>,
}

impl<'a> SignedUserInfo<'a> {
    /// Says who speaks, and to whom.
    pub const fn new(issuer: &'a Issuer, client: &'a ClientId, claims: UserInfo<'a>) -> Self {
        Self { iss: issuer, aud: client, claims }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::tests::alice;
    use crate::rule::{TaggedIdentity, parse_rules};

    fn policy() -> Policy {
        let claims = ClaimsPolicy {
            local_domains: vec!["example.com".into()],
            verified_domains: vec!["*".into()],
            email_suffix: "idp.tail.test".into(),
            tsidp_claims: false,
        };
        Policy { claims, ..Policy::default() }
    }

    fn select(policy: &Policy, identity: &Identity, scope: &str, at: ClaimsAt) -> Value {
        let (client, none) = (ClientId::parse("grafana").unwrap(), ClaimSet::default());
        let claims = IdentityClaims::select(policy, &client, identity, &Scope::parse(scope), none, at);
        serde_json::to_value(claims).unwrap()
    }

    /// OpenID Connect Core §5.5: one by one, whatever the scope, and where the ID token has no claims otherwise.
    #[test]
    fn claims_are_given_by_name() {
        let (client, at) = (ClientId::parse("grafana").unwrap(), ClaimsAt::IdToken);
        let named = |names: &[&str]| names.iter().fold(ClaimSet::default(), |set, name| set.with(name));
        let claims = |scope: &str, names: &[&str]| {
            let scope = Scope::parse(scope);
            let claims = IdentityClaims::select(&policy(), &client, &alice(), &scope, named(names), at);
            serde_json::to_value(claims).unwrap()
        };
        assert_eq!(claims("openid", &["name"]), json!({"name": "Alice Äxample"}));
        assert_eq!(claims("openid", &["email_verified", "acr"]), json!({"email_verified": true}));
        assert_eq!(
            claims("openid email", &["groups"]),
            json!({"email": "alice@example.com", "email_verified": true, "groups": ["group:eng"]})
        );
        let rule = r#"{"extraClaims":{"team":"eng","name":"Al"}}"#;
        let identity = Identity { rules: parse_rules([rule]).0, ..alice() };
        let only = |names: &[&str]| {
            let claims = IdentityClaims::named_only(&policy(), &client, &identity, named(names), at);
            serde_json::to_value(claims).unwrap()
        };
        assert_eq!(only(&[]), json!({}));
        assert_eq!(only(&["email"]), json!({"email": "alice@example.com"}));
        assert_eq!(only(&["name"]), json!({"name": "Al"}));
    }

    #[test]
    fn claims_follow_the_scope() {
        let at = ClaimsAt::IdToken;
        assert_eq!(select(&policy(), &alice(), "openid", at), json!({}));
        assert_eq!(
            select(&policy(), &alice(), "openid profile email groups", at),
            json!({"name": "Alice Äxample", "preferred_username": "alice", "picture": "https://pics.test/a.png",
                "email": "alice@example.com", "email_verified": true, "groups": ["group:eng"]})
        );
    }

    #[test]
    fn foreign_names_stay_whole() {
        let invited = Identity { login: "admin@other.example".into(), ..alice() };
        let claims = select(&policy(), &invited, "profile email", ClaimsAt::UserInfo);
        assert_eq!(claims["preferred_username"], "admin@other.example");
        let shared = Identity { kind: IdentityKind::External, ..alice() };
        let claims = select(&policy(), &shared, "profile email", ClaimsAt::UserInfo);
        assert_eq!(
            (&claims["preferred_username"], &claims["email_verified"]),
            (&json!("alice@example.com"), &json!(false))
        );
        let odd = Identity { login: "a@b@example.com".into(), ..alice() };
        assert_eq!(select(&policy(), &odd, "profile", ClaimsAt::UserInfo)["preferred_username"], "a@b");
    }

    #[test]
    fn logins_that_are_no_addresses_get_the_pinned_suffix() {
        let bob = Identity { login: "bob@github".into(), display_name: String::new(), ..alice() };
        let claims = select(&policy(), &bob, "profile email", ClaimsAt::IdToken);
        assert_eq!(
            claims,
            json!({"preferred_username": "bob@github", "picture": "https://pics.test/a.png",
                "email": "bob@github.idp.tail.test", "email_verified": false})
        );
    }

    #[test]
    fn tagged_identities_have_what_their_rule_says() {
        let tagged =
            TaggedIdentity { subject: "ci".into(), email: Some("ci@example.com".into()), name: None };
        let ci = Identity { kind: IdentityKind::Tagged(tagged), login: String::new(), ..alice() };
        let claims = select(&policy(), &ci, "profile email", ClaimsAt::IdToken);
        assert_eq!(
            claims,
            json!({"picture": "https://pics.test/a.png", "email": "ci@example.com", "email_verified": false})
        );
    }

    #[test]
    fn rules_override_names_and_unite_groups() {
        let rule = r#"{"extraClaims":{"preferred_username":"al","groups":["ops","group:eng"],"email_verified":false,
            "team":"eng"},"includeInUserInfo":true}"#;
        let identity = Identity { rules: parse_rules([rule]).0, ..alice() };
        let claims = select(&policy(), &identity, "profile email groups", ClaimsAt::UserInfo);
        assert_eq!(claims["preferred_username"], "al");
        assert_eq!(claims["groups"], json!(["group:eng", "ops"]));
        assert_eq!(claims["email_verified"], json!(false));
        assert_eq!(claims["team"], "eng");
        assert_eq!(
            select(&policy(), &identity, "openid", ClaimsAt::UserInfo)["groups"],
            json!(["ops", "group:eng"])
        );
    }

    #[test]
    fn tsidp_claims_are_a_switch() {
        let mut policy = policy();
        policy.claims.tsidp_claims = true;
        assert_eq!(
            select(&policy, &alice(), "openid", ClaimsAt::IdToken),
            json!({"key": "nodekey:abcd", "addresses": ["100.64.0.2/32"], "nid": 9_007_199_254_740_993_i64,
                "node": "alice.tail.test", "tailnet": "tail.test", "uid": 1001})
        );
        assert_eq!(
            select(&policy, &alice(), "openid", ClaimsAt::UserInfo),
            json!({"username": "alice@example.com"})
        );
    }

    /// What the metadata lists is what is issued.
    #[test]
    fn tsidp_claims_are_listed_when_they_are_issued() {
        let mut policy = policy();
        assert!(supported(&policy.claims).eq(CLAIMS));
        policy.claims.tsidp_claims = true;
        let mut issued: Vec<String> = [ClaimsAt::IdToken, ClaimsAt::UserInfo]
            .iter()
            .flat_map(|at| select(&policy, &alice(), "openid", *at).as_object().unwrap().clone())
            .map(|(name, _)| name)
            .collect();
        let mut listed: Vec<_> = supported(&policy.claims).skip(CLAIMS.len()).collect();
        listed.sort_unstable();
        issued.sort_unstable();
        assert_eq!(issued, listed);
    }
}
