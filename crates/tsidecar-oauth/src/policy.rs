//! Policy: which identity may sign in to which client, with which groups and extra claims.
//!
//! Layer 1. One place for the loop over rules; endpoints ask it at authorization, redemption, refresh and userinfo.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::client::Client;
use crate::id::ClientId;
use crate::identity::{Identity, IdentityKind};
use crate::resource::Resource;
use crate::rule::Rule;
use crate::scope::ScopeToken;
use crate::uri::ResourceIndicator;

/// Who may sign in to a client; every list adds, an empty one adds nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Login names, or `*`.
    #[serde(default)]
    pub users: Vec<String>,
    /// Groups, as the tailnet or a rule names them.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Tags of the device.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whoever holds a capability rule that names the client in `clients`.
    #[serde(default)]
    pub capability: bool,
}

/// A rule of the configuration file, with those for whom it holds. An empty matcher holds for everybody.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileRule {
    /// Login names, or `*`.
    pub users: Vec<String>,
    /// Groups of the tailnet.
    pub groups: Vec<String>,
    /// Tags of the device.
    pub tags: Vec<String>,
    /// What the rule adds.
    pub rule: Rule,
}

impl FileRule {
    fn holds_for(&self, identity: &Identity) -> bool {
        if self.users.is_empty() && self.groups.is_empty() && self.tags.is_empty() {
            return true;
        }
        names_user(&self.users, identity)
            || self.groups.iter().any(|group| identity.groups.contains(group))
            || self.tags.iter().any(|tag| identity.device.tags.contains(tag))
    }
}

/// Everything that the configuration says of people, beside the clients' own access lists.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Rules of the configuration file.
    pub rules: Vec<FileRule>,
    /// How claims are made from names.
    pub claims: ClaimsPolicy,
}

/// How claims are made from login names (design section 10).
#[derive(Clone, Debug, Default)]
pub struct ClaimsPolicy {
    /// Domains whose users get their bare local part as `preferred_username`.
    pub local_domains: Vec<String>,
    /// Domains whose addresses count as verified; `*` is every real domain.
    pub verified_domains: Vec<String>,
    /// What is appended to logins that are no addresses: `bob@github` becomes `bob@github.SUFFIX`.
    pub email_suffix: String,
    /// Whether tsidp's device claims are issued.
    pub tsidp_claims: bool,
}

/// Why an identity may not sign in to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A node of another tailnet, and no rule allows it.
    #[error("devices of other tailnets may not sign in here")]
    External,
    /// The client's access list does not name the person.
    #[error("you may not sign in to this application")]
    NotAllowed,
}

impl Policy {
    /// Judges whether an identity may sign in to a client now.
    ///
    /// # Errors
    /// [`Denied`] with the reason.
    pub fn admit(&self, client: &Client, identity: &Identity) -> Result<(), Denied> {
        let external = identity.kind == IdentityKind::External;
        if external && !self.rules_for(client.id(), identity).any(|rule| rule.allow_external) {
            return Err(Denied::External);
        }
        match client.allow() {
            None => Ok(()),
            Some(access) if self.allows(access, client.id(), identity) => Ok(()),
            Some(_) => Err(Denied::NotAllowed),
        }
    }

    /// Judges whether a person may register clients: a rule of the tailnet policy or of the file says so. For a device of another
    /// tailnet the same rule must admit it.
    pub fn may_register(&self, identity: &Identity) -> bool {
        let external = identity.kind == IdentityKind::External;
        let from_file = self.rules.iter().filter(|rule| rule.holds_for(identity)).map(|rule| &rule.rule);
        identity
            .rules
            .iter()
            .chain(from_file)
            .any(|rule| rule.allow_dcr && (!external || rule.allow_external))
    }

    /// Judges whether a tagged node of our own may register clients, by the rules of the tailnet policy for it and by its tags.
    pub fn node_may_register(&self, rules: &[Rule], tags: &[String]) -> bool {
        let holds = |rule: &&FileRule| {
            let everybody = rule.users.is_empty() && rule.groups.is_empty() && rule.tags.is_empty();
            everybody || rule.tags.iter().any(|tag| tags.contains(tag))
        };
        let from_file = self.rules.iter().filter(holds).map(|rule| &rule.rule);
        rules.iter().chain(from_file).any(|rule| rule.allow_dcr)
    }

