//! `/admin/documents`: clients that are known by a document, and where each document comes from.

use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use tsidecar_oauth::client::Client;

use super::answer;
use super::error::AdminError;
use crate::app::App;
use crate::documents::shipped;
use crate::snapshot::Snapshot;
use crate::web::response::Answer;

/// The path.
pub(super) const PATH: &str = "/admin/documents";

/// Where a document comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// From a file of the administrator's; it is never fetched.
    Pinned,
    /// From its URL, and still fresh.
    Fetched,
    /// From its URL; it is fetched anew at the next use, and counts for a day while that fails.
    Stale,
    /// We bring it along, for where it cannot be fetched.
    Shipped,
}

/// A document, as it is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocumentAnswer {
    /// Its URL.
    pub client_id: String,
    /// What the client is called.
    pub client_name: String,
    /// Where it comes from.
    pub from: Origin,
    /// The file of a pinned one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether `[clients] trusted` names it.
    pub trusted: bool,
    /// Its redirect URIs.
    pub redirect_uris: Vec<String>,
}

/// The answer to `GET /admin/documents`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DocumentsAnswer {
    /// Every document at hand, by its URL.
    pub documents: Vec<DocumentAnswer>,
    /// Whether clients may be known by a document at all.
    pub enabled: bool,
    /// Whether documents are fetched.
    pub fetched: bool,
}

/// Answers a request at the path.
pub(super) fn route<B>(app: &App, request: &Request<B>) -> Result<Answer, AdminError> {
    if request.method() != Method::GET {
        return Err(AdminError::Method("GET"));
    }
    let snapshot = app.snapshot.load_full();
    answer(StatusCode::OK, &all(app, &snapshot))
}

/// What counts for each client: pinned before fetched before brought along.
fn all(app: &App, snapshot: &Snapshot) -> DocumentsAnswer {
    let config = &snapshot.config().documents;
    let mut documents: Vec<DocumentAnswer> = Vec::new();
    let mut add = |client: &Client, from, file: Option<String>| {
        let id = client.id().as_str();
        if !documents.iter().any(|known| known.client_id == id) {
            documents.push(DocumentAnswer {
                client_id: id.to_owned(),
                client_name: client.name().to_owned(),
                from,
                file,
                trusted: snapshot.config().trusted.names(id),
                redirect_uris: client.spec().redirect_uris.clone(),
            });
        }
    };
    for pinned in config.pinned.values() {
        add(&pinned.client, Origin::Pinned, Some(pinned.file.display().to_string()));
    }
    for (_, document, fresh) in app.documents.fetched.copies() {
        add(&document.0, if fresh { Origin::Fetched } else { Origin::Stale }, None);
    }
    for client in shipped::all() {
        add(client, Origin::Shipped, None);
    }
    documents.sort_by(|one, other| one.client_id.cmp(&other.client_id));
    DocumentsAnswer { documents, enabled: config.cimd, fetched: config.fetch }
}
