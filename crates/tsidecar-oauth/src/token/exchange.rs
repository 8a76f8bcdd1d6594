//! Token exchange (RFC 8693): a resource server that was called with a person's token gets one for the next service.
//!
//! What comes out never reaches further than what went in: not beyond the subject token's end, not beyond its scopes unless an
//! administrator's rule says which, not beyond the person's and the caller's own rights at the target, and it dies with the grant of
//! the subject token. Without an actor token it is an impersonation, with one a delegation, and its `act` names who acts (§4.1).

use super::TokenError;
use crate::client::{AuthMethod, Client};
use crate::error::ErrorCode;
use crate::fresh::FreshId;
use crate::grant::{Actor, Exchange, Grant, GrantFacts, Holder};
use crate::id::{ClientId, GrantId, Subject};
use crate::identity::Identity;
use crate::issued::IssuedToken;
use crate::params::Params;
use crate::policy::{Denied, Policy};
use crate::requested::RequestedClaims;
use crate::resource::{Resource, Source};
use crate::scope::{Scope, ScopeToken};
use crate::secret::TokenText;
use crate::time::{Lifetime, UnixTime};

/// The one type of tokens that is taken and given (RFC 8693 §3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// So many actors stand behind each other at most, and so many exchanges.
pub const DEEPEST: usize = 4;

/// The parameters of an exchange (RFC 8693 §2.1).
#[derive(Debug)]
pub struct ExchangeRequest {
    /// `subject_token`.
    pub subject_token: TokenText,
    /// `actor_token`, for a delegation.
    pub actor_token: Option<TokenText>,
    /// The one target, by `resource` or `audience`, as presented.
    pub target: String,
    /// `scope`, if the caller names it.
    pub scope: Option<Scope>,
}

/// Why an exchange is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// A required parameter is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A type of token that is not taken or not given.
    #[error("{0} must be urn:ietf:params:oauth:token-type:access_token")]
    Type(&'static str),
    /// `actor_token_type` without `actor_token` (RFC 8693 §2.1).
    #[error("actor_token_type stands without actor_token")]
    ActorType,
    /// Neither `resource` nor `audience`.
    #[error("the request names no target: resource or audience is missing")]
    NoTarget,
    /// More than one target.
    #[error("one token is for one resource: name one resource or audience")]
    SeveralTargets,
    /// A client whose id is no proof.
    #[error("a public client cannot exchange tokens: its id is no proof of who it is")]
    Public,
    /// The subject token is none of ours, has expired, was revoked, or belongs to nobody any more.
    #[error("the subject_token is not valid (any more)")]
    SubjectToken,
    /// An ID token, a refresh token, or a token that a client got for itself.
    #[error("the subject_token is not an access token of a person")]
    NoPerson,
    /// The caller is not the audience of the subject token, and no rule names it.
    #[error(
        "the subject_token is not for this client: it must be one of the resource's servers, or an administrator names it in an [[exchange]] rule"
    )]
    NotForCaller,
    /// The actor token is none of ours, has expired, was revoked, or is not one that the caller got for itself.
    #[error("the actor_token is not a valid access token that this client got for itself")]
    ActorToken,
    /// The subject token says who may act, and it is not this one (RFC 8693 §4.4).
    #[error("the subject_token names another one who may act (may_act)")]
    MayAct,
    /// Too many stand behind each other.
    #[error("at most four exchanges may follow each other")]
    TooDeep,
    /// The actor acts already.
    #[error("this actor acts in the subject_token already")]
    Loop,
    /// The target is unknown, or not open to the caller.
    #[error(
        "the target is not known here, or not open to this client: an administrator adds it as a [[resource]] that names this client in clients, or in an [[exchange]] rule"
    )]
    Target,
    /// The policy does not let the person, or the caller, at the target.
    #[error("{0}")]
    Denied(Denied),
    /// Nothing of what is asked may be given.
    #[error(
        "no such scope may be given for the target: it must be in the subject_token, or in an [[exchange]] rule"
    )]
    Scope,
}

impl ExchangeError {
    /// The code sent to the client (RFC 8693 §2.2.2). One arm per reason, no wildcard.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Missing(_)
            | Self::Type(_)
            | Self::ActorType
            | Self::NoTarget
            | Self::SubjectToken
            | Self::NoPerson
            | Self::NotForCaller
            | Self::ActorToken
            | Self::MayAct
            | Self::TooDeep
            | Self::Loop => ErrorCode::InvalidRequest,
            Self::SeveralTargets | Self::Target | Self::Denied(_) => ErrorCode::InvalidTarget,
            Self::Public => ErrorCode::UnauthorizedClient,
            Self::Scope => ErrorCode::InvalidScope,
        }
    }

    /// Tells whether somebody should look: tokens in the wrong hands.
    pub const fn is_alarming(self) -> bool {
        matches!(self, Self::NotForCaller | Self::ActorToken | Self::MayAct)
    }
}

