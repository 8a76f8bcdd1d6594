//! `/admin/resources`: what access tokens can be asked for, and what a resource server has to publish.

use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tsidecar_oauth::discovery::JWKS;
use tsidecar_oauth::resource::metadata::{ResourceMetadata, challenge, well_known};
use tsidecar_oauth::resource::{Entry, Name, Source};
use tsidecar_oauth::scope::ScopeToken;

use super::answer;
use super::error::AdminError;
use crate::snapshot::Snapshot;
use crate::web::response::Answer;

/// What all paths here begin with.
pub(super) const PATH: &str = "/admin/resources";

/// A resource, or a pattern of resources, as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceAnswer {
    /// The URI, or the pattern.
    pub uri: String,
    /// Whether it is a pattern.
    pub pattern: bool,
    /// What people call it.
    pub name: Option<String>,
    /// Other URIs that mean it.
    pub aliases: Vec<String>,
    /// Its scopes.
    pub scopes: Vec<String>,
    /// What a request without scope gets.
    pub default_scopes: Vec<String>,
    /// Who may ask for it.
    pub clients: Vec<String>,
    /// Who is it.
    pub servers: Vec<String>,
}

impl From<&Entry> for ResourceAnswer {
    fn from(entry: &Entry) -> Self {
        let (spec, texts) =
            (entry.spec(), |tokens: &[ScopeToken]| tokens.iter().map(ToString::to_string).collect());
        Self {
            uri: entry.name().as_str().to_owned(),
            pattern: matches!(entry.name(), Name::Pattern(_)),
            name: spec.name.clone(),
            aliases: entry.aliases().iter().map(|alias| alias.as_str().to_owned()).collect(),
            scopes: texts(&spec.scopes),
            default_scopes: texts(&spec.default_scopes),
            clients: spec.clients.clone(),
            servers: spec.servers.clone(),
        }
    }
}

/// The answer to `GET /admin/resources`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourcesAnswer {
    /// Every entry of the registry, in its order.
    pub resources: Vec<ResourceAnswer>,
}

/// The answer to `GET /admin/resources/metadata`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MetadataAnswer {
    /// The document (RFC 9728 §2).
    pub metadata: Value,
    /// The resource, as registered.
    pub resource: String,
    /// Whether a pattern knows it.
    pub by_pattern: bool,
    /// Where the resource server serves the document.
    pub well_known: String,
    /// What it says in `WWW-Authenticate`.
    pub challenge: String,
    /// The issuer of its tokens.
    pub issuer: String,
    /// Where their keys are.
    pub jwks_uri: String,
    /// Scopes that clients get only when they ask for them.
    pub more_scopes: Vec<String>,
}

/// Answers for `/admin/resources` followed by `rest`.
pub(super) fn route<B>(snapshot: &Snapshot, rest: &str, request: &Request<B>) -> Result<Answer, AdminError> {
    if !matches!(rest, "" | "/metadata") {
        return Err(AdminError::NoPath);
    }
    if request.method() != Method::GET {
        return Err(AdminError::Method("GET"));
    }
    if rest.is_empty() {
        let resources = snapshot.resources.iter().map(ResourceAnswer::from).collect();
        return answer(StatusCode::OK, &ResourcesAnswer { resources });
    }
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let named = pairs.find(|(name, _)| name == "resource").map(|(_, value)| value);
    let named = named.ok_or_else(|| AdminError::Invalid("resource is missing".to_owned()))?;
    answer(StatusCode::OK, &metadata(snapshot, &named)?)
}

fn metadata(snapshot: &Snapshot, named: &str) -> Result<MetadataAnswer, AdminError> {
    let resource =
        snapshot.resources.lookup(named).ok_or_else(|| AdminError::NoResource(named.to_owned()))?;
    let not_served = || {
        AdminError::Invalid(format!(
            "{} is no URL, so no server can publish metadata for it",
            resource.uri().as_str()
        ))
    };
    let document = ResourceMetadata::new(&resource, &snapshot.issuer);
    let spec = resource.spec();
    let more = spec.scopes.iter().filter(|scope| !spec.default_scopes.contains(scope));
    Ok(MetadataAnswer {
        metadata: serde_json::to_value(document).map_err(|error| AdminError::Invalid(error.to_string()))?,
        resource: resource.uri().as_str().to_owned(),
        by_pattern: resource.source() == Source::Pattern,
        well_known: well_known(resource.uri()).ok_or_else(not_served)?,
        challenge: challenge(&resource).ok_or_else(not_served)?,
        issuer: snapshot.issuer.as_str().to_owned(),
        jwks_uri: snapshot.issuer.endpoint(JWKS),
        more_scopes: more.map(ToString::to_string).collect(),
    })
}
