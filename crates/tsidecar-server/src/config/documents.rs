//! `[clients]` and `documents.d/*.json`: clients that are known by a document at their id.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tsidecar_oauth::assurance::Trusted;
use tsidecar_oauth::cimd::{IdUrl, judge};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::time::UnixTime;

use super::source::{ConfigError, Source, Step::Index, Step::Key};
use super::{Config, raw};
use crate::outbound::Trust;

/// Clients that are known by a document at their id.
#[derive(Clone, Debug)]
pub struct DocumentsConfig {
    /// Whether there are any.
    pub cimd: bool,
    /// Whether documents are fetched; otherwise there are those that are pinned, and those that we bring along.
    pub fetch: bool,
    /// Documents on hosts of the tailnet or the LAN, as an administrator named them.
    pub local: Trusted,
    /// `documents.d/*.json`.
    pub pinned: BTreeMap<ClientId, Pinned>,
}

/// A document that is read from a file, and never fetched.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The client that it describes.
    pub client: Arc<Client>,
    /// The file.
    pub file: PathBuf,
}

impl Default for DocumentsConfig {
    fn default() -> Self {
        Self { cimd: true, fetch: true, local: Trusted::default(), pinned: BTreeMap::new() }
    }
}

impl DocumentsConfig {
    /// Whose word it is where a document, or something that it names, lies: an administrator's only where one wrote down the
    /// beginning of its URL. A name of the tailnet alone would let anybody have us fetch whatever the hosts of the tailnet serve.
    pub fn trust(&self, url: &str) -> Trust {
        // Two spellings of one URL could begin differently.
        let is_plain = IdUrl::parse(url).is_ok();
        if is_plain && self.local.names(url) { Trust::Administrator } else { Trust::Stranger }
    }
}

/// Overlays the section on the defaults.
pub(super) fn overlay(source: &Source, file: &raw::Clients, config: &mut Config) -> Result<(), ConfigError> {
    let documents = &mut config.documents;
    documents.cimd = file.cimd.unwrap_or(documents.cimd);
    documents.fetch = file.fetch_documents.unwrap_or(documents.fetch);
    documents.local = named(source, "local_documents", &file.local_documents)?;
    config.trusted = named(source, "trusted", &file.trusted)?;
    Ok(())
}

/// Whole ids, or prefixes that end in a slash: those of which a longer one is an id.
fn named(source: &Source, key: &str, entries: &[String]) -> Result<Trusted, ConfigError> {
    for (index, entry) in entries.iter().enumerate() {
        let id = if entry.ends_with('/') { format!("{entry}x") } else { entry.clone() };
        let parsed = IdUrl::parse(&id).map_err(|error| error.to_string());
        let plain =
            if entry.contains('*') { Err("has a \"*\", which stands for nothing".into()) } else { Ok(()) };
        if let Err(wrong) = plain.and(parsed) {
            let message = format!(
                "{entry:?} {wrong}; allowed: the whole URL of a document, or the beginning of some that ends in a slash, as in \"https://app.example.com/\""
            );
            return Err(source.error_in(&[Key("clients"), Key(key), Index(index)], message));
        }
    }
    Ok(Trusted::new(entries.to_vec()))
}

/// Adds the document of a file; its `client_id` is its id.
pub(super) fn pin(path: &Path, text: &str, config: &mut Config) -> Result<(), ConfigError> {
    let fail = |message: String| ConfigError::Document { path: path.to_owned(), message };
    let document = serde_json::from_str::<Value>(text).ok();
    let id = document.as_ref().and_then(|document| document.get("client_id")?.as_str());
    let id =
        id.ok_or_else(|| fail("there is no client_id, which must be the URL of the document".to_owned()))?;
    let url = IdUrl::parse(id).map_err(|error| fail(format!("client_id {id:?} {error}")))?;
    let client =
        judge(&url, text.as_bytes(), UnixTime::default()).map_err(|error| fail(error.to_string()))?;
    let pinned = Pinned { client: Arc::new(client), file: path.to_owned() };
    if let Some(other) = config.documents.pinned.insert(pinned.client.id().clone(), pinned) {
        return Err(fail(format!("\"{id}\" has a document in {} already", other.file.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A15: only what lies under the words of an administrator is their word; a name of the tailnet is nobody's.
    #[test]
    fn hosts_of_the_tailnet_are_reached_where_an_administrator_says_so() {
        let local = Trusted::new(vec!["https://docs.tail.test/clients/".into()]);
        let config = DocumentsConfig { local, ..DocumentsConfig::default() };
        for (url, trust) in [
            ("https://docs.tail.test/clients/app.json", Trust::Administrator),
            ("https://docs.tail.test/clients/app/jwks.json", Trust::Administrator),
            ("https://docs.tail.test/other.json", Trust::Stranger),
            ("https://docs.tail.test:8443/clients/app.json", Trust::Stranger),
            ("https://docs.tail.test/clients/%2e%2e/other.json", Trust::Stranger),
            ("https://docs.tail.test/clients/..%2fother.json", Trust::Stranger),
            ("https://docs.tail.test/clients/..%5cother.json", Trust::Stranger),
            ("https://docs.tail.test/clients/..;/other.json", Trust::Stranger),
            ("https://docs.tail.test/clients/..%252fother.json", Trust::Stranger),
            ("https://docs.tail.test/clients/app.json?of=a%2fb", Trust::Administrator),
            ("https://nas.tail.test/clients/app.json", Trust::Stranger),
            ("https://docs.tail.test.evil.test/clients/", Trust::Stranger),
        ] {
            assert_eq!(config.trust(url), trust, "{url}");
        }
    }
}