impl From<ExchangeError> for TokenError {
    fn from(error: ExchangeError) -> Self {
        Self::Exchange(error)
    }
}

impl ExchangeRequest {
    /// Reads the parameters.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub fn parse(params: &Params) -> Result<Self, ExchangeError> {
        let required = |name| params.get(name).ok_or(ExchangeError::Missing(name));
        let subject_token = required("subject_token")?;
        if required("subject_token_type")? != ACCESS_TOKEN {
            return Err(ExchangeError::Type("subject_token_type"));
        }
        if params.get("requested_token_type").is_some_and(|requested| requested != ACCESS_TOKEN) {
            return Err(ExchangeError::Type("requested_token_type"));
        }
        let actor_token = match (params.get("actor_token"), params.get("actor_token_type")) {
            (None, None) => None,
            (None, Some(_)) => return Err(ExchangeError::ActorType),
            (Some(_), None) => return Err(ExchangeError::Missing("actor_token_type")),
            (Some(token), Some(ACCESS_TOKEN)) => Some(TokenText::new(token.to_owned())),
            (Some(_), Some(_)) => return Err(ExchangeError::Type("actor_token_type")),
        };
        let mut targets: Vec<&str> = params.all("resource").chain(params.all("audience")).collect();
        targets.dedup();
        let target = match targets.as_slice() {
            [] => return Err(ExchangeError::NoTarget),
            [one] => (*one).to_owned(),
            [_, _, ..] => return Err(ExchangeError::SeveralTargets),
        };
        Ok(Self {
            subject_token: TokenText::new(subject_token.to_owned()),
            actor_token,
            target,
            scope: params.get("scope").map(Scope::parse),
        })
    }
}

/// A rule of an administrator (`[[exchange]]`): these callers may turn tokens for these audiences into tokens for these resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeRule {
    /// Client ids and tags that may exchange.
    pub callers: Vec<String>,
    /// The audiences of subject tokens: resources, or the clients of tokens without one. Empty: those that the caller serves.
    pub from: Vec<String>,
    /// The resources for which tokens are given, as registered.
    pub to: Vec<String>,
    /// Login names for whom the rule holds, or `*`; empty is everybody.
    pub users: Vec<String>,
    /// Groups for whom the rule holds; empty is everybody.
    pub groups: Vec<String>,
    /// The scopes that may be given; `None` is what the subject token has.
    pub scopes: Option<Vec<String>>,
}

impl ExchangeRule {
    fn holds(
        &self,
        caller: &str,
        audience: &str,
        serves: bool,
        target: &str,
        person: (&Identity, &[String]),
    ) -> bool {
        let (identity, groups) = person;
        let names = |list: &[String], name: &str| list.iter().any(|known| known == name);
        let everybody = self.users.is_empty() && self.groups.is_empty();
        let is_user =
            names(&self.users, "*") || (!identity.login.is_empty() && names(&self.users, &identity.login));
        names(&self.callers, caller)
            && (names(&self.from, audience) || (self.from.is_empty() && serves))
            && names(&self.to, target)
            && (everybody || is_user || groups.iter().any(|group| names(&self.groups, group)))
    }
}

/// An access token of ours whose grant, and all that it came out of, is alive.
#[derive(Clone, Copy, Debug)]
pub struct LivingToken<'a> {
    /// The token.
    pub token: &'a IssuedToken,
    /// Its grant.
    pub grant: &'a Grant,
}

impl<'a> LivingToken<'a> {
    /// The token, if it is an access token that has not expired. `alive` tells that the grant and its ancestors were not
    /// revoked, and that their clients exist.
    pub fn new(token: &'a IssuedToken, grant: Option<&'a Grant>, alive: bool, now: UnixTime) -> Option<Self> {
        let this = Self { token, grant: grant? };
        let expires_at = this.expires_at()?;
        (alive && !expires_at.is_past(now)).then_some(this)
    }

    fn expires_at(&self) -> Option<UnixTime> {
        match self.token {
            IssuedToken::Opaque(access) => Some(access.expires_at),
            IssuedToken::Jwt(access) => Some(access.expires_at),
            IssuedToken::Refresh(_) => None,
        }
    }

