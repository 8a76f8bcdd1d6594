use serde_json::json;

use super::*;
use crate::client::ClientSpec;
use crate::client::tests::confidential;
use crate::grant::GrantState;
use crate::id::Subject;
use crate::issued::JwtAccess;
use crate::issued::tests::{jwt, opaque};
use crate::jose::Algorithm;
use crate::policy::{Access, tests::alice};
use crate::resource::{Entry, ResourceSpec, Resources};
use crate::scope::ScopeToken;
use crate::seal::RefreshToken;
use crate::settle::tests::{at, grant};
use crate::uri::ResourceIndicator;

const GATEWAY: &str = "https://gateway.test/mcp";
const UPSTREAM: &str = "https://upstream.test/mcp";

fn spec(clients: &[&str], servers: &[&str]) -> ResourceSpec {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let scopes: Vec<ScopeToken> = Scope::parse("read write").iter().cloned().collect();
    ResourceSpec {
        default_scopes: scopes.clone(),
        scopes,
        clients: list(clients),
        servers: list(servers),
        alg: Algorithm::Es256,
        ..ResourceSpec::default()
    }
}

fn specified(uri: &str, spec: ResourceSpec) -> Resource {
    Resources::new(vec![Entry::new(uri, &[], spec).unwrap()]).lookup(uri).unwrap()
}

fn resource(uri: &str, clients: &[&str], servers: &[&str]) -> Resource {
    specified(uri, spec(clients, servers))
}

/// A token of alice's for the gateway, which the gateway exchanges for one for the upstream.
struct Case {
    token: IssuedToken,
    grant: Grant,
    actor: Option<(IssuedToken, Grant)>,
    gateway: Client,
    source: Resource,
    target: Option<Resource>,
    rules: Vec<ExchangeRule>,
    identity: Identity,
    depth: usize,
    now: u64,
}

fn gateway(change: impl FnOnce(&mut ClientSpec)) -> Client {
    let mut spec = ClientSpec { id: "gateway".into(), ..confidential() };
    change(&mut spec);
    Client::new(spec, UnixTime::default()).unwrap()
}

impl Default for Case {
    fn default() -> Self {
        Self {
            token: IssuedToken::Jwt(jwt(GATEWAY)),
            grant: grant(),
            actor: None,
            gateway: gateway(|_| ()),
            source: resource(GATEWAY, &["*"], &["gateway"]),
            target: Some(resource(UPSTREAM, &["gateway"], &[])),
            rules: Vec::new(),
            identity: alice(),
            depth: 0,
            now: 1_100,
        }
    }
}

impl Case {
    fn run(&self, scope: Option<&str>) -> Result<Grant, ExchangeError> {
        let now = at(self.now);
        let living = |token, grant| LivingToken::new(token, Some(grant), true, now);
        let basis = Basis {
            caller: Exchanger {
                id: self.gateway.id(),
                client: Some(&self.gateway),
                method: AuthMethod::ClientSecretBasic,
            },
            subject: living(&self.token, &self.grant).ok_or(ExchangeError::SubjectToken)?,
            source: Some(&self.source),
            actor: self.actor.as_ref().and_then(|(token, grant)| living(token, grant)),
            target: self.target.as_ref(),
            identity: &self.identity,
            policy: &Policy::default(),
            rules: &self.rules,
            depth: self.depth,
            now,
        };
        exchange(&basis, scope.map(Scope::parse).as_ref(), FreshId::from_bytes([8; 16]))
    }

    #[track_caller]
    fn refused(&self) -> ExchangeError {
        self.run(None).unwrap_err()
    }

    /// The gateway's own token, by client credentials.
    fn acting(mut self) -> Self {
        let mut facts = grant().facts().clone();
        (facts.client, facts.subject) = (self.gateway.id().clone(), Subject::tagged("gateway").unwrap());
        facts.holder = Holder::Client;
        self.actor = Some((IssuedToken::Opaque(opaque("")), with(facts)));
        self
    }
}

fn with(facts: GrantFacts) -> Grant {
    Grant::new(grant().id(), facts, at(1_000))
}

fn scope_of(outcome: Result<Grant, ExchangeError>) -> Result<String, ExchangeError> {
    outcome.map(|grant| grant.facts().scope.to_string())
}

