//! `tsidecar resource`: what access tokens can be asked for at the running daemon, and what a resource server has to publish.

use super::ask::{CommandError, Daemon};
use super::output::{Output, columns, plain};
use crate::endpoint::admin::resources::{MetadataAnswer, ResourceAnswer, ResourcesAnswer};

/// What to do with resources.
#[derive(Debug, clap::Subcommand)]
pub enum ResourceCommand {
    /// Show the resources of the configuration, and who may ask for tokens for them.
    List,
    /// Print the document that a resource server publishes about itself (RFC 9728), and what else it needs to know of us, that on
    /// standard error.
    Metadata {
        /// The URL of the resource, by any name that clients may use for it.
        url: String,
    },
}

/// Runs the command.
pub async fn run(daemon: &Daemon, command: ResourceCommand) -> Result<Output, CommandError> {
    match command {
        ResourceCommand::List => {
            let found: ResourcesAnswer = daemon.get("/admin/resources").await?;
            Ok(Output::done(table(&found.resources), &found))
        }
        ResourceCommand::Metadata { url } => {
            let query =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("resource", &url).finish();
            let found: MetadataAnswer = daemon.get(&format!("/admin/resources/metadata?{query}")).await?;
            let document = format!("{:#}", found.metadata);
            Ok(Output::done(document, &found.metadata).with_notes(notes(&found, &url)))
        }
    }
}

fn table(resources: &[ResourceAnswer]) -> String {
    if resources.is_empty() {
        return "There is no resource: add a [[resource]] block to the configuration.".to_owned();
    }
    let mut rows = vec![["RESOURCE", "NAME", "SCOPES", "CLIENTS", "SERVERS"].map(str::to_owned).to_vec()];
    for resource in resources {
        // Scopes that must be asked for by name stand in parentheses.
        let scopes = resource.scopes.iter().map(|scope| {
            if resource.default_scopes.contains(scope) { scope.clone() } else { format!("({scope})") }
        });
        let scopes: Vec<_> = scopes.collect();
        rows.push(vec![
            resource.uri.clone(),
            resource.name.clone().unwrap_or_default(),
            scopes.join(" "),
            resource.clients.join(" "),
            resource.servers.join(" "),
        ]);
        rows.extend(resource.aliases.iter().map(|alias| vec![format!("  also {alias}")]));
    }
    columns(&rows)
}

/// What a person needs to know who runs the resource server.
fn notes(found: &MetadataAnswer, url: &str) -> String {
    let MetadataAnswer { resource, well_known, challenge, issuer, jwks_uri, .. } = found;
    let mut lines = vec![
        String::new(),
        "Serve this document as application/json at".to_owned(),
        format!("  {well_known}"),
        "Answer requests without a good token with status 401 and".to_owned(),
        format!("  WWW-Authenticate: {challenge}"),
        "Take tokens only with exactly this issuer and this audience, signed with one of these keys:".to_owned(),
        format!("  iss {issuer}"),
        format!("  aud {resource}"),
        format!("  keys {jwks_uri}"),
        "In Python (FastMCP and others) write the issuer as a plain string. AnyHttpUrl adds a slash, and clients then refuse it:".to_owned(),
        format!("  authorization_servers=[\"{issuer}\"]"),
    ];
    if !found.more_scopes.is_empty() {
        lines.push("Left out, because clients ask for all that stand there; name them when they are needed, with status 403:".to_owned());
        lines.push(format!(
            "  WWW-Authenticate: Bearer error=\"insufficient_scope\", scope=\"{}\", resource_metadata=\"{well_known}\"",
            found.more_scopes.join(" ")
        ));
    }
    if url != resource.as_str() {
        lines.push(format!("The resource is called {resource} here; {} means it, too.", plain(url)));
    }
    lines.join("\n")
}
