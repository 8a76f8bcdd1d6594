//! Protected resources (RFC 8707): what an access token can be asked for, and by whom.
//!
//! Layer 1. A resource exists for us when it stands in the registry of the configuration, by its URI, an alias or a pattern, or when
//! a rule admits it for the person who asks. A request that names any other is `invalid_target`.

pub mod metadata;
mod pattern;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::pattern::{PatternError, ResourcePattern};
use crate::client::Client;
use crate::excerpt::Excerpt;
use crate::identity::Identity;
use crate::jose::Algorithm;
use crate::policy::Policy;
use crate::scope::{Scope, ScopeToken};
use crate::seal::ResourceDigest;
use crate::time::Lifetime;
use crate::uri::ResourceIndicator;

/// What is said of a resource, or of all resources that a pattern names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSpec {
    /// What people call it (RFC 9728 §2, `resource_name`).
    pub name: Option<String>,
    /// The scopes that the resource knows.
    pub scopes: Vec<ScopeToken>,
    /// What a request without scope gets.
    pub default_scopes: Vec<ScopeToken>,
    /// Client ids that may ask for it; `*` is every client, but no workload: those are named by their tags.
    pub clients: Vec<String>,
    /// Client ids and tags (`tag:…`) that *are* the resource: they may introspect its tokens. Named by an administrator only.
    pub servers: Vec<String>,
    /// The client or tag that alone may act for people with its tokens, in an exchange (RFC 8693 §4.4, `may_act`); `None` leaves
    /// that to its servers and the rules.
    pub may_act: Option<String>,
    /// The algorithm of its access tokens.
    pub alg: Algorithm,
    /// How long its access tokens live; `None` is the life of the client's.
    pub access_token: Option<Lifetime>,
}

/// How a resource came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An entry of the registry has its URI.
    Entry,
    /// An entry of the registry has a pattern that it matches.
    Pattern,
    /// A rule admits it for the person who asks.
    Rule,
}

/// One protected resource.
#[derive(Clone, Debug)]
pub struct Resource {
    uri: ResourceIndicator,
    source: Source,
    spec: Arc<ResourceSpec>,
}

impl Resource {
    /// A resource that a rule admits, with the scopes that rules give it. Nobody is in its audience by our word.
    pub(crate) fn of_rule(uri: ResourceIndicator, scopes: Vec<ScopeToken>) -> Self {
        let clients = vec!["*".to_owned()];
        let spec =
            ResourceSpec { default_scopes: scopes.clone(), scopes, clients, ..ResourceSpec::default() };
        Self { uri, source: Source::Rule, spec: Arc::new(spec) }
    }

    /// The indicator, which is also the audience of its tokens: as registered.
    pub const fn uri(&self) -> &ResourceIndicator {
        &self.uri
    }

    /// How it came to be known.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// What is said of it.
    pub fn spec(&self) -> &ResourceSpec {
        &self.spec
    }

    /// Tells whether a client may ask for tokens for this resource.
    pub fn admits(&self, client: &Client) -> bool {
        let any = client.workload().is_none();
        self.spec.clients.iter().any(|id| (any && id == "*") || id == client.id().as_str())
    }

    /// Tells whether a client id or tag is this resource: in the audience of its tokens.
    pub fn is_served_by(&self, name: &str) -> bool {
        self.spec.servers.iter().any(|server| server == name)
    }

    /// Tells whether the resource knows a scope.
    pub fn knows(&self, token: &ScopeToken) -> bool {
        self.spec.scopes.contains(token)
    }

    /// The part of a scope that belongs to this resource: one token is for one resource, with its scopes only.
    pub fn part_of(&self, scope: &Scope) -> Scope {
        scope.filter(|token| self.knows(token))
    }
}

/// By what a resource, or many, are named in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// One resource.
    Exact(ResourceIndicator),
    /// Every resource that matches.
    Pattern(ResourcePattern),
}

impl Name {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match ResourcePattern::parse(text)? {
            Some(pattern) => Ok(Self::Pattern(pattern)),
            None => Ok(Self::Exact(ResourceIndicator::parse(text)?)),
        }
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(uri) => uri.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Which stars the name has: in its host, in its path.
    const fn stars(&self) -> (bool, bool) {
        match self {
            Self::Exact(_) => (false, false),
            Self::Pattern(pattern) => pattern.stars(),
        }
    }

    /// Tells whether one presented indicator could mean either name, so that nobody could say which. An exact name goes before a
    /// pattern, so these two never do.
    fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(ours), Self::Exact(theirs)) => ours.matches(theirs.as_str()),
            (Self::Pattern(ours), Self::Pattern(theirs)) => ours.overlaps(theirs),
            (Self::Exact(_), Self::Pattern(_)) | (Self::Pattern(_), Self::Exact(_)) => false,
        }
    }
}