#[test]
fn a_server_gets_a_token_for_the_next_one() {
    let made = Case::default().run(None).unwrap();
    let facts = made.facts();
    assert_eq!((facts.client.as_str(), facts.subject.as_str()), ("gateway", "userid:1001"));
    assert_eq!(facts.resources, [ResourceIndicator::parse(UPSTREAM).unwrap()]);
    assert_eq!(facts.scope.to_string(), "read", "no more than the subject token has");
    assert_eq!(facts.exchange, Some(Exchange { parent: grant().id(), actors: Vec::new() }));
    assert_eq!((facts.idle, facts.expires_at), (None, at(1_600)), "no longer than the subject token");
    assert_ne!(made.id(), grant().id());
}

/// Lifetimes never grow: neither by the resource, nor by the actor.
#[test]
fn nothing_outlives_what_it_came_out_of() {
    let expires_at = |case: &Case| case.run(None).unwrap().facts().expires_at;
    let long =
        |life| specified(UPSTREAM, ResourceSpec { access_token: Some(life), ..spec(&["gateway"], &[]) });
    let long_life = Case { target: Some(long(Lifetime::from_minutes(60))), ..Case::default() };
    assert_eq!(expires_at(&long_life), at(1_600));
    let short = Case { target: Some(long(Lifetime::from_secs(60))), ..Case::default() };
    assert_eq!(expires_at(&short), at(1_160));
    let mut acting = Case::default().acting();
    if let Some((token, _)) = &mut acting.actor {
        *token = IssuedToken::Jwt(JwtAccess { expires_at: at(1_200), ..jwt(GATEWAY) });
    }
    assert_eq!(expires_at(&acting), at(1_200));
    assert_eq!(Case { now: 1_600, ..Case::default() }.refused(), ExchangeError::SubjectToken);
}

/// A18: foreign tokens, tokens of other kinds, and tokens of nobody.
#[test]
fn only_a_persons_living_access_token_for_the_caller() {
    use ExchangeError as E;
    let refresh = IssuedToken::Refresh(RefreshToken::new(grant().id(), crate::grant::Generation::default()));
    assert_eq!(Case { token: refresh, ..Case::default() }.refused(), E::SubjectToken);
    let elsewhere = resource(GATEWAY, &["*"], &["other"]);
    assert_eq!(Case { source: elsewhere, ..Case::default() }.refused(), E::NotForCaller);
    let no_resource = Case {
        token: IssuedToken::Opaque(opaque("read")),
        source: resource("https://x.test", &[], &[]),
        ..Case::default()
    };
    assert_eq!(no_resource.refused(), E::NotForCaller);
    let machine = GrantFacts { holder: Holder::Client, ..grant().facts().clone() };
    assert_eq!(Case { grant: with(machine), ..Case::default() }.refused(), E::NoPerson);
    let mut bob = alice();
    bob.subject = Subject::user(7);
    assert_eq!(Case { identity: bob, ..Case::default() }.refused(), E::SubjectToken);
    assert!(LivingToken::new(&IssuedToken::Jwt(jwt(GATEWAY)), Some(&grant()), false, at(1_100)).is_none());
    assert!(LivingToken::new(&IssuedToken::Jwt(jwt(GATEWAY)), None, true, at(1_100)).is_none());
}

/// A18: the policy of the target and of the caller, as at authorization.
#[test]
fn the_target_names_the_caller_and_the_caller_admits_the_person() {
    use ExchangeError as E;
    assert_eq!(Case { target: None, ..Case::default() }.refused(), E::Target);
    let everybody = Case { target: Some(resource(UPSTREAM, &["*"], &[])), ..Case::default() };
    assert_eq!(everybody.refused(), E::Target, "that anybody may ask for themselves says nothing of servers");
    let closed = gateway(|spec| {
        spec.allow = Some(Access { users: vec!["bob@example.com".into()], ..Access::default() });
    });
    assert_eq!(Case { gateway: closed, ..Case::default() }.refused(), E::Denied(Denied::NotAllowed));
}

