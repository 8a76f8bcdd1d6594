//! Documents of well-known clients that we bring along, for tailnets that cannot fetch them.
//!
//! Only such as their publishers are known to have published, and of their redirect URIs those that lead to the person's own
//! device: a copy of ours must send nobody to a host that its publisher may have given up since. Being brought along is no
//! approval: who is to sign in without a click stands in `[clients] trusted`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use tsidecar_oauth::cimd::{IdUrl, judge};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::time::UnixTime;

const DOCUMENTS: &str = include_str!("shipped.json");

static CLIENTS: LazyLock<BTreeMap<ClientId, Arc<Client>>> = LazyLock::new(|| {
    let documents: Vec<Value> = serde_json::from_str(DOCUMENTS).unwrap_or_default();
    let clients =
        documents.iter().filter_map(client_of).map(|client| (client.id().clone(), Arc::new(client)));
    clients.collect()
});

fn client_of(document: &Value) -> Option<Client> {
    let url = IdUrl::parse(document.get("client_id")?.as_str()?).ok()?;
    judge(&url, document.to_string().as_bytes(), UnixTime::default()).ok()
}

/// The client of this id, if we bring its document along.
pub fn client(id: &ClientId) -> Option<Arc<Client>> {
    CLIENTS.get(id).map(Arc::clone)
}

/// All of them, in the order of their ids.
pub fn all() -> impl Iterator<Item = &'static Arc<Client>> {
    CLIENTS.values()
}

#[cfg(test)]
mod tests {
    use tsidecar_oauth::uri::RedirectUri;

    use super::*;

    #[test]
    fn each_is_good_and_leads_to_the_persons_own_device() {
        let documents: Vec<Value> = serde_json::from_str(DOCUMENTS).unwrap();
        let ids: Vec<_> = all().map(|client| client.id().as_str()).collect();
        assert_eq!(ids.len(), documents.len());
        assert_eq!(
            ids,
            [
                "https://claude.ai/oauth/claude-code-client-metadata",
                "https://opencode.ai/oauth/opencode/client.json",
                "https://vscode.dev/oauth/client-metadata.json",
            ]
        );
        for client in all() {
            assert!(client.is_public(), "{}", client.id());
            let uris = client.redirect_uris();
            assert!(uris.iter().all(|uri| RedirectUri::is_loopback(uri.as_str())), "{}", client.id());
        }
    }
}
