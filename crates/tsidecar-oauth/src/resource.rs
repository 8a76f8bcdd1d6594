//! Protected resources (RFC 8707): what an access token can be asked for, and by whom.
//!
//! Layer 1. A resource without configuration does not exist for us; a request that names one is `invalid_target`.

use crate::client::Client;
use crate::jose::Algorithm;
use crate::scope::{Scope, ScopeToken};
use crate::seal::ResourceDigest;
use crate::time::Lifetime;
use crate::uri::ResourceIndicator;

/// One protected resource, as an administrator configured it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The indicator, which is also the audience of its tokens, as spelt here.
    pub uri: ResourceIndicator,
    /// The scopes that the resource knows.
    pub scopes: Vec<ScopeToken>,
    /// What a request without scope gets.
    pub default_scopes: Vec<ScopeToken>,
    /// Client ids that may ask for it; `*` is every client.
    pub clients: Vec<String>,
    /// Client ids and tags (`tag:…`) that *are* the resource: they may introspect its tokens. Named by an administrator only.
    pub servers: Vec<String>,
    /// The algorithm of its access tokens.
    pub alg: Algorithm,
    /// How long its access tokens live; `None` is the life of the client's.
    pub access_token: Option<Lifetime>,
}

impl Resource {
    /// Tells whether a client may ask for tokens for this resource.
    pub fn admits(&self, client: &Client) -> bool {
        self.clients.iter().any(|id| id == "*" || id == client.id().as_str())
    }

    /// Tells whether a client id or tag is this resource: in the audience of its tokens.
    pub fn is_served_by(&self, name: &str) -> bool {
        self.servers.iter().any(|server| server == name)
    }

    /// Tells whether the resource knows a scope.
    pub fn knows(&self, token: &ScopeToken) -> bool {
        self.scopes.contains(token)
    }

    /// The part of a scope that belongs to this resource: one token is for one resource, with its scopes only.
    pub fn part_of(&self, scope: &Scope) -> Scope {
        scope.filter(|token| self.knows(token))
    }
}

/// All configured resources.
#[derive(Clone, Debug, Default)]
pub struct Resources(Vec<Resource>);

/// A request named a resource that is unknown, or not for this client: `invalid_target` (RFC 8707 §2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the resource is not known here, or not open to this client; an administrator adds it as a [[resource]]"
)]
pub struct UnknownResource;

impl Resources {
    /// Collects the configured resources.
    pub fn new(resources: Vec<Resource>) -> Self {
        Self(resources)
    }

    /// Every resource, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    /// The resource of an audience, whoever may ask for it.
    pub fn of_audience(&self, audience: &str) -> Option<&Resource> {
        self.0.iter().find(|resource| resource.uri.as_str() == audience)
    }

    /// Tells whether a client id or tag is any resource here.
    pub fn are_served_by(&self, name: &str) -> bool {
        self.0.iter().any(|resource| resource.is_served_by(name))
    }

    /// The resource that a client means by an indicator.
    ///
    /// # Errors
    /// [`UnknownResource`] when there is none, or it is not for this client.
    pub fn find(&self, presented: &str, client: &Client) -> Result<&Resource, UnknownResource> {
        let meant = self.0.iter().find(|resource| resource.uri.matches(presented));
        meant.filter(|resource| resource.admits(client)).ok_or(UnknownResource)
    }

    /// The resource with exactly this indicator, if a client may (still) ask for it.
    pub fn exact(&self, uri: &ResourceIndicator, client: &Client) -> Result<&Resource, UnknownResource> {
        let same = self.0.iter().find(|resource| resource.uri == *uri);
        same.filter(|resource| resource.admits(client)).ok_or(UnknownResource)
    }

    /// The resource that a code names by digest, if a client may (still) ask for it.
    ///
    /// # Errors
    /// [`UnknownResource`] when the resource left the configuration, or the client's right did.
    pub fn find_digest(&self, digest: ResourceDigest, client: &Client) -> Result<&Resource, UnknownResource> {
        let same = self.0.iter().find(|resource| ResourceDigest::of(&resource.uri) == digest);
        same.filter(|resource| resource.admits(client)).ok_or(UnknownResource)
    }
}