#[test]
fn scopes_are_the_intersection_or_what_a_rule_says() {
    let run = |case: &Case, scope| scope_of(case.run(scope));
    let both = Case {
        token: IssuedToken::Jwt(JwtAccess { scope: Scope::parse("read write x"), ..jwt(GATEWAY) }),
        ..Case::default()
    };
    assert_eq!(run(&both, None).unwrap(), "read write");
    assert_eq!(run(&both, Some("write unknown")).unwrap(), "write");
    let narrow = Case::default();
    assert_eq!(run(&narrow, Some("read write")), Err(ExchangeError::Scope));
    assert_eq!(run(&narrow, Some("openid")).unwrap(), "read");
    let other = Case {
        token: IssuedToken::Jwt(JwtAccess { scope: Scope::parse("x"), ..jwt(GATEWAY) }),
        ..Case::default()
    };
    assert_eq!(run(&other, None), Err(ExchangeError::Scope));
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = ExchangeRule {
        callers: list(&["gateway"]),
        to: list(&[UPSTREAM]),
        scopes: Some(list(&["write"])),
        ..ExchangeRule::default()
    };
    let ruled = Case { rules: vec![rule.clone()], target: Some(resource(UPSTREAM, &["*"], &[])), ..other };
    assert_eq!(run(&ruled, None).unwrap(), "write");
    assert_eq!(run(&ruled, Some("read")), Err(ExchangeError::Scope));
    let for_bob = ExchangeRule { users: list(&["bob@example.com"]), ..rule.clone() };
    assert_eq!(Case { rules: vec![for_bob], ..ruled }.refused(), ExchangeError::Target);
    let none = Case {
        target: Some(specified(
            UPSTREAM,
            ResourceSpec { scopes: Vec::new(), default_scopes: Vec::new(), ..spec(&["gateway"], &[]) },
        )),
        ..Case::default()
    };
    assert_eq!(run(&none, None).unwrap(), "");
}

/// A rule may name a caller that is not the token's audience, for the audiences that it names.
#[test]
fn a_rule_lets_another_caller_exchange() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = ExchangeRule {
        callers: list(&["gateway"]),
        from: list(&[GATEWAY]),
        to: list(&[UPSTREAM]),
        ..ExchangeRule::default()
    };
    let case = |rule: ExchangeRule| Case {
        source: resource(GATEWAY, &["*"], &[]),
        rules: vec![rule],
        ..Case::default()
    };
    assert_eq!(scope_of(case(rule.clone()).run(None)).unwrap(), "read");
    for (what, other) in [
        ("caller", ExchangeRule { callers: list(&["other"]), ..rule.clone() }),
        ("from", ExchangeRule { from: list(&["https://x.test"]), ..rule.clone() }),
        ("serves", ExchangeRule { from: Vec::new(), ..rule.clone() }),
        ("to", ExchangeRule { to: list(&["https://x.test"]), ..rule.clone() }),
        ("groups", ExchangeRule { groups: list(&["ops"]), ..rule }),
    ] {
        assert_eq!(case(other).refused(), ExchangeError::NotForCaller, "{what}");
    }
}

/// RFC 8693 §4.1, §4.4: nested, newest outermost; nobody who acted is forgotten; `may_act` is honoured; no loops.
#[test]
fn who_acts_is_named() {
    use ExchangeError as E;
    let first = Case::default().acting().run(None).unwrap();
    let actors = first.facts().exchange.clone().unwrap().actors;
    assert_eq!(act(&actors).unwrap(), json!({ "sub": "gateway", "client_id": "gateway" }));
    let chained = |name: &str| Actor {
        subject: Subject::tagged(name).unwrap(),
        client: ClientId::parse(name).unwrap(),
    };
    let after = |actors: Vec<Actor>| {
        let exchange = Some(Exchange { parent: grant().id(), actors });
        Case { grant: with(GrantFacts { exchange, ..grant().facts().clone() }), ..Case::default() }
    };
    let nested = after(vec![chained("edge")]).acting().run(None).unwrap();
    let actors = nested.facts().exchange.clone().unwrap().actors;
    let expected =
        json!({ "sub": "gateway", "client_id": "gateway", "act": { "sub": "edge", "client_id": "edge" } });
    assert_eq!(act(&actors).unwrap(), expected);
    let impersonated = after(vec![chained("edge")]).run(None).unwrap();
    assert_eq!(impersonated.facts().exchange.clone().unwrap().actors, [chained("edge")]);
    assert_eq!(after(vec![chained("gateway")]).acting().refused(), E::Loop);
    let four: Vec<_> = ["a", "b", "c", "d"].map(chained).to_vec();
    assert_eq!(after(four).acting().refused(), E::TooDeep);
    assert_eq!(Case { depth: DEEPEST, ..Case::default() }.refused(), E::TooDeep);
    assert_eq!(act(&[]), None);
    let may = |name: &str| {
        let token = IssuedToken::Jwt(JwtAccess { may_act: Some(name.to_owned()), ..jwt(GATEWAY) });
        Case { token, ..Case::default() }
    };
    assert!(may("gateway").acting().run(None).is_ok() && may("gateway").run(None).is_ok());
    assert_eq!(may("other").acting().refused(), E::MayAct);
    assert_eq!(may("other").refused(), E::MayAct);
    let mut stolen = Case::default().acting();
    if let Some((_, actor)) = &mut stolen.actor {
        let facts = GrantFacts { client: ClientId::parse("other").unwrap(), ..actor.facts().clone() };
        *actor = Grant::from_stored(actor.id(), facts, GrantState { ..actor.state() });
    }
    assert_eq!(stolen.refused(), E::ActorToken);
}

