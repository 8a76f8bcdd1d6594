//! What a client says of itself at its id (Client ID Metadata Documents).

use std::sync::Arc;

use tsidecar_oauth::cimd::{self, DocumentError, IdUrl, IdUrlError, LONGEST_DOCUMENT};
use tsidecar_oauth::client::Client;
use tsidecar_oauth::time::UnixTime;

use super::{Document, DocumentCache, Fetched, Source, Want};

/// Documents of clients.
pub type ClientDocuments = DocumentCache<ClientDocument>;

/// A document, as the client that it describes.
#[derive(Debug)]
pub struct ClientDocument(pub Arc<Client>);

/// Why an answer is no document of a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientDocumentError {
    /// Another media type than JSON: whoever serves files of others as what they are must not serve clients.
    #[error("it is not application/json, or a type that ends in +json")]
    MediaType,
    /// Its URL is no client id.
    #[error("its URL {0}")]
    Url(#[from] IdUrlError),
    /// It does not describe a client.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl Document for ClientDocument {
    const WANT: Want = Want { accept: "application/json", most_bytes: LONGEST_DOCUMENT };
    const CAN_BE_GONE: bool = true;
    type Error = ClientDocumentError;

    fn read(source: &Source, fetched: &Fetched) -> Result<Self, ClientDocumentError> {
        if !fetched.content_type().is_some_and(is_json) {
            return Err(ClientDocumentError::MediaType);
        }
        let url = IdUrl::parse(source.client.as_str())?;
        Ok(Self(Arc::new(cimd::judge(&url, &fetched.body, UnixTime::default())?)))
    }
}

/// `application/json`, or a type with the suffix of RFC 6839 §3.1; parameters say nothing of it.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_of_json() {
        for (media_type, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/cimd+json", true),
            ("text/json", false),
            ("text/plain", false),
            ("text/html; x=application/json", false),
            ("image/svg+json", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            assert_eq!(is_json(media_type), json, "{media_type}");
        }
    }
}
