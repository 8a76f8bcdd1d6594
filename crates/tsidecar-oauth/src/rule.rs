//! Rules: what the tailnet policy (capability `tailscale.com/cap/tsidp`) and the configuration file add to a login.
//!
//! Layer 1. Rules only add; absent means no. A malformed rule is skipped and reported by its reader, never fatal for
//! the person (tsidp issues #44, #62).

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::id::{ClientId, IdError, Subject};
use crate::scope::ScopeToken;
use crate::uri::{ResourceIndicator, UriError};

/// One rule, in tsidp's schema with our additions. Unknown members are ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// May use the administration pages and the client interface.
    pub allow_admin_ui: bool,
    /// May register clients dynamically.
    pub allow_dcr: bool,
    /// Login names to which `resources` applies, or `*`.
    pub users: Vec<String>,
    /// Resource indicators that a token may be asked for, or `*`; for resources outside the registry only.
    pub resources: Vec<String>,
    /// The scopes of these resources. Without any, their tokens carry none.
    pub scopes: Vec<String>,
    /// Claims in tsidp's sense: scalars and lists; they stand in the ID token.
    #[serde(rename = "extraClaims")]
    pub extra_claims: Map<String, Value>,
    /// Claims of any type, kept as they are.
    pub claims: Map<String, Value>,
    /// Whether the claims of this rule also stand in the UserInfo answer.
    #[serde(rename = "includeInUserInfo")]
    pub include_in_user_info: bool,
    /// Groups that the person gets.
    pub groups: Vec<String>,
    /// The clients for which the rule holds; empty is every client.
    pub clients: Vec<String>,
    /// Lets a tagged node sign in under this identity.
    #[serde(rename = "taggedIdentity")]
    pub tagged_identity: Option<TaggedIdentity>,
    /// Lets a node of another tailnet (shared in or out) sign in.
    #[serde(rename = "allowExternal")]
    pub allow_external: bool,
}

/// The identity that a rule gives to a tagged node (the field of the fork `tsidp-flags`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TaggedIdentity {
    /// The subject; never `userid:…`.
    pub subject: String,
    /// An e-mail address, if the workload has one.
    #[serde(default)]
    pub email: Option<String>,
    /// A display name.
    #[serde(default)]
    pub name: Option<String>,
}

impl TaggedIdentity {
    /// The subject of the identity.
    ///
    /// # Errors
    /// [`IdError`] when the text is no subject of a tagged node.
    pub fn subject(&self) -> Result<Subject, IdError> {
        Subject::tagged(&self.subject)
    }
}

/// Claims that no rule may set: they belong to the protocol, to identity, or to what we vouch for (design section 10).
const RESERVED: [&str; 33] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "nonce",
    "azp",
    "act",
    "may_act",
    "active",
    "token_type",
    "events",
    "auth_time",
    "acr",
    "amr",
    "at_hash",
    "sid",
    "cnf",
    "client_id",
    "scope",
    "email",
    "username",
    "uid",
    "user",
    "nid",
    "node",
    "key",
    "addresses",
    "tailnet",
    "tags",
    "c_hash",
];

/// Why a rule, or a part of it, does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The value is not an object of the known shape; the text says where.
    #[error("rule is not of the known form: {0}")]
    Form(String),
    /// The rule names a claim that no rule may set; that claim is left out.
    #[error("claim {0:?} cannot be set by a rule")]
    Reserved(String),
    /// `email_verified` is not a boolean; the claim is left out.
    #[error("claim \"email_verified\" must be a boolean")]
    EmailVerified,
    /// An entry of `resources` is neither an indicator nor `*`; it is left out.
    #[error("resource {0:?} {1}")]
    Resource(String, UriError),
    /// An entry of `resources` has a `*` beside other characters: names match exactly, or all of them do. It is left out.
    #[error(
        "resource {0:?} is neither one URI nor \"*\"; a pattern can stand in [[resource]] of the configuration file only"
    )]
    Pattern(String),
    /// An entry of `scopes` is no scope of a resource; it is left out.
    #[error(
        "scope {0:?} is none of a resource: printable ASCII without space, quote and backslash, and none of OpenID Connect's"
    )]
    Scope(String),
    /// `taggedIdentity.subject` is no subject; the identity is left out.
    #[error("taggedIdentity.subject {0}")]
    TaggedSubject(IdError),
}

impl Rule {
    /// Reads a rule and takes out what it may not do, reporting each such part.
    ///
    /// # Errors
    /// [`RuleError::Form`] when the whole value is not a rule.
    pub fn parse(value: &Value) -> Result<(Self, Vec<RuleError>), RuleError> {
        let rule = Self::deserialize(value).map_err(|error| RuleError::Form(error.to_string()))?;
        Ok(rule.checked())
    }

