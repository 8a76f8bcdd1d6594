//! Records of documents of clients.

use tsidecar_oauth::id::ClientId;

use super::TARGET;

/// The document of a client was taken away: everything that was issued to it is void.
pub fn document_ended(id: &ClientId) {
    tracing::warn!(
        target: TARGET,
        event = "document_ended",
        client.id = %id,
        "the document of a client was taken away; what was issued to it is void"
    );
}