    fn allows(&self, access: &Access, client: &ClientId, identity: &Identity) -> bool {
        names_user(&access.users, identity)
            || access.tags.iter().any(|tag| identity.device.tags.contains(tag))
            || (access.capability && identity.rules.iter().any(|rule| rule.names(client)))
            || (!access.groups.is_empty()
                && self.groups(client, identity).iter().any(|group| access.groups.contains(group)))
    }

    /// The rules that hold for a login of this identity to this client: the capability's first, then the file's.
    pub fn rules_for<'a>(
        &'a self,
        client: &'a ClientId,
        identity: &'a Identity,
    ) -> impl Iterator<Item = &'a Rule> {
        let from_file = self.rules.iter().filter(|rule| rule.holds_for(identity)).map(|rule| &rule.rule);
        identity.rules.iter().chain(from_file).filter(|rule| rule.holds_for(client))
    }

    /// The resource that rules admit for a person at a client, outside the registry: with the URI as the first rule spells it that
    /// names it, and the scopes of all rules that admit it. A rule's `resources` count only for its `users`, as in tsidp.
    pub fn resource(
        &self,
        wanted: &ResourceIndicator,
        client: &Client,
        identity: &Identity,
    ) -> Option<Resource> {
        let (mut uri, mut admitted, mut scopes) = (None, false, Vec::new());
        for rule in self.rules_for(client.id(), identity).filter(|rule| names_user(&rule.users, identity)) {
            let named = rule.resources.iter().filter_map(|text| ResourceIndicator::parse(text).ok());
            let named = named.into_iter().find(|named| named.matches(wanted.as_str()));
            if named.is_none() && !rule.resources.iter().any(|text| text == "*") {
                continue;
            }
            admitted = true;
            uri = uri.or(named);
            let more = rule.scopes.iter().filter_map(|text| ScopeToken::parse(text));
            for token in more {
                if !scopes.contains(&token) {
                    scopes.push(token);
                }
            }
        }
        admitted.then(|| Resource::of_rule(uri.unwrap_or_else(|| wanted.clone()), scopes))
    }

    /// The groups of an identity: those of the tailnet, then those of rules, each once.
    pub fn groups(&self, client: &ClientId, identity: &Identity) -> Vec<String> {
        let mut groups: Vec<String> = Vec::new();
        let added = self.rules_for(client, identity).flat_map(|rule| &rule.groups);
        for group in identity.groups.iter().chain(added) {
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        groups
    }

    /// The extra claims of an identity, merged from its rules: lists are united in order and keep their types, of
    /// different scalars the first one wins, objects count only under `claims`.
    pub fn extra_claims(&self, client: &ClientId, identity: &Identity, at: ClaimsAt) -> Map<String, Value> {
        let mut merged = Map::new();
        for rule in self.rules_for(client, identity) {
            if at == ClaimsAt::UserInfo && !rule.include_in_user_info {
                continue;
            }
            let flat = rule.extra_claims.iter().filter(|(_, value)| !value.is_object());
            for (name, value) in flat.chain(&rule.claims) {
                merge(&mut merged, name, value);
            }
        }
        merged
    }
}

/// Where claims are about to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimsAt {
    /// In an ID token: every rule counts.
    IdToken,
    /// In a UserInfo answer: only rules with `includeInUserInfo`.
    UserInfo,
}

fn names_user(users: &[String], identity: &Identity) -> bool {
    users.iter().any(|user| user == "*" || (!identity.login.is_empty() && *user == identity.login))
}

fn merge(claims: &mut Map<String, Value>, name: &str, value: &Value) {
    match (claims.get_mut(name), value) {
        (None, Value::Null) => (),
        (None, value) => {
            claims.insert(name.to_owned(), value.clone());
        }
        (Some(Value::Array(known)), Value::Array(more)) => {
            for item in more {
                add(known, item);
            }
        }
        (Some(Value::Array(known)), scalar) => add(known, scalar),
        (Some(known), Value::Array(more)) => {
            let mut list = vec![known.take()];
            for item in more {
                add(&mut list, item);
            }
            *known = Value::Array(list);
        }
        (Some(_), _) => (),
    }
}

