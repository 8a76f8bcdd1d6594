//! The client credentials grant (RFC 6749 §4.4): a client that asks for itself, or a tagged node that is its own credential. Nobody
//! is there, so there is no ID token and no refresh token.

use super::{ClientCredentialsRequest, TokenError};
use crate::acr::Acr;
use crate::client::{AuthMethod, Client, GrantType};
use crate::client_auth::AuthenticatedClient;
use crate::fresh::FreshId;
use crate::grant::{Grant, GrantFacts, Holder};
use crate::id::{GrantId, Subject};
use crate::requested::RequestedClaims;
use crate::resource::{Resource, Resources};
use crate::scope::Scope;
use crate::time::UnixTime;

/// Makes the grant of a client for itself, with the resource that its one token is for.
///
/// The first resource that is named counts, and every one must be open to the client (RFC 8707 §2). Of the scope only what that
/// resource knows is granted; the scopes of OpenID Connect are about people and are dropped like unknown ones. The grant lives as
/// long as its token. A workload names a resource: without one its token would be for nobody.
///
/// # Errors
/// [`TokenError::GrantTypeNotAllowed`] for whoever proves nothing, or was not written down by an administrator;
/// [`TokenError::Resource`], [`TokenError::ResourceMissing`].
pub fn draft(
    request: &ClientCredentialsRequest,
    client: &AuthenticatedClient,
    resources: &Resources,
    fresh: FreshId,
    now: UnixTime,
) -> Result<(Grant, Option<Resource>), TokenError> {
    let (method, seen, client) = (client.method(), client.seen().cloned(), client.client());
    // Nobody approves such a token: whoever wrote the client down did (SEP-1046: pre-registered clients only).
    let may = client.may_use(GrantType::ClientCredentials) && client.is_by_administrator();
    if !may || method == AuthMethod::None {
        return Err(TokenError::GrantTypeNotAllowed);
    }
    let found = request.resources.iter().map(|presented| resources.listed(presented, client));
    let found = found.collect::<Result<Vec<_>, _>>().map_err(TokenError::Resource)?;
    let resource = found.into_iter().next();
    if seen.is_some() && resource.is_none() {
        return Err(TokenError::ResourceMissing);
    }
    let of_resource = resource.as_ref().and_then(|resource| resource.spec().access_token);
    let life = of_resource.unwrap_or(client.lives().access_token);
    let subject = Subject::client(client.id());
    let facts = GrantFacts {
        client: client.id().clone(),
        subject: subject.clone(),
        holder: seen.map_or(Holder::Client, Holder::Workload),
        consented: false,
        exchange: None,
        scope: scope(request.scope.as_ref(), client, resource.as_ref()),
        resources: resource.iter().map(|resource| resource.uri().clone()).collect(),
        // Of nobody: no token says them.
        auth_time: now,
        acr: Acr::default(),
        session: None,
        requested: RequestedClaims::default(),
        key: None,
        issued_at: now,
        method,
        place: None,
        expires_at: now.after(life),
        idle: None,
    };
    Ok((Grant::new(GrantId::new(&subject, fresh), facts, now), resource))
}

