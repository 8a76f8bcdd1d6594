//! What a request asks for: scope (RFC 6749 §3.3) and resources (RFC 8707 §2), judged twice: before and after it is known who asks.

use super::RedirectReason;
use crate::claims::SCOPES;
use crate::client::{Client, GrantType};
use crate::params::Params;
use crate::resource::{Asking, Found, Resource, Resources, UnknownResource};
use crate::scope::{Scope, ScopeToken};

/// More resources than one authorization ever names.
const MOST_RESOURCES: usize = 8;

/// Scope and resources of one request.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    asked: Option<Scope>,
    found: Vec<Found>,
    scope: Scope,
}

impl Wanted {
    /// Reads what a request names. What the registry does not know waits for [`settle`](Self::settle).
    pub(crate) fn read(
        params: &Params,
        client: &Client,
        resources: &Resources,
    ) -> Result<Self, RedirectReason> {
        let mut found: Vec<Found> = Vec::new();
        for presented in params.all("resource") {
            let resource = resources.find(presented, client).map_err(RedirectReason::Resource)?;
            if found.iter().all(|known| !known.uri().matches(resource.uri().as_str())) {
                found.push(resource);
            }
            if found.len() > MOST_RESOURCES {
                return Err(RedirectReason::TooLarge);
            }
        }
        Ok(Self::of(params.get("scope").map(Scope::parse), found, client))
    }

    fn of(asked: Option<Scope>, found: Vec<Found>, client: &Client) -> Self {
        let mut wanted = Self { asked, found, scope: Scope::default() };
        wanted.scope = wanted.granted(client);
        wanted
    }

    /// The part of the requested scope that we grant; what we do not know is dropped, never fatal (OpenID Connect Core
    /// §3.1.2.1). Nothing requested, or nothing known, means the default of the resources, or `openid` without one.
    fn granted(&self, client: &Client) -> Scope {
        let known = |token: &ScopeToken| {
            SCOPES.contains(&token.as_str())
                || (token.as_str() == "offline_access" && client.may_use(GrantType::RefreshToken))
                || self.resources().any(|resource| resource.knows(token))
        };
        let granted = self.asked.as_ref().map(|asked| asked.filter(known)).unwrap_or_default();
        if !granted.is_empty() {
            return granted;
        }
        let default: Scope =
            self.resources().flat_map(|resource| &resource.spec().default_scopes).cloned().collect();
        if default.is_empty() { Scope::parse("openid") } else { default }
    }

    /// Judges for the person who asks what the registry does not know; then the scope is final.
    ///
    /// # Errors
    /// [`UnknownResource`].
    pub(crate) fn settle(self, asking: Asking<'_>) -> Result<Self, UnknownResource> {
        if self.is_settled() {
            return Ok(self);
        }
        let mut found: Vec<Found> = Vec::with_capacity(self.found.len());
        for one in self.found {
            let resource = asking.settle(one)?;
            if found.iter().all(|known| known.uri() != resource.uri()) {
                found.push(Found::Listed(resource));
            }
        }
        Ok(Self::of(self.asked, found, asking.client))
    }

    /// Refuses what the registry does not know: for requests of which nobody can tell for whom they are.
    ///
    /// # Errors
    /// [`RedirectReason::Resource`].
    pub(crate) fn listed(self) -> Result<Self, RedirectReason> {
        for found in &self.found {
            if let Found::Unlisted(_, presented) = found {
                return Err(RedirectReason::Resource(UnknownResource(*presented)));
            }
        }
        Ok(self)
    }

    fn is_settled(&self) -> bool {
        self.found.iter().all(|found| matches!(found, Found::Listed(_)))
    }

    /// What will be granted; final once it is settled.
    pub(crate) const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether a scope will be granted in any case, whatever becomes of what the registry does not know.
    pub(crate) fn will_have(&self, token: &str) -> bool {
        self.scope.contains(token)
            && (self.is_settled() || self.asked.as_ref().is_some_and(|asked| asked.contains(token)))
    }

    /// The resources that are known, in the order in which they were named.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.found.iter().filter_map(|found| match found {
            Found::Listed(resource) => Some(resource),
            Found::Unlisted(..) => None,
        })
    }

    /// The resource for which earlier grants may add to the scope: the only one that is named, when the request names a scope
    /// and misses some that the resource knows. With several, nobody could say for which one a scope was granted before.
    pub(crate) fn may_grow(&self) -> Option<&Resource> {
        let mut resources = self.resources();
        let only = resources.next().filter(|_| resources.next().is_none())?;
        let misses = only.spec().scopes.iter().any(|token| !self.scope.contains(token.as_str()));
        (self.asked.is_some() && misses).then_some(only)
    }

    /// Adds what was granted before, so far as the resource still knows it.
    pub(crate) fn with_earlier<'a>(self, earlier: impl IntoIterator<Item = &'a Scope>) -> Self {
        let Some(resource) = self.may_grow() else { return self };
        let more: Vec<ScopeToken> = earlier
            .into_iter()
            .flat_map(|scope| resource.part_of(scope).iter().cloned().collect::<Vec<_>>())
            .collect();
        let scope = self.scope.iter().cloned().chain(more).collect();
        Self { scope, ..self }
    }
}