fn add(list: &mut Vec<Value>, item: &Value) {
    if !list.contains(item) {
        list.push(item.clone());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::{ClientSpec, tests::confidential};
    use crate::id::{DeviceId, Subject};
    use crate::identity::Device;
    use crate::rule::parse_rules;
    use crate::time::UnixTime;

    pub(crate) fn alice() -> Identity {
        Identity {
            subject: Subject::user(1001),
            kind: IdentityKind::User,
            login: "alice@example.com".into(),
            display_name: "Alice Äxample".into(),
            picture: Some("https://pics.test/a.png".into()),
            groups: vec!["group:eng".into()],
            device: Device {
                id: DeviceId::parse("nALICE").unwrap(),
                node_id: 9_007_199_254_740_993,
                name: "alice.tail.test".into(),
                key: "nodekey:abcd".into(),
                addresses: vec!["100.64.0.2/32".into()],
                tags: Vec::new(),
            },
            rules: Vec::new(),
        }
    }

    fn client(allow: Option<Access>) -> Client {
        Client::new(ClientSpec { allow, ..confidential() }, UnixTime::default()).unwrap()
    }

    fn with_rules(texts: &[&str]) -> Identity {
        Identity { rules: parse_rules(texts.iter().copied()).0, ..alice() }
    }

    #[test]
    fn access_lists_add() {
        let policy = Policy::default();
        let access = |change: fn(&mut Access)| {
            let mut access = Access::default();
            change(&mut access);
            client(Some(access))
        };
        assert_eq!(policy.admit(&client(None), &alice()), Ok(()));
        assert_eq!(policy.admit(&access(|_| ()), &alice()), Err(Denied::NotAllowed));
        assert_eq!(
            policy.admit(&access(|a| a.users = vec!["bob@github".into()]), &alice()),
            Err(Denied::NotAllowed)
        );
        assert_eq!(policy.admit(&access(|a| a.users = vec!["alice@example.com".into()]), &alice()), Ok(()));
        assert_eq!(
            policy.admit(&access(|a| a.users = vec!["ALICE@example.com".into()]), &alice()),
            Err(Denied::NotAllowed)
        );
        assert_eq!(policy.admit(&access(|a| a.groups = vec!["group:eng".into()]), &alice()), Ok(()));
        let by_capability = access(|a| a.capability = true);
        assert_eq!(policy.admit(&by_capability, &with_rules(&["{}"])), Err(Denied::NotAllowed));
        assert_eq!(policy.admit(&by_capability, &with_rules(&[r#"{"clients":["grafana"]}"#])), Ok(()));
        assert_eq!(
            policy.admit(&by_capability, &with_rules(&[r#"{"clients":["gitea"]}"#])),
            Err(Denied::NotAllowed)
        );
    }

    #[test]
    fn external_nodes_need_a_rule() {
        let policy = Policy::default();
        let outsider = Identity { kind: IdentityKind::External, ..alice() };
        assert_eq!(policy.admit(&client(None), &outsider), Err(Denied::External));
        let allowed = Identity { kind: IdentityKind::External, ..with_rules(&[r#"{"allowExternal":true}"#]) };
        assert_eq!(policy.admit(&client(None), &allowed), Ok(()));
    }

    #[test]
    fn groups_are_united_and_follow_clients() {
        let policy = Policy {
            rules: vec![FileRule {
                users: vec!["alice@example.com".into()],
                rule: Rule { groups: vec!["admins".into()], ..Rule::default() },
                ..FileRule::default()
            }],
            ..Policy::default()
        };
        let identity =
            with_rules(&[r#"{"groups":["ops","group:eng"]}"#, r#"{"groups":["x"],"clients":["gitea"]}"#]);
        let grafana = ClientId::parse("grafana").unwrap();
        assert_eq!(policy.groups(&grafana, &identity), ["group:eng", "ops", "admins"]);
        let bob = Identity { login: "bob@github".into(), ..alice() };
        assert_eq!(policy.groups(&grafana, &bob), ["group:eng"]);
    }

    #[test]
    fn extra_claims_keep_types_and_order() {
        let identity = with_rules(&[
            r#"{"extraClaims":{"roles":["b","a",1],"team":"eng","o":{"x":1}},"includeInUserInfo":true}"#,
            r#"{"extraClaims":{"roles":["a",2],"team":"ops","level":3},"claims":{"o":{"y":2}}}"#,
            r#"{"extraClaims":{"level":[4,3]}}"#,
        ]);
        let grafana = ClientId::parse("grafana").unwrap();
        let policy = Policy::default();
        let all = policy.extra_claims(&grafana, &identity, ClaimsAt::IdToken);
        assert_eq!(
            Value::Object(all),
            json!({"roles": ["b", "a", 1, 2], "team": "eng", "level": [3, 4], "o": {"y": 2}})
        );
        let some = policy.extra_claims(&grafana, &identity, ClaimsAt::UserInfo);
        assert_eq!(Value::Object(some), json!({"roles": ["b", "a", 1], "team": "eng"}));
    }
}
