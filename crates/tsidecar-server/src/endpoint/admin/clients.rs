//! `/clients/`: what an administrator does with clients. Changes are durable, then in force, then answered.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tsidecar_oauth::client::{Client, ClientSpec};
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::secret::ClientSecret;
use tsidecar_oauth::time::UnixTime;

use super::error::AdminError;
use super::shape::{ClientAnswer, ClientRequest, Rotation};
use crate::audit::TARGET;
use crate::backchannel::targets;
use crate::clients;
use crate::entropy;
use crate::keys::rotation::Bench;
use crate::snapshot::{Snapshot, has_keys};
use crate::store::{RegisteredClient, Store, StoredClient};
use crate::withdraw;

/// What the administrator's requests work on.
///
/// A change holds [`Snapshot::changes`] from the reading of what it rests on until the swap. Between the acknowledgement of
/// the store and the swap nothing is waited for, so a cancelled request cannot leave one without the other.
pub(super) struct Desk<'a> {
    pub(super) snapshot: &'a ArcSwap<Snapshot>,
    pub(super) store: &'a dyn Store,
    pub(super) now: UnixTime,
}

impl Desk<'_> {
    /// Every client: those that administrators wrote down in the order of their ids, then those that registered themselves.
    pub(super) fn list(&self) -> Result<Vec<ClientAnswer>, AdminError> {
        let snapshot = self.snapshot.load();
        let mut all: Vec<_> = snapshot.clients.values().map(|client| tell(&snapshot, client)).collect();
        let mut registered = Vec::new();
        clients::each_registered(self.store, |record| registered.push(record))?;
        for record in &registered {
            all.extend(self.registered(&snapshot, record)?);
        }
        Ok(all)
    }

    /// A client that registered itself, as it is told; `None` when its time is over, or it is not valid any more.
    fn registered(
        &self,
        snapshot: &Snapshot,
        record: &RegisteredClient,
    ) -> Result<Option<ClientAnswer>, AdminError> {
        if record.used_at.after(record.keep_for).is_past(self.now) {
            return Ok(None);
        }
        let approval = self.store.approval(&record.id)?;
        let Some(client) = clients::made(record.clone(), snapshot) else { return Ok(None) };
        let told = ClientAnswer::of_stranger(&client, approval);
        Ok(Some(ClientAnswer { last_used: Some(record.used_at), ..told }))
    }

    /// One client.
    pub(super) fn show(&self, id: &str) -> Result<ClientAnswer, AdminError> {
        let snapshot = self.snapshot.load();
        if let Some(client) = snapshot.client(id) {
            return Ok(tell(&snapshot, client));
        }
        let unknown = || AdminError::NoClient(id.to_owned());
        let known = ClientId::parse(id).map_err(|_| unknown())?;
        let record = self.store.registered(&known, self.now)?.ok_or_else(unknown)?;
        self.registered(&snapshot, &record)?.ok_or_else(unknown)
    }

    /// Makes a client that is not there yet; without an id one is made.
    pub(super) async fn add(&self, request: ClientRequest) -> Result<ClientAnswer, AdminError> {
        let id = match &request.client_id {
            Some(id) => ClientId::parse(id)?,
            None => ClientId::parse(&clients::new_id())?,
        };
        let changes = Arc::clone(self.snapshot.load().changes());
        let _held = changes.lock().await;
        let snapshot = self.snapshot.load_full();
        changeable(&snapshot, &id)?;
        if snapshot.clients.contains_key(&id) || self.stored(&id)?.is_some_and(|record| record.spec.is_some())
        {
            return Err(AdminError::Exists(id));
        }
        self.write(&snapshot, id, request, None, "a client was added").await
    }

    /// Makes a client, or replaces its description; secrets that it has stay valid.
    pub(super) async fn put(
        &self,
        id: &str,
        request: ClientRequest,
    ) -> Result<(bool, ClientAnswer), AdminError> {
        let id = ClientId::parse(id)?;
        if request.client_id.as_deref().is_some_and(|named| named != id.as_str()) {
            return Err(AdminError::Invalid("client_id is another one than in the path".to_owned()));
        }
        let changes = Arc::clone(self.snapshot.load().changes());
        let _held = changes.lock().await;
        let snapshot = self.snapshot.load_full();
        changeable(&snapshot, &id)?;
        self.not_registered(&id)?;
        let before = self.stored(&id)?.and_then(|record| record.spec);
        let is_new = before.is_none();
        let what = if is_new { "a client was added" } else { "a client was changed" };
        Ok((is_new, self.write(&snapshot, id, request, before, what).await?))
    }

    async fn write(
        &self,
        snapshot: &Snapshot,
        id: ClientId,
        request: ClientRequest,
        before: Option<ClientSpec>,
        what: &'static str,
    ) -> Result<ClientAnswer, AdminError> {
        let by_keys = request.proves_by_keys();
        let mut spec = request.into_spec(id.as_str().to_owned())?;
        let (old_secrets, was_live) = before.map_or((Vec::new(), false), |old| (old.secrets, !old.disabled));
        let secret = match (spec.public, old_secrets.is_empty()) {
            (true, _) => None,
            (false, true) if by_keys => None,
            (false, true) => Some(ClientSecret::generate(entropy::secret())),
            (false, false) => {
                spec.secrets = old_secrets;
                None
            }
        };
        spec.secrets.extend(secret.as_ref().map(ClientSecret::digest));
        if was_live && spec.disabled {
            self.withdraw(snapshot, &id).await?;
        }
        // Switching a client off ends what was issued to it for good.
        let not_before = if was_live && spec.disabled { self.now } else { UnixTime::default() };
        let told = self.commit(snapshot, id, spec, not_before, what).await?;
        Ok(told.with_secret(secret.as_ref()))
    }

    /// Removes a client; everything that was issued to it is void, also when the id is used again.
    pub(super) async fn remove(&self, id: &str) -> Result<(), AdminError> {
        let id = ClientId::parse(id).map_err(|_| AdminError::NoClient(id.to_owned()))?;
        let changes = Arc::clone(self.snapshot.load().changes());
        let _held = changes.lock().await;
        let snapshot = self.snapshot.load_full();
        changeable(&snapshot, &id)?;
        if clients::remove_registered(self.store, &id, self.now).await? {
            tracing::info!(target: TARGET, event = "client_changed", client.id = %id, "a client that had registered itself was removed");
            return Ok(());
        }
        self.withdraw(&snapshot, &id).await?;
        let intent = self.store.intent();
        let pending = self.store.remove_client(&id, self.now);
        drop(intent);
        if !pending.await? {
            return Err(AdminError::NoClient(id.as_str().to_owned()));
        }
        tracing::info!(target: TARGET, event = "client_changed", client.id = %id, "a client was removed");
        self.swap(&snapshot).await
    }

    /// Gives a client a new secret, or ends the time in which two are valid.
    pub(super) async fn rotate(&self, id: &str, rotation: Rotation) -> Result<ClientAnswer, AdminError> {
        let unknown = || AdminError::NoClient(id.to_owned());
        let id = ClientId::parse(id).map_err(|_| unknown())?;
        let changes = Arc::clone(self.snapshot.load().changes());
        let _held = changes.lock().await;
        let snapshot = self.snapshot.load_full();
        changeable(&snapshot, &id)?;
        self.not_registered(&id)?;
        let mut spec = self.stored(&id)?.and_then(|record| record.spec).ok_or_else(unknown)?;
        if spec.public || spec.secrets.is_empty() {
            return Err(AdminError::Secretless(id));
        }
        let newest = spec.secrets.last().copied();
        spec.secrets = match rotation {
            Rotation::Now => Vec::new(),
            Rotation::Overlap | Rotation::Finish => newest.into_iter().collect(),
        };
        let secret = (rotation != Rotation::Finish).then(|| ClientSecret::generate(entropy::secret()));
        spec.secrets.extend(secret.as_ref().map(ClientSecret::digest));
        let what = match rotation {
            Rotation::Overlap => "a client got a new secret; the one before is valid beside it",
            Rotation::Now => "a client got a new secret; those before are void",
            Rotation::Finish => "the older secret of a client is void",
        };
        let told = self.commit(&snapshot, id, spec, UnixTime::default(), what).await?;
        Ok(told.with_secret(secret.as_ref()))
    }

    /// Only a client itself changes what it registered.
    fn not_registered(&self, id: &ClientId) -> Result<(), AdminError> {
        match self.store.registered(id, self.now)? {
            Some(_) => Err(AdminError::Registered(id.clone())),
            None => Ok(()),
        }
    }

    fn stored(&self, id: &ClientId) -> Result<Option<StoredClient>, AdminError> {
        Ok(self.store.clients()?.into_iter().find(|record| record.id == *id))
    }

    async fn commit(
        &self,
        snapshot: &Snapshot,
        id: ClientId,
        spec: ClientSpec,
        not_before: UnixTime,
        what: &'static str,
    ) -> Result<ClientAnswer, AdminError> {
        let client = Client::new(spec.clone(), not_before)?;
        let bench = Bench { snapshot: self.snapshot, store: self.store, now: self.now };
        let snapshot = bench.provide(snapshot.demand().clone().with_client(&spec)).await?;
        has_keys(&client, &snapshot.signing)?;
        let told = ClientAnswer::new(&client, None);
        let intent = self.store.intent();
        let record = StoredClient { id, spec: Some(spec), not_before, changed_at: self.now };
        let pending = self.store.put_client(record);
        drop(intent);
        pending.await?;
        tracing::info!(target: TARGET, event = "client_changed", client.id = %client.id(), "{what}");
        self.swap(&snapshot).await?;
        Ok(told)
    }

    /// Ends the grants of a client that wants to be told, before the client is gone.
    async fn withdraw(&self, snapshot: &Snapshot, id: &ClientId) -> Result<(), AdminError> {
        if snapshot.clients.get(id).is_some_and(|client| client.backchannel().is_some()) {
            withdraw::end_all(self.store, self.now, |grant| grant.facts().client == *id).await?;
        }
        Ok(())
    }

    async fn swap(&self, snapshot: &Snapshot) -> Result<(), AdminError> {
        let next = snapshot.next(snapshot.config(), &self.store.clients()?)?;
        let targets = targets(&next);
        self.snapshot.store(Arc::new(next));
        self.store.tell(targets).await?;
        Ok(())
    }
}

fn tell(snapshot: &Snapshot, client: &Client) -> ClientAnswer {
    ClientAnswer::new(client, snapshot.file_of(client.id()))
}

/// A client in a file is changed in its file.
fn changeable(snapshot: &Snapshot, id: &ClientId) -> Result<(), AdminError> {
    match snapshot.file_of(id) {
        Some(file) => Err(AdminError::InFile { id: id.clone(), file: file.to_owned() }),
        None => Ok(()),
    }
}
