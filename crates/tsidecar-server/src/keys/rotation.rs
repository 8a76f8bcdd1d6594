//! Rotation in the running daemon: what is due by the clock, by command, or because somebody asks for another algorithm.
//!
//! A change holds [`Snapshot::changes`]; files are durable before the snapshot with the new keys and documents is swapped in.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tsidecar_oauth::rotation::{self, Demand, Haste, KeyKind, KeyRecord, RotationError, Step, in_use, plan};
use tsidecar_oauth::time::UnixTime;

use super::{Change, KeyRing};
use crate::app::App;
use crate::snapshot::{Snapshot, SnapshotError};
use crate::state::StateError;
use crate::store::{Store, StoreError};

/// How often the clock is looked at. Nothing is read or written unless something is due.
const LOOK: Duration = Duration::from_secs(10);

/// How long to wait after a failure.
const AGAIN: Duration = Duration::from_mins(10);

/// Why keys are not changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The request makes no sense.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The keys do not fit the clients.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that changes keys ended.
    #[error("the keys could not be changed: {0}")]
    Thread(#[from] tokio::task::JoinError),
    /// These keys lie in no folder.
    #[error("these keys live in memory only")]
    Homeless,
}

/// Whose keys are changed.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// Where the snapshot is swapped.
    pub snapshot: &'a ArcSwap<Snapshot>,
    /// Where the stored clients are.
    pub store: &'a dyn Store,
    /// The time.
    pub now: UnixTime,
}

impl<'a> Bench<'a> {
    /// That of the running daemon, now.
    pub fn of(app: &'a App) -> Self {
        Self { snapshot: &app.snapshot, store: &*app.store, now: app.clock.now() }
    }

    /// Takes the steps that are due, if any. Must not be called while [`Snapshot::changes`] is held.
    ///
    /// # Errors
    /// [`KeyError`]; it is in the log already.
    pub async fn tend(self) -> Result<Vec<Change>, KeyError> {
        let current = self.snapshot.load_full();
        let due = plan(&current.keys, self.now, &current.key_policy());
        if due.is_empty() || current.key_home().is_none() {
            return Ok(Vec::new());
        }
        let changes = Arc::clone(current.changes());
        let _held = changes.lock().await;
        let policy = self.snapshot.load().key_policy();
        let now = self.now;
        let done = self.change(move |keys| Ok(plan(keys, now, &policy))).await;
        if let Err(error) = &done {
            tracing::error!(%error, "keys that are due could not be rotated; those in use stay in use");
        }
        done
    }

    /// Rotates kinds by command.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn rotate(self, kinds: Vec<KeyKind>, haste: Haste) -> Result<Vec<Change>, KeyError> {
        let changes = self.lock();
        let _held = changes.lock().await;
        let (policy, now) = (self.snapshot.load().key_policy(), self.now);
        self.change(move |keys| rotation::rotate(keys, &kinds, haste, now, &policy)).await
    }

    /// Drops a key that somebody else may hold, and everything that it made.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn replace(self, id: String) -> Result<Vec<Change>, KeyError> {
        let changes = self.lock();
        let _held = changes.lock().await;
        let (policy, now) = (self.snapshot.load().key_policy(), self.now);
        self.change(move |keys| rotation::replace(keys, &id, now, &policy)).await
    }

    /// Makes keys for algorithms that somebody is about to ask for, and answers the snapshot that has them. Call it with
    /// [`Snapshot::changes`] held, before what asks for them is stored or swapped in.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn provide(self, demand: Demand) -> Result<Arc<Snapshot>, KeyError> {
        let current = self.snapshot.load_full();
        let there = |algorithm| in_use(&current.keys, KeyKind::Signing(algorithm)).is_some();
        if demand.algorithms.iter().all(|algorithm| there(*algorithm)) || current.key_home().is_none() {
            return Ok(current);
        }
        let (mut policy, now) = (current.key_policy(), self.now);
        policy.demand = policy.demand.or(&demand);
        self.change(move |keys| Ok(plan(keys, now, &policy))).await?;
        Ok(self.snapshot.load_full())
    }

    fn lock(self) -> Arc<Mutex<()>> {
        Arc::clone(self.snapshot.load().changes())
    }

    /// Durable, then in force. What became durable before a failure comes into force, too.
    async fn change(
        self,
        decide: impl FnOnce(&[KeyRecord]) -> Result<Vec<Step>, RotationError> + Send + 'static,
    ) -> Result<Vec<Change>, KeyError> {
        let current = self.snapshot.load_full();
        let home = Arc::clone(current.key_home().ok_or(KeyError::Homeless)?);
        // An RSA key takes a quarter of a second.
        let changed = tokio::task::spawn_blocking(move || home.change(decide)).await??;
        let next = current.with_keys(changed.ring, &self.store.clients()?)?;
        self.snapshot.store(Arc::new(next));
        changed.failed.map_or(Ok(changed.changes), |error| Err(error.into()))
    }
}

/// Takes what is due at a start, before the first snapshot. Blocks. A step that fails waits for [`follow`].
///
/// # Errors
/// [`KeyError`] when the keys cannot be read.
pub fn start(ring: &KeyRing, policy: &rotation::Policy, now: UnixTime) -> Result<KeyRing, KeyError> {
    let home = ring.home.as_ref().ok_or(KeyError::Homeless)?;
    let changed = home.change(|keys| Ok(plan(keys, now, policy)))?;
    if let Some(error) = changed.failed {
        tracing::error!(%error, "keys that are due could not be rotated; those in use stay in use");
    }
    for key in changed.ring.records.iter() {
        let days = key.created_at.until(now).as_secs() / 86_400;
        let (state, kind) = (key.stage.state().as_str(), key.kind.as_str());
        tracing::info!(key.id = %key.id, key.kind = kind, key.state = state, key.age_days = days, "a key");
    }
    Ok(changed.ring)
}

/// Rotates keys when they are due, for as long as the daemon runs.
pub async fn follow(app: Arc<App>) {
    let mut wait = LOOK;
    loop {
        tokio::time::sleep(wait).await;
        wait = if Bench::of(&app).tend().await.is_ok() { LOOK } else { AGAIN };
    }
}
