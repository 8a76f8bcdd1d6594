//! The keys that a client publishes at its `jwks_uri` (RFC 7591 §2), fetched when an assertion is to be verified.

use tsidecar_oauth::jose::{JwkError, LONGEST_SET, PublicKeys};

use super::{Document, DocumentCache, Fetched, Source, Want};

/// Key sets of clients.
pub type ClientKeys = DocumentCache<PublicKeys>;

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is no text.
    #[error("it is not UTF-8")]
    NoText,
    /// It is no key set, or holds no sound key for us.
    #[error(transparent)]
    Keys(#[from] JwkError),
}

impl Document for PublicKeys {
    const WANT: Want = Want { accept: "application/jwk-set+json, application/json", most_bytes: LONGEST_SET };
    type Error = KeySetError;

    /// The media type is not looked at: RFC 7517 does not bind it, and static hosts know only their own.
    fn read(_: &Source, fetched: &Fetched) -> Result<Self, KeySetError> {
        let text = std::str::from_utf8(&fetched.body).map_err(|_| KeySetError::NoText)?;
        Ok(Self::parse(text)?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tsidecar_oauth::id::ClientId;

    use super::super::testing::{Ca, Reply, World, url};
    use super::super::{DocumentError, Requester, Source, Trust};
    use super::*;

    /// The public key of RFC 8037 appendix A.2, under a name.
    fn set(kid: &str) -> String {
        format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
        )
    }

    fn has(keys: &PublicKeys, kid: &str) -> bool {
        keys.iter().any(|key| key.kid() == Some(kid))
    }

    fn fixture(replies: impl IntoIterator<Item = Reply>) -> (Arc<World>, Arc<ClientKeys>, Source) {
        let ca = Ca::new();
        let world = Arc::new(World::new(&ca, Reply::Silent).replies(replies));
        let keys = ClientKeys::new(Arc::new(world.outbound(&ca)));
        let client = ClientId::parse("app").unwrap();
        let url = url("https://app.test/jwks.json");
        (world, keys, Source { client, url, trust: Trust::Stranger, named: false })
    }

    /// What the module `refresh-token-rp-key-rotation` of the OpenID suite does: a new key at the same place.
    #[tokio::test]
    async fn a_client_that_rotates_its_key_is_understood() {
        let (world, cache, source) =
            fixture([Reply::document("", &set("one")), Reply::document("", &set("two"))]);
        let one = cache.document(&source, Requester::Daemon).await.unwrap();
        assert!(has(&one, "one") && !has(&one, "two"));
        let two = cache.newer(&source, Requester::Daemon, &one).await.unwrap();
        assert!(has(&two, "two"));
        assert!(has(&cache.document(&source, Requester::Daemon).await.unwrap(), "two"));
        let accept = "accept: application/jwk-set+json, application/json\r\n";
        assert!(world.requests.lock().unwrap().iter().all(|request| request.contains(accept)));
    }

    #[tokio::test]
    async fn what_is_no_key_set_is_no_answer() {
        for body in
            ["", "{}", "[]", "<html>", &set("one").replace("\"x\"", "\"d\":\"AA\",\"x\""), "{\"keys\":[]}"]
        {
            let (_, cache, source) = fixture([Reply::document("", body)]);
            let error = cache.document(&source, Requester::Daemon).await.unwrap_err();
            assert!(matches!(error, DocumentError::Unusable(KeySetError::Keys(_))), "{body}: {error}");
        }
    }
}