/// One entry of the registry.
#[derive(Clone, Debug)]
pub struct Entry {
    name: Name,
    aliases: Vec<Name>,
    spec: Arc<ResourceSpec>,
}

/// Why an entry is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The name is neither an indicator nor a pattern.
    #[error("{0}")]
    Name(PatternError),
    /// An alias is neither; which one, counted from 0.
    #[error("{1}")]
    Alias(usize, PatternError),
    /// An alias with other stars than the name: nobody could say which resource it means.
    #[error(
        "must have a * where uri has one, and nowhere else: what it stands for in the alias is put in there"
    )]
    Stars(usize),
    /// An alias that means the entry's own name, or another alias.
    #[error("says the same as uri or another alias")]
    Repeated(usize),
}

impl Entry {
    /// Reads an entry: a name and other names for the same.
    ///
    /// # Errors
    /// [`EntryError`].
    pub fn new(name: &str, aliases: &[String], spec: ResourceSpec) -> Result<Self, EntryError> {
        let mut entry = Self {
            name: Name::parse(name).map_err(EntryError::Name)?,
            aliases: Vec::with_capacity(aliases.len()),
            spec: Arc::new(spec),
        };
        for (index, text) in aliases.iter().enumerate() {
            let alias = Name::parse(text).map_err(|error| EntryError::Alias(index, error))?;
            if alias.stars() != entry.name.stars() {
                return Err(EntryError::Stars(index));
            }
            if entry.names().any(|known| known.clashes(&alias)) {
                return Err(EntryError::Repeated(index));
            }
            entry.aliases.push(alias);
        }
        Ok(entry)
    }

    /// The name.
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The other names.
    pub fn aliases(&self) -> &[Name] {
        &self.aliases
    }

    /// What is said of the resource.
    pub fn spec(&self) -> &ResourceSpec {
        &self.spec
    }

    fn names(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.name).chain(&self.aliases)
    }

    /// A name of this entry and one of another that could both be meant by one indicator.
    pub fn clash<'a>(&'a self, other: &'a Self) -> Option<(&'a Name, &'a Name)> {
        self.names()
            .find_map(|ours| other.names().find(|theirs| ours.clashes(theirs)).map(|theirs| (ours, theirs)))
    }

    fn resource(&self, uri: ResourceIndicator, source: Source) -> Resource {
        Resource { uri, source, spec: Arc::clone(&self.spec) }
    }
}

/// A pattern that may be presented, and the one that says how its resources are spelt.
#[derive(Clone, Debug)]
struct Many {
    presented: ResourcePattern,
    entry: usize,
}

/// The registry: all configured resources.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    entries: Vec<Entry>,
    exact: BTreeMap<String, Resource>,
    aliases: BTreeMap<String, Resource>,
    digests: BTreeMap<ResourceDigest, Resource>,
    patterns: Vec<Many>,
}

/// A request named a resource that is unknown, or not for this client and person: `invalid_target` (RFC 8707 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the resource {0} is not known here, or not open to this client and person; an administrator adds it as a [[resource]], or to the resources of a rule"
)]
pub struct UnknownResource(pub Excerpt);

/// What became of a presented indicator before anybody knew who asks.
#[derive(Clone, Debug)]
pub enum Found {
    /// It stands in the registry, and the client may ask for it.
    Listed(Resource),
    /// It does not: a rule may admit it for the person. The second is how it was presented.
    Unlisted(ResourceIndicator, Excerpt),
}

impl Found {
    /// The indicator, as registered if it is.
    pub const fn uri(&self) -> &ResourceIndicator {
        match self {
            Self::Listed(resource) => resource.uri(),
            Self::Unlisted(uri, _) => uri,
        }
    }
}