    /// For whom the token is: its resource, or without one its client.
    fn audience(&self) -> &'a str {
        match self.token {
            IssuedToken::Jwt(access) => &access.audience,
            IssuedToken::Opaque(_) | IssuedToken::Refresh(_) => self.grant.facts().client.as_str(),
        }
    }

    fn scope(&self) -> &'a Scope {
        match self.token {
            IssuedToken::Opaque(access) => &access.scope,
            IssuedToken::Jwt(access) => &access.scope,
            IssuedToken::Refresh(_) => &self.grant.facts().scope,
        }
    }

    fn may_act(&self) -> Option<&'a str> {
        match self.token {
            IssuedToken::Jwt(access) => access.may_act.as_deref(),
            IssuedToken::Opaque(_) | IssuedToken::Refresh(_) => None,
        }
    }
}

/// Who exchanges: a client that authenticated, or a tagged node by whois.
#[derive(Clone, Copy, Debug)]
pub struct Exchanger<'a> {
    /// Its client id, or its tag.
    pub id: &'a ClientId,
    /// What is known of the client; `None` for a tag.
    pub client: Option<&'a Client>,
    /// How it authenticated; a tag by nothing that it sent.
    pub method: AuthMethod,
}

/// Everything that an exchange is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Who asks.
    pub caller: Exchanger<'a>,
    /// The subject token.
    pub subject: LivingToken<'a>,
    /// The resource of the subject token; `None` for one without, or when it left the configuration.
    pub source: Option<&'a Resource>,
    /// The actor token.
    pub actor: Option<LivingToken<'a>>,
    /// The resource that is named as the target, if it is known and the caller may ask for it at all.
    pub target: Option<&'a Resource>,
    /// The person, as whois says now.
    pub identity: &'a Identity,
    /// The policy of now.
    pub policy: &'a Policy,
    /// The rules of the administrator.
    pub rules: &'a [ExchangeRule],
    /// What came out of an exchange may go into another one: how many lie behind the subject token.
    pub depth: usize,
    /// The time.
    pub now: UnixTime,
}

/// Judges an exchange and makes the draft of its grant.
///
/// # Errors
/// [`ExchangeError`].
pub fn exchange(basis: &Basis<'_>, asked: Option<&Scope>, fresh: FreshId) -> Result<Grant, ExchangeError> {
    let Basis { caller, subject, identity, policy, now, .. } = *basis;
    let facts = subject.grant.facts();
    let Holder::Person(_) = &facts.holder else { return Err(ExchangeError::NoPerson) };
    if !facts.is_of(identity) {
        return Err(ExchangeError::SubjectToken);
    }
    if basis.depth >= DEEPEST {
        return Err(ExchangeError::TooDeep);
    }
    let target = basis.target.ok_or(ExchangeError::Target)?;
    let right = right(basis, target)?;
    let actors = actors(basis)?;
    if let Some(client) = caller.client {
        policy.admit(client, identity).map_err(ExchangeError::Denied)?;
    }
    // Whatever else is open: a caller that may have some scopes only gets no others, for itself or for people.
    let open = |token: &ScopeToken| {
        right.opens(token, subject.scope()) && caller.client.is_none_or(|client| client.may_have(token))
    };
    let scope = given_scope(target, open, asked)?;
    let ends = [subject.expires_at(), basis.actor.and_then(|actor| actor.expires_at())];
    let own = now.after(life(target, caller.client));
    let expires_at = ends.into_iter().flatten().fold(own, UnixTime::min);
    let draft = GrantFacts {
        client: caller.id.clone(),
        subject: facts.subject.clone(),
        holder: facts.holder.clone(),
        // The consent that the subject token rests on is its own grant's.
        consented: false,
        exchange: Some(Exchange { parent: subject.grant.id(), actors }),
        scope,
        resources: vec![target.uri().clone()],
        auth_time: facts.auth_time,
        acr: facts.acr,
        session: None,
        requested: RequestedClaims::default(),
        key: None,
        issued_at: now,
        method: caller.method,
        place: None,
        expires_at,
        idle: None,
    };
    // Among the caller's grants, not the person's: a busy gateway makes thousands, and whoever looks through a person's grants need
    // not look through these. They fall with their parent, which is among them.
    Ok(Grant::new(GrantId::new(&Subject::client(caller.id), fresh), draft, now))
}

/// What lets a caller exchange at all.
struct Right<'a> {
    /// What rules say may be given.
    named: Vec<&'a str>,
    /// Whether what the subject token has may be given.
    held: bool,
}

impl Right<'_> {
    fn opens(&self, token: &ScopeToken, held: &Scope) -> bool {
        self.named.contains(&token.as_str()) || (self.held && held.contains(token.as_str()))
    }
}

