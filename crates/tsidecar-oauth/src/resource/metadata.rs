//! Protected resource metadata (RFC 9728): what a resource server publishes so that clients find us.
//!
//! The resource server serves it, not we; this is the document to copy, as short as its readers want it.

use serde::Serialize;

use super::Resource;
use crate::scope::ScopeToken;
use crate::uri::{Issuer, ResourceIndicator, absolute};

/// The well-known path that is put between host and path of a resource (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The metadata of a resource (RFC 9728 §2).
///
/// `scopes_supported` are the scopes of a request that names none: clients ask for all that stand there, and a resource that lists
/// everything gets everything from everybody. Absent members are left out. Nothing says whether the resource server takes proofs
/// of possession: we cannot know.
#[derive(Clone, Debug, Serialize)]
pub struct ResourceMetadata<'a> {
    resource: &'a ResourceIndicator,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
    authorization_servers: [&'a Issuer; 1],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes_supported: &'a [ScopeToken],
    bearer_methods_supported: [&'static str; 1],
}

impl<'a> ResourceMetadata<'a> {
    /// The metadata of a resource whose authorization server has this issuer.
    pub fn new(resource: &'a Resource, issuer: &'a Issuer) -> Self {
        Self {
            resource: resource.uri(),
            resource_name: resource.spec().name.as_deref(),
            authorization_servers: [issuer],
            scopes_supported: &resource.spec().default_scopes,
            bearer_methods_supported: ["header"],
        }
    }
}

/// Where the metadata of a resource is looked for (RFC 9728 §3.1); `None` for one that no web server is, as `urn:…`.
pub fn well_known(resource: &ResourceIndicator) -> Option<String> {
    let url = absolute(resource.as_str()).ok()?;
    if !matches!(url.scheme(), "https" | "http") {
        return None;
    }
    let (path, query) = (url.path().strip_prefix('/').unwrap_or_default(), url.query());
    let slash = if path.is_empty() { "" } else { "/" };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{}{WELL_KNOWN}{slash}{path}{query}", url.origin().ascii_serialization()))
}

/// What a resource server says in `WWW-Authenticate` to a request without a good token (RFC 9728 §5.1); where it has scopes, with
/// those of a request that names none. Neither a URI nor a scope has quotes in it.
pub fn challenge(resource: &Resource) -> Option<String> {
    let metadata = format!("Bearer resource_metadata=\"{}\"", well_known(resource.uri())?);
    let scopes: Vec<_> = resource.spec().default_scopes.iter().map(ScopeToken::as_str).collect();
    let scope = if scopes.is_empty() { String::new() } else { format!(", scope=\"{}\"", scopes.join(" ")) };
    Some(metadata + &scope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Entry, ResourceSpec, Resources};

    #[test]
    fn metadata_lies_between_host_and_path() {
        for (uri, expected) in [
            ("https://mcp.test/mcp", "https://mcp.test/.well-known/oauth-protected-resource/mcp"),
            ("https://mcp.test", "https://mcp.test/.well-known/oauth-protected-resource"),
            ("https://mcp.test/", "https://mcp.test/.well-known/oauth-protected-resource"),
            ("https://mcp.test:8443/a/b/", "https://mcp.test:8443/.well-known/oauth-protected-resource/a/b/"),
            ("http://mcp.test?k=v", "http://mcp.test/.well-known/oauth-protected-resource?k=v"),
        ] {
            assert_eq!(well_known(&ResourceIndicator::parse(uri).unwrap()).as_deref(), Some(expected));
        }
        assert_eq!(well_known(&ResourceIndicator::parse("urn:example:mcp").unwrap()), None);
    }

    #[test]
    fn a_document_says_no_more_than_it_must() {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        let of = |spec: ResourceSpec| {
            let resources = Resources::new(vec![Entry::new("https://*.tail.test/mcp", &[], spec).unwrap()]);
            let resource = resources.lookup("https://Files.tail.test/mcp/").unwrap();
            let document = serde_json::to_string(&ResourceMetadata::new(&resource, &issuer)).unwrap();
            (document, challenge(&resource).unwrap())
        };
        let (document, said) = of(ResourceSpec::default());
        assert_eq!(
            document,
            r#"{"resource":"https://files.tail.test/mcp","authorization_servers":["https://idp.tail.test"],"bearer_methods_supported":["header"]}"#
        );
        let metadata =
            "Bearer resource_metadata=\"https://files.tail.test/.well-known/oauth-protected-resource/mcp\"";
        assert_eq!(said, metadata);
        let tokens = |text: &str| crate::scope::Scope::parse(text).iter().cloned().collect::<Vec<_>>();
        let spec = ResourceSpec {
            name: Some("Files".into()),
            scopes: tokens("read list write"),
            default_scopes: tokens("read list"),
            ..ResourceSpec::default()
        };
        let (document, said) = of(spec);
        assert!(document.contains(r#""resource_name":"Files","#), "{document}");
        assert!(document.contains(r#""scopes_supported":["read","list"],"#), "{document}");
        assert_eq!(said, format!("{metadata}, scope=\"read list\""));
    }
}
