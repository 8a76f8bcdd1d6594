//! Clients that are known by a document at their id (Client ID Metadata Documents).
//!
//! What an administrator pinned counts first, then what is fetched, for a day also its last good copy, and where nothing can be
//! fetched what we bring along. A document that was taken away is none of these ([`withdrawal`]).

pub mod shipped;
pub mod withdrawal;

use std::sync::Arc;

use tsidecar_oauth::cimd::{IdUrl, IdUrlError};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::time::UnixTime;

use self::withdrawal::Suspects;
use crate::app::App;
use crate::config::Config;
use crate::failure::Failure;
use crate::outbound::{
    ClientDocumentError, ClientDocuments, DocumentError, FetchError, GONE_AGAIN, Outbound, Requester, Source,
};
use crate::snapshot::{Snapshot, has_keys};
use crate::store::StoreError;

/// Seconds after which a client may try again whose document could not be fetched: as long as its host is left alone.
const RETRY: u32 = 30;

/// Documents, and what is suspected of them.
#[derive(Debug)]
pub struct Documents {
    /// Those that were fetched.
    pub fetched: Arc<ClientDocuments>,
    /// Those that seem to have been taken away.
    pub suspects: Suspects,
}

impl Documents {
    /// None yet.
    pub fn new(outbound: Arc<Outbound>) -> Self {
        Self { fetched: ClientDocuments::new(outbound), suspects: Suspects::default() }
    }
}

/// Why there is no client by a document.
#[derive(Debug)]
pub enum NoDocument {
    /// There is none, or none any more, or none is looked for.
    Unknown,
    /// The id is no URL of a document.
    Url(IdUrlError),
    /// There is one, and it describes no client; the reason may be told to everybody.
    Unusable(String),
    /// It cannot be had at the moment, or we failed.
    Failed(Failure),
}

impl From<StoreError> for NoDocument {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// The client that the document at this URL describes.
///
/// # Errors
/// [`NoDocument`].
pub async fn client(
    app: &App,
    snapshot: &Snapshot,
    requester: Requester,
    id: &ClientId,
) -> Result<Arc<Client>, NoDocument> {
    let config = &snapshot.config().documents;
    if !config.cimd {
        return Err(NoDocument::Unknown);
    }
    let url = IdUrl::parse(id.as_str()).map_err(NoDocument::Url)?;
    let client = match config.pinned.get(id) {
        Some(pinned) => Arc::clone(&pinned.client),
        None if config.fetch => fetched(app, snapshot.config(), requester, id, &url).await?,
        None => shipped::client(id).ok_or(NoDocument::Unknown)?,
    };
    has_keys(&client, &snapshot.signing).map_err(|error| {
        NoDocument::Unusable(format!("it wants a signature that nobody here makes: {error}"))
    })?;
    Ok(void_before(client, app.store.document_gone(id)?))
}

/// Where the document of a client is fetched from.
fn source_of(config: &Config, id: &ClientId, url: &IdUrl) -> Source {
    let named = [&config.trusted, &config.documents.local].iter().any(|list| list.names_whole(id.as_str()));
    Source { client: id.clone(), url: url.url().clone(), trust: config.documents.trust(url.as_str()), named }
}

async fn fetched(
    app: &App,
    config: &Config,
    requester: Requester,
    id: &ClientId,
    url: &IdUrl,
) -> Result<Arc<Client>, NoDocument> {
    let source = source_of(config, id, url);
    let error = match app.documents.fetched.document(&source, requester).await {
        Ok(document) => return Ok(Arc::clone(&document.0)),
        Err(error) => error,
    };
    if matches!(error, DocumentError::Gone(_)) {
        app.documents.suspects.add(id);
    }
    instead(error, shipped::client(id))
}

/// What there is of a client whose document could not be fetched: what we bring along, unless it was taken away.
fn instead(
    error: DocumentError<ClientDocumentError>,
    shipped: Option<Arc<Client>>,
) -> Result<Arc<Client>, NoDocument> {
    let later = |retry_after, why: &str| {
        let why = format!("the document of the client: {why}");
        NoDocument::Failed(Failure::Unavailable { retry_after, why })
    };
    match error {
        // Whom we knew a moment ago loses nothing by a host that answers 404 for a second, and gets nothing either.
        DocumentError::Gone(gone) if gone.was_good && !gone.confirmed => {
            let wait = u32::try_from(GONE_AGAIN.as_secs()).unwrap_or(RETRY);
            Err(later(wait, "its host does not have it"))
        }
        DocumentError::Gone(_) => Err(NoDocument::Unknown),
        error => shipped.ok_or_else(|| match error {
            DocumentError::Unusable(error) => NoDocument::Unusable(error.to_string()),
            _ => later(RETRY, FetchError::TEXT),
        }),
    }
}

/// The client, with everything void that was issued before its document was taken away the last time.
fn void_before(client: Arc<Client>, gone: UnixTime) -> Arc<Client> {
    if gone == client.not_before() {
        return client;
    }
    // It was valid before, and the time is none of what is judged.
    Client::of_document(client.spec().clone(), gone).map_or(client, Arc::new)
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::outbound::Gone;

    const CLAUDE: &str = "https://claude.ai/oauth/claude-code-client-metadata";

    fn outcome(error: DocumentError<ClientDocumentError>, id: &str) -> String {
        match instead(error, shipped::client(&ClientId::parse(id).unwrap())) {
            Ok(client) => client.name().to_owned(),
            Err(NoDocument::Failed(Failure::Unavailable { retry_after, .. })) => {
                format!("again in {retry_after}")
            }
            Err(other) => format!("{other:?}"),
        }
    }

    /// Where the web cannot be reached there is what we bring along; what its publisher took away is not brought back by it.
    #[test]
    fn what_we_bring_along_counts_where_nothing_can_be_fetched() {
        type E = DocumentError<ClientDocumentError>;
        let gone = |was_good, confirmed| E::Gone(Gone { was_good, confirmed });
        let failures: [fn() -> E; 3] =
            [|| E::Recently, || E::Status(StatusCode::BAD_GATEWAY), || FetchError::NoAddress.into()];
        for failure in failures {
            assert_eq!(outcome(failure(), CLAUDE), "Claude Code");
            assert_eq!(outcome(failure(), "https://app.test/c"), "again in 30");
        }
        let unusable = || E::Unusable(ClientDocumentError::MediaType);
        assert_eq!(outcome(unusable(), CLAUDE), "Claude Code");
        assert!(outcome(unusable(), "https://app.test/c").starts_with("Unusable("));
        assert_eq!(outcome(gone(true, false), CLAUDE), "again in 10");
        for gone in [gone(true, true), gone(false, false), gone(false, true)] {
            assert_eq!(outcome(gone, CLAUDE), "Unknown");
        }
    }
}