/// What the resource knows of the requested scope; its default when nothing is left, as at authorization. Only what the client may
/// have at all.
fn scope(requested: Option<&Scope>, client: &Client, resource: Option<&Resource>) -> Scope {
    let Some(resource) = resource else { return Scope::default() };
    let known = requested.map(|scope| resource.part_of(scope)).filter(|known| !known.is_empty());
    let scope = known.unwrap_or_else(|| resource.spec().default_scopes.iter().cloned().collect());
    scope.filter(|token| client.may_have(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorize::tests::resources;
    use crate::client::tests::{confidential, public};
    use crate::client::{ClientError, ClientSpec};
    use crate::client_auth::tests::{authenticated, authenticated_as};
    use crate::excerpt::Excerpt;
    use crate::id::Listener;
    use crate::provenance::{Registrar, Registration};
    use crate::resource::{Entry, ResourceSpec, UnknownResource};
    use crate::settle::tests::at;
    use crate::workload::WorkloadRule;
    use crate::workload::tests::{node, rule, workloads};

    fn robot() -> ClientSpec {
        ClientSpec {
            grant_types: vec![GrantType::ClientCredentials],
            redirect_uris: Vec::new(),
            ..confidential()
        }
    }

    fn ask(spec: ClientSpec, scope: Option<&str>, named: &[&str]) -> Result<Grant, TokenError> {
        ask_as(&authenticated(spec), &resources(), scope, named)
    }

    fn ask_as(
        client: &AuthenticatedClient,
        resources: &Resources,
        scope: Option<&str>,
        named: &[&str],
    ) -> Result<Grant, TokenError> {
        let request = ClientCredentialsRequest {
            scope: scope.map(Scope::parse),
            resources: named.iter().map(|uri| (*uri).to_owned()).collect(),
        };
        let fresh = FreshId::from_bytes([1; 16]);
        let made = draft(&request, client, resources, fresh, at(1_000));
        made.map(|(grant, resource)| {
            let uris = resource.iter().map(|resource| resource.uri().clone()).collect::<Vec<_>>();
            assert_eq!(grant.facts().resources, uris, "one token, one resource");
            grant
        })
    }

    #[test]
    fn a_client_is_its_own_subject() {
        let grant = ask(robot(), None, &[]).unwrap();
        let facts = grant.facts();
        assert_eq!((facts.subject.as_str(), &facts.holder), ("grafana", &Holder::Client));
        assert_eq!((facts.authentication(), facts.seen(), facts.idle), (None, None, None));
        assert_eq!((facts.method, facts.expires_at), (AuthMethod::ClientSecretBasic, at(1_600)));
        assert_eq!(grant.id().as_bytes().get(..8), Some(&GrantId::range(&facts.subject)[..]));
    }

    /// A45: one resource, with its scopes alone; what is about people is dropped.
    #[test]
    fn the_scope_is_of_the_resource() {
        let mcp = "https://mcp.test/mcp";
        let granted = |scope, named: &[&str]| ask(robot(), scope, named).unwrap().facts().scope.to_string();
        assert_eq!(granted(Some("openid email offline_access write read foo"), &[mcp]), "write read");
        assert_eq!(granted(None, &[mcp]), "read", "its default");
        assert_eq!(granted(Some("openid foo"), &[mcp]), "read");
        assert_eq!(granted(Some("openid read"), &[]), "");
        let unknown = |uri: &str| Err(TokenError::Resource(UnknownResource(Excerpt::of(uri))));
        let other = "https://other.test";
        assert_eq!(ask(robot(), None, &[other]), unknown(other));
        assert_eq!(ask(robot(), None, &[mcp, other]), unknown(other));
        // A rule admits resources for people; nobody is here.
        assert_eq!(ask(robot(), None, &["https://unlisted.test"]), unknown("https://unlisted.test"));
    }

    #[test]
    fn who_proves_nothing_gets_nothing() {
        let types = vec![GrantType::AuthorizationCode, GrantType::ClientCredentials];
        let public = ClientSpec { grant_types: types, ..public() };
        assert_eq!(Client::new(public, at(0)).unwrap_err(), ClientError::PublicCredentials);
        assert_eq!(ask(confidential(), None, &[]), Err(TokenError::GrantTypeNotAllowed));
        // SEP-1046: a client that registered itself is nobody whom an administrator has let in, whatever it asked for.
        let registration = Registration { by: Registrar::Outside, at: at(0) };
        let registered = authenticated_as(Client::registered(robot(), registration).unwrap());
        assert_eq!(ask_as(&registered, &resources(), None, &[]), Err(TokenError::GrantTypeNotAllowed));
    }

    /// A workload is held to its node, to resources that name its tag, and to the scopes of its rule.
    #[test]
    fn a_tagged_node_asks_for_itself() {
        let (mcp, ci) = ("https://mcp.test/mcp", node("nCI", &["tag:ci"]));
        let only =
            WorkloadRule { scopes: Some(Scope::parse("read").iter().cloned().collect()), ..rule("tag:ci") };
        let all = workloads([only]);
        let host = Listener::host();
        let place = ("100.64.0.4".parse().unwrap(), &host);
        let client = AuthenticatedClient::workload(&all, Some(&ci), None, place).unwrap();
        let naming = |clients: &[&str]| {
            let scopes: Vec<_> = Scope::parse("read write").iter().cloned().collect();
            let clients = clients.iter().map(|id| (*id).to_owned()).collect();
            let spec =
                ResourceSpec { default_scopes: scopes.clone(), scopes, clients, ..ResourceSpec::default() };
            Resources::new(vec![Entry::new(mcp, &[], spec).unwrap()])
        };
        let named = naming(&["*", "tag:ci"]);
        let grant = ask_as(&client, &named, Some("read write"), &[mcp]).unwrap();
        let facts = grant.facts();
        assert_eq!((facts.subject.as_str(), facts.client.as_str()), ("tag:ci", "tag:ci"));
        assert_eq!((facts.scope.to_string().as_str(), facts.method), ("read", AuthMethod::Tailnet));
        assert!(matches!(&facts.holder, Holder::Workload(seen) if seen.device == ci.device.id));
        assert_eq!(facts.authentication(), None);
        assert_eq!(ask_as(&client, &named, None, &[]), Err(TokenError::ResourceMissing));
        for others in [&["*"][..], &[], &["tag:other"]] {
            let refused = TokenError::Resource(UnknownResource(Excerpt::of(mcp)));
            assert_eq!(ask_as(&client, &naming(others), None, &[mcp]), Err(refused), "{others:?}");
        }
    }
}