    /// Takes out what a rule may not do, reporting each such part.
    pub fn checked(mut self) -> (Self, Vec<RuleError>) {
        let mut errors = Vec::new();
        for claims in [&mut self.extra_claims, &mut self.claims] {
            claims.retain(|name, value| match claim_error(name, value) {
                None => true,
                Some(error) => {
                    errors.push(error);
                    false
                }
            });
        }
        self.resources.retain(|text| keep(resource_error(text), &mut errors));
        self.scopes.retain(|text| keep(scope_error(text), &mut errors));
        if let Some(Err(error)) = self.tagged_identity.as_ref().map(TaggedIdentity::subject) {
            errors.push(RuleError::TaggedSubject(error));
            self.tagged_identity = None;
        }
        (self, errors)
    }

    /// Tells whether the rule holds for logins to this client.
    pub fn holds_for(&self, client: &ClientId) -> bool {
        self.clients.is_empty() || self.names(client)
    }

    /// Tells whether the rule names this client.
    pub fn names(&self, client: &ClientId) -> bool {
        self.clients.iter().any(|name| name == client.as_str() || name == "*")
    }
}

fn keep(error: Option<RuleError>, errors: &mut Vec<RuleError>) -> bool {
    let keeps = error.is_none();
    errors.extend(error);
    keeps
}

fn resource_error(text: &str) -> Option<RuleError> {
    if text != "*" && text.contains('*') {
        return Some(RuleError::Pattern(text.to_owned()));
    }
    let read = if text == "*" { Ok(()) } else { ResourceIndicator::parse(text).map(drop) };
    read.err().map(|error| RuleError::Resource(text.to_owned(), error))
}

/// A scope of OpenID Connect is the person's to give to the client, not a resource's.
fn scope_error(text: &str) -> Option<RuleError> {
    let fits = ScopeToken::parse(text).is_some() && !matches!(text, "openid" | "offline_access");
    (!fits).then(|| RuleError::Scope(text.to_owned()))
}

fn claim_error(name: &str, value: &Value) -> Option<RuleError> {
    if RESERVED.contains(&name) {
        return Some(RuleError::Reserved(name.to_owned()));
    }
    (name == "email_verified" && !value.is_boolean()).then_some(RuleError::EmailVerified)
}

/// Reads all rules of a capability, and reports what was skipped.
///
/// `values` are the raw JSON texts of the capability's value list.
pub fn parse_rules<'a>(values: impl IntoIterator<Item = &'a str>) -> (Vec<Rule>, Vec<RuleError>) {
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    for text in values {
        let parsed = serde_json::from_str::<Value>(text).map_err(|error| RuleError::Form(error.to_string()));
        match parsed.and_then(|value| Rule::parse(&value)) {
            Ok((rule, skipped)) => {
                rules.push(rule);
                errors.extend(skipped);
            }
            Err(error) => errors.push(error),
        }
    }
    (rules, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tsidp_rules_are_read_unchanged() {
        let text = r#"{"allow_admin_ui":true,"allow_dcr":true,"users":["*"],"resources":["https://a.test"],
            "extraClaims":{"team":"eng","level":3,"email_verified":true},"includeInUserInfo":true,"unknown":[1]}"#;
        let (rules, errors) = parse_rules([text]);
        assert!(errors.is_empty());
        let rule = &rules[0];
        assert!(rule.allow_admin_ui && rule.allow_dcr && rule.include_in_user_info);
        assert_eq!(rule.extra_claims.get("level"), Some(&Value::from(3)));
        assert_eq!(rule.extra_claims.get("email_verified"), Some(&Value::from(true)));
    }

    /// A21 and A50: reserved claims are left out, the rest of the rule and all other rules count.
    #[test]
    fn a_bad_rule_locks_nobody_out() {
        let (rules, errors) = parse_rules([
            r#"{"extraClaims":{"sub":"userid:1","team":"a","email":"x@y","may_act":{},"active":true,"email_verified":"yes"}}"#,
            r#"{"groups":"not a list"}"#,
            "null",
            "not json",
            r#"{"taggedIdentity":{"subject":"userid:5"},"groups":["ops"]}"#,
        ]);
        assert_eq!(rules.len(), 2);
        assert_eq!(rules[0].extra_claims.keys().collect::<Vec<_>>(), ["team"]);
        assert_eq!((rules[1].groups.as_slice(), &rules[1].tagged_identity), (&["ops".to_owned()][..], &None));
        assert_eq!(errors.len(), 9);
        assert!(errors.contains(&RuleError::Reserved("sub".into())));
        assert!(errors.contains(&RuleError::EmailVerified));
        assert!(errors.contains(&RuleError::TaggedSubject(IdError::Reserved)));
    }

    #[test]
    fn rules_hold_for_their_clients() {
        let grafana = ClientId::parse("grafana").unwrap();
        let rule = Rule { clients: vec!["gitea".into()], ..Rule::default() };
        assert!(!rule.holds_for(&grafana) && !rule.names(&grafana));
        assert!(Rule::default().holds_for(&grafana) && !Rule::default().names(&grafana));
        assert!(Rule { clients: vec!["*".into()], ..Rule::default() }.names(&grafana));
    }
}