/// A rule that names everything, or: the caller is the resource that the subject token is for, and the target names the caller. That
/// everybody may ask a target for themselves does not let every server ask it for others.
fn right<'a>(basis: &Basis<'a>, target: &Resource) -> Result<Right<'a>, ExchangeError> {
    let (caller, audience) = (basis.caller.id.as_str(), basis.subject.audience());
    let serves = basis.source.is_some_and(|source| source.is_served_by(caller));
    let groups = basis.policy.groups(basis.caller.id, basis.identity);
    let person = (basis.identity, groups.as_slice());
    let holding = |rule: &&ExchangeRule| rule.holds(caller, audience, serves, target.uri().as_str(), person);
    let rules: Vec<_> = basis.rules.iter().filter(holding).collect();
    if !rules.is_empty() {
        // Rules only add; one without scopes adds what the token has.
        let named = rules.iter().filter_map(|rule| rule.scopes.as_deref()).flatten();
        let held = rules.iter().any(|rule| rule.scopes.is_none());
        return Ok(Right { named: named.map(String::as_str).collect(), held });
    }
    if !serves {
        return Err(ExchangeError::NotForCaller);
    }
    // A rule that admits the target for the person, as at tsidp, is a word for this person and this target.
    let is_named = target.source() == Source::Rule || target.spec().clients.iter().any(|id| id == caller);
    if !is_named {
        return Err(ExchangeError::Target);
    }
    Ok(Right { named: Vec::new(), held: true })
}

/// Who acts afterwards: the actor before all that acted already; without an actor token nobody new, and nobody is forgotten.
fn actors(basis: &Basis<'_>) -> Result<Vec<Actor>, ExchangeError> {
    let before = basis.subject.grant.facts().exchange.as_ref().map_or(&[][..], |exchange| &exchange.actors);
    let acting = match basis.actor {
        None => None,
        Some(actor) => {
            let facts = actor.grant.facts();
            // What the caller has of another person is nobody who could act for this one.
            let is_own = !matches!(facts.holder, Holder::Person(_)) && facts.client == *basis.caller.id;
            if !is_own {
                return Err(ExchangeError::ActorToken);
            }
            Some(Actor { subject: facts.subject.clone(), client: facts.client.clone() })
        }
    };
    if let Some(named) = basis.subject.may_act() {
        // Whoever acts is the caller, with a token of its own or without one.
        if basis.caller.id.as_str() != named {
            return Err(ExchangeError::MayAct);
        }
    }
    let Some(actor) = acting else { return Ok(before.to_vec()) };
    if before.contains(&actor) {
        return Err(ExchangeError::Loop);
    }
    if before.len() >= DEEPEST {
        return Err(ExchangeError::TooDeep);
    }
    Ok([actor].into_iter().chain(before.iter().cloned()).collect())
}

/// The scope of the result: what the target knows of what may be given, and of that what is asked. What nobody here knows is dropped,
/// as everywhere; what the target knows and may not be given is refused (RFC 8693 §2.2.2).
fn given_scope(
    target: &Resource,
    open: impl Fn(&ScopeToken) -> bool,
    asked: Option<&Scope>,
) -> Result<Scope, ExchangeError> {
    let open: Scope = target.spec().scopes.iter().filter(|token| open(token)).cloned().collect();
    let given = match asked.map(|asked| target.part_of(asked)) {
        Some(known) if !known.is_subset_of(&open) => return Err(ExchangeError::Scope),
        Some(known) if !known.is_empty() => known,
        Some(_) | None => open,
    };
    if given.is_empty() && !target.spec().scopes.is_empty() { Err(ExchangeError::Scope) } else { Ok(given) }
}

/// The life of the result, before anything else ends it: the resource's own, else the client's.
fn life(target: &Resource, caller: Option<&Client>) -> Lifetime {
    let of_client = || caller.map_or(crate::client::Lives::default(), Client::lives).access_token;
    target.spec().access_token.unwrap_or_else(of_client)
}

/// `may_act` as a token says it (RFC 8693 §4.4).
pub fn may_act(subject: &str) -> serde_json::Value {
    serde_json::json!({ "sub": subject })
}

/// `act` as a token says it: nested, the one who acts now outermost (RFC 8693 §4.1).
pub fn act(actors: &[Actor]) -> Option<serde_json::Value> {
    actors.iter().rev().fold(None, |inner, Actor { subject, client }| {
        let mut act = serde_json::json!({ "sub": subject, "client_id": client });
        if let (Some(members), Some(inner)) = (act.as_object_mut(), inner) {
            members.insert("act".to_owned(), inner);
        }
        Some(act)
    })
}

#[cfg(test)]
mod tests;
