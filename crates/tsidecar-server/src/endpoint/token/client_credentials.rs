//! Client credentials (RFC 6749 §4.4): a token for the client itself, once its grant is on disk.

use tsidecar_oauth::id::Thumbprint;
use tsidecar_oauth::token::ClientCredentialsRequest;
use tsidecar_oauth::token::client_credentials::draft;

use super::{Asked, Granted};
use crate::client_auth::Shown;
use crate::entropy;
use crate::failure::Failure;
use crate::store::Intent;

impl Asked<'_> {
    pub(super) async fn issue(
        &self,
        request: &ClientCredentialsRequest,
        key: Option<Thumbprint>,
        shown: &mut Shown,
        intent: Intent,
    ) -> Result<Granted, Failure> {
        let drafted = draft(request, &self.client, &self.snapshot.resources, entropy::id(), self.now);
        let (grant, resource) = drafted.map_err(|error| self.refuse(error))?;
        self.write(&grant, shown, intent).await?;
        Ok(Granted::new(grant, resource, None, key))
    }
}