impl Resources {
    /// Collects the entries. Of two that clash the first one counts; the configuration refuses such.
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut registry = Self::default();
        for (index, entry) in entries.iter().enumerate() {
            for name in entry.names() {
                match name {
                    Name::Pattern(pattern) => {
                        registry.patterns.push(Many { presented: pattern.clone(), entry: index });
                    }
                    Name::Exact(uri) => registry.add(entry, uri),
                }
            }
        }
        Self { entries, ..registry }
    }

    fn add(&mut self, entry: &Entry, presented: &ResourceIndicator) {
        let Name::Exact(uri) = &entry.name else { return };
        let Some(key) = ResourceIndicator::lookup_key(presented.as_str()) else { return };
        let resource = entry.resource(uri.clone(), Source::Entry);
        if presented == uri {
            self.digests.entry(ResourceDigest::of(uri)).or_insert_with(|| resource.clone());
            self.exact.entry(key).or_insert(resource);
        } else {
            self.aliases.entry(key).or_insert(resource);
        }
    }

    /// Every entry, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The resource that an indicator means, whoever may ask for it: by its URI, else by an alias, else by a pattern.
    pub fn lookup(&self, presented: &str) -> Option<Resource> {
        let key = ResourceIndicator::lookup_key(presented)?;
        let named = self.exact.get(&key).or_else(|| self.aliases.get(&key)).cloned();
        named.or_else(|| self.patterns.iter().find_map(|many| self.filled(many, presented)))
    }

    fn filled(&self, many: &Many, presented: &str) -> Option<Resource> {
        let captured = many.presented.capture(presented)?;
        let entry = self.entries.get(many.entry)?;
        match &entry.name {
            Name::Pattern(pattern) => Some(entry.resource(pattern.fill(&captured)?, Source::Pattern)),
            Name::Exact(_) => None,
        }
    }

    /// The resource of an audience as it stands in a token, whoever may ask for it.
    pub fn of_audience(&self, audience: &str) -> Option<Resource> {
        self.lookup(audience).filter(|resource| resource.uri.as_str() == audience)
    }

    /// Tells whether a client id or tag is any resource here.
    pub fn are_served_by(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.spec.servers.iter().any(|server| server == name))
    }

    /// Tells whether any resource here knows a scope.
    pub fn know(&self, token: &ScopeToken) -> bool {
        self.entries.iter().any(|entry| entry.spec.scopes.contains(token))
    }

    /// The resource that a client means by an indicator, so far as can be told before it is known who asks.
    ///
    /// # Errors
    /// [`UnknownResource`] when it is no indicator, or stands in the registry and is not for this client.
    pub fn find(&self, presented: &str, client: &Client) -> Result<Found, UnknownResource> {
        let unknown = || UnknownResource(Excerpt::of(presented));
        match self.lookup(presented) {
            Some(resource) if resource.admits(client) => Ok(Found::Listed(resource)),
            Some(_) => Err(unknown()),
            None => {
                let uri = ResourceIndicator::canonical(presented);
                uri.map(|uri| Found::Unlisted(uri, Excerpt::of(presented))).map_err(|_| unknown())
            }
        }
    }

    /// The resource of the registry that a client means by an indicator: for whoever is no person.
    ///
    /// # Errors
    /// [`UnknownResource`] when there is none, or it is not for this client.
    pub fn listed(&self, presented: &str, client: &Client) -> Result<Resource, UnknownResource> {
        let found = self.lookup(presented).filter(|resource| resource.admits(client));
        found.ok_or_else(|| UnknownResource(Excerpt::of(presented)))
    }

    /// The resource that a code names by digest, if a client may (still) ask for it.
    ///
    /// # Errors
    /// [`UnknownResource`] when the resource left the configuration, or the client's right did.
    pub fn find_digest(&self, digest: ResourceDigest, client: &Client) -> Result<&Resource, UnknownResource> {
        let same = self.digests.get(&digest);
        let unknown = UnknownResource(Excerpt::of("of this code"));
        same.filter(|resource| resource.admits(client)).ok_or(unknown)
    }
}

/// For whom resources are looked up: what the registry and the rules say now of this client and this person.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The registry.
    pub resources: &'a Resources,
    /// The rules.
    pub policy: &'a Policy,
    /// The client that asks.
    pub client: &'a Client,
    /// The person for whom it asks, by whois of now.
    pub identity: &'a Identity,
}

impl Asking<'_> {
    /// The resource that is meant by a presented indicator.
    ///
    /// # Errors
    /// [`UnknownResource`] when there is none, or it is not for this client and person.
    pub fn find(self, presented: &str) -> Result<Resource, UnknownResource> {
        self.settle(self.resources.find(presented, self.client)?)
    }

    /// What was found before the person was known, judged for the person.
    ///
    /// # Errors
    /// [`UnknownResource`] when no rule admits it.
    pub fn settle(self, found: Found) -> Result<Resource, UnknownResource> {
        match found {
            Found::Listed(resource) => Ok(resource),
            Found::Unlisted(uri, presented) => {
                self.policy.resource(&uri, self.client, self.identity).ok_or(UnknownResource(presented))
            }
        }
    }

    /// The resource with exactly this URI, as it was granted, if it may (still) be asked for.
    ///
    /// # Errors
    /// As [`find`](Self::find), and when the registry or the rules spell it in another way by now.
    pub fn exact(self, granted: &ResourceIndicator) -> Result<Resource, UnknownResource> {
        let unknown = UnknownResource(Excerpt::of(granted.as_str()));
        let resource = self.find(granted.as_str())?;
        if resource.uri == *granted { Ok(resource) } else { Err(unknown) }
    }
}

#[cfg(test)]
pub(crate) mod tests;