/// Rules only add: one without scopes adds what the token has, whatever others say.
#[test]
fn rules_add_to_each_other() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let rule = |scopes: Option<&[&str]>| ExchangeRule {
        callers: list(&["gateway"]),
        to: list(&[UPSTREAM]),
        scopes: scopes.map(list),
        ..ExchangeRule::default()
    };
    let given = |rules: Vec<ExchangeRule>| scope_of(Case { rules, ..Case::default() }.run(None)).unwrap();
    assert_eq!(given(vec![rule(Some(&["write"]))]), "write");
    assert_eq!(given(vec![rule(Some(&["write"])), rule(None)]), "read write");
    assert_eq!(given(vec![rule(None)]), "read");
}

/// What the caller has of another person is no actor, whatever that person is called.
#[test]
fn nobody_acts_but_the_caller_itself() {
    let token = || IssuedToken::Jwt(JwtAccess { may_act: Some("gateway".to_owned()), ..jwt(GATEWAY) });
    assert!(Case { token: token(), ..Case::default() }.acting().run(None).is_ok());
    let mut person = Case { token: token(), ..Case::default() }.acting();
    if let Some((_, actor)) = &mut person.actor {
        let facts = GrantFacts { holder: grant().facts().holder.clone(), ..actor.facts().clone() };
        *actor = Grant::from_stored(actor.id(), facts, actor.state());
    }
    assert_eq!(person.refused(), ExchangeError::ActorToken);
}

#[test]
fn parameters() {
    use ExchangeError as E;
    let parse = |query: &str| ExchangeRequest::parse(&Params::parse(query.as_bytes()).unwrap());
    let base = format!("subject_token=s&subject_token_type={ACCESS_TOKEN}");
    let with = |rest: &str| parse(&format!("{base}&{rest}")).map(|request| request.target);
    assert_eq!(with("resource=https://a.test").unwrap(), "https://a.test");
    assert_eq!(with("audience=https://a.test").unwrap(), "https://a.test");
    assert_eq!(with("resource=https://a.test&audience=https://a.test").unwrap(), "https://a.test");
    for (query, error) in [
        ("", E::NoTarget),
        ("resource=https://a.test&audience=https://b.test", E::SeveralTargets),
        ("resource=https://a.test&resource=https://b.test", E::SeveralTargets),
        (
            "resource=https://a.test&requested_token_type=urn:ietf:params:oauth:token-type:id_token",
            E::Type("requested_token_type"),
        ),
        ("resource=https://a.test&actor_token=a", E::Missing("actor_token_type")),
        ("resource=https://a.test&actor_token=a&actor_token_type=x", E::Type("actor_token_type")),
    ] {
        assert_eq!(with(query).unwrap_err(), error, "{query}");
    }
    let actor_type = format!("resource=https://a.test&actor_token_type={ACCESS_TOKEN}");
    assert_eq!(with(&actor_type).unwrap_err(), E::ActorType);
    assert_eq!(parse("resource=https://a.test").unwrap_err(), E::Missing("subject_token"));
    assert_eq!(
        parse("subject_token=s&resource=https://a.test").unwrap_err(),
        E::Missing("subject_token_type")
    );
    let id_token = "subject_token=s&subject_token_type=urn:ietf:params:oauth:token-type:id_token&resource=https://a.test";
    assert_eq!(parse(id_token).unwrap_err(), E::Type("subject_token_type"));
}

#[test]
fn every_reason_has_the_code_of_the_specification() {
    use ExchangeError as E;
    for (error, code) in [
        (E::Missing("x"), "invalid_request"),
        (E::Type("x"), "invalid_request"),
        (E::SubjectToken, "invalid_request"),
        (E::ActorToken, "invalid_request"),
        (E::NotForCaller, "invalid_request"),
        (E::MayAct, "invalid_request"),
        (E::SeveralTargets, "invalid_target"),
        (E::Target, "invalid_target"),
        (E::Denied(Denied::NotAllowed), "invalid_target"),
        (E::Public, "unauthorized_client"),
        (E::Scope, "invalid_scope"),
    ] {
        assert_eq!(TokenError::from(error).code().as_str(), code, "{error}");
    }
}
