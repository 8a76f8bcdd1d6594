//! `grant_type=urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693).

use tsidecar_oauth::client::AuthMethod;
use tsidecar_oauth::grant::{Grant, Holder};
use tsidecar_oauth::id::Thumbprint;
use tsidecar_oauth::issued::IssuedToken;
use tsidecar_oauth::resource::{Asking, Resource};
use tsidecar_oauth::secret::TokenText;
use tsidecar_oauth::token::answer::Keys;
use tsidecar_oauth::token::exchange::{
    Basis, ExchangeError, ExchangeRequest, Exchanger, LivingToken, exchange,
};

use super::{Asked, Granted};
use crate::client_auth::Shown;
use crate::entropy;
use crate::failure::Failure;
use crate::lineage;
use crate::store::Intent;

/// A token that was shown, with its grant.
struct Found {
    token: IssuedToken,
    grant: Option<Grant>,
    /// How many exchanges lie behind it, while all of them stand.
    depth: Option<usize>,
}

impl Asked<'_> {
    /// Gives a resource server a token for the next service.
    pub(super) async fn exchange(
        &self,
        request: &ExchangeRequest,
        key: Option<Thumbprint>,
        shown: &mut Shown,
        intent: Intent,
    ) -> Result<Granted, Failure> {
        if self.client.method() == AuthMethod::None {
            return Err(self.refuse(ExchangeError::Public.into()));
        }
        let subject = self.find(&request.subject_token, ExchangeError::SubjectToken).await?;
        let actor = match &request.actor_token {
            Some(token) => Some(self.find(token, ExchangeError::ActorToken).await?),
            None => None,
        };
        let refuse = |error: ExchangeError| match &subject.grant {
            Some(grant) => self.refuse_of(Some((grant.id(), &grant.facts().subject)), error.into()),
            None => self.refuse(error.into()),
        };
        let living = self.living(&subject).ok_or_else(|| refuse(ExchangeError::SubjectToken))?;
        let acting = match &actor {
            Some(found) => Some(self.living(found).ok_or_else(|| refuse(ExchangeError::ActorToken))?),
            None => None,
        };
        let Holder::Person(seen) = &living.grant.facts().holder else {
            return Err(refuse(ExchangeError::NoPerson));
        };
        let identity = self.identify(seen.address, &seen.listener).await?;
        let source = self.source(&subject.token);
        let asking = Asking {
            resources: &self.snapshot.resources,
            policy: &self.snapshot.policy,
            client: self.client.client(),
            identity: &identity,
        };
        // Whoever may ask for it; one that stands in no registry, if a rule admits it for the person.
        let listed = self.snapshot.resources.lookup(&request.target);
        let target = listed.or_else(|| asking.find(&request.target).ok());
        let basis = Basis {
            caller: Exchanger {
                id: self.client.client().id(),
                client: Some(self.client.client()),
                method: self.client.method(),
            },
            subject: living,
            source: source.as_ref(),
            actor: acting,
            target: target.as_ref(),
            identity: &identity,
            policy: &self.snapshot.policy,
            rules: &self.snapshot.config().exchanges,
            depth: subject.depth.unwrap_or_default(),
            now: self.now,
        };
        let grant = exchange(&basis, request.scope.as_ref(), entropy::id()).map_err(refuse)?;
        self.write(&grant, shown, intent).await?;
        Ok(Granted::new(grant, target, Some(identity), key))
    }

    /// The resource that a subject token is for.
    fn source(&self, token: &IssuedToken) -> Option<Resource> {
        match token {
            IssuedToken::Jwt(access) => self.snapshot.resources.of_audience(&access.audience),
            IssuedToken::Opaque(_) | IssuedToken::Refresh(_) => None,
        }
    }

    /// Reads a token of ours and looks up what it stands on; everything else is refused.
    async fn find(&self, token: &TokenText, otherwise: ExchangeError) -> Result<Found, Failure> {
        let keys = Keys {
            issuer: &self.snapshot.issuer,
            signing: &self.snapshot.signing,
            sealing: &self.snapshot.sealing,
        };
        let token = IssuedToken::read(token, keys).ok_or_else(|| self.refuse(otherwise.into()))?;
        let grant = self.app.store.grant(token.grant())?;
        let depth = match &grant {
            Some(grant) => lineage::stands(self.app, self.snapshot, grant).await?.ok(),
            None => None,
        };
        Ok(Found { token, grant, depth })
    }

    fn living<'f>(&self, found: &'f Found) -> Option<LivingToken<'f>> {
        LivingToken::new(&found.token, found.grant.as_ref(), found.depth.is_some(), self.now)
    }
}
