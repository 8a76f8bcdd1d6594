//! `SIGHUP`: clients, policy and resources from the files, all of them or none.

use std::collections::BTreeSet;
use std::sync::Arc;

use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::time::{Lifetime, UnixTime};

use crate::app::App;
use crate::backchannel::targets;
use crate::config::{Config, ConfigError};
use crate::keys::rotation::{Bench, KeyError};
use crate::snapshot::{Snapshot, SnapshotError, demand};
use crate::store::{Store, StoreError, StoredClient};
use crate::withdraw;

/// What a reload did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Clients that exist now.
    pub clients: usize,
    /// Warnings of the files.
    pub warnings: Vec<String>,
    /// What changed in the file but takes a restart: tables, or `issuer`.
    pub restart: Vec<&'static str>,
    /// Clients that left the files or were disabled there: everything issued to them is void.
    pub ended: Vec<ClientId>,
}

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The files are not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// They do not fit the keys.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A key that they ask for cannot be made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that reads the files ended.
    #[error("the files could not be read: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Reads the files again and swaps the snapshot, or leaves everything as it was. Logs what happened, either way.
///
/// # Errors
/// [`ReloadError`]; it is in the log already.
pub async fn reload(app: &App) -> Result<Report, ReloadError> {
    let result = load(app).await;
    match &result {
        Ok(report) => {
            for warning in &report.warnings {
                tracing::warn!(%warning, "the configuration deserves a look");
            }
            for key in &report.restart {
                tracing::warn!(
                    key,
                    "this part of the configuration changed, but takes effect only after a restart"
                );
            }
            for id in &report.ended {
                tracing::info!(client.id = %id, "a client left the configuration; what was issued to it is void");
            }
            tracing::info!(clients = report.clients, "the configuration was reloaded");
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was not reloaded; the one before stays in force");
        }
    }
    result
}

async fn load(app: &App) -> Result<Report, ReloadError> {
    let file = app.config.file.clone();
    let config = Arc::new(tokio::task::spawn_blocking(move || Config::load(&file)).await??);
    let restart = needs_restart(&app.config, &config, &app.snapshot.load());
    let changes = Arc::clone(app.snapshot.load().changes());
    let held = changes.lock().await;
    let bench = Bench::of(app);
    // Keys that are no longer asked for are retired only once the new configuration is in force.
    let current = bench.provide(demand(&config, &app.store.clients()?)).await?;
    let (next, ended) = take_over(&current, &config, &*app.store, app.clock.now()).await?;
    let clients = next.clients.len();
    let targets = targets(&next);
    app.snapshot.store(Arc::new(next));
    app.store.tell(targets).await?;
    // Whoever reloads wants to see what there is now, of the descriptions and keys that clients publish, too.
    app.documents.fetched.look_again();
    app.client_keys.look_again();
    app.tailnet.peer_changes().notify_one();
    drop(held);
    // What goes wrong is in the log; the configuration is in force all the same.
    let _ = bench.tend().await;
    Ok(Report { clients, warnings: config.warnings.clone(), restart, ended })
}

/// Makes the next snapshot. A client that left the files, or was disabled there, is ended in the store first, so that its
/// grants do not come back to life when it returns.
async fn take_over(
    current: &Snapshot,
    config: &Arc<Config>,
    store: &dyn Store,
    now: UnixTime,
) -> Result<(Snapshot, Vec<ClientId>), ReloadError> {
    // Anything wrong with the new configuration shows before something is written.
    let next = current.next(config, &store.clients()?)?;
    let ended: Vec<ClientId> = ended(current, &next).cloned().collect();
    if ended.is_empty() {
        remember(config, store, now).await?;
        return Ok((next, ended));
    }
    // Before they are gone, so that each is told in the change that ends a grant of theirs.
    let told: BTreeSet<_> = ended.iter().filter(|id| is_told(current, id)).collect();
    if !told.is_empty() {
        withdraw::end_all(store, now, |grant| told.contains(&grant.facts().client)).await?;
    }
    let stored = store.clients()?;
    for id in &ended {
        let spec = stored.iter().find(|record| record.id == *id).and_then(|record| record.spec.clone());
        store.put_client(StoredClient { id: id.clone(), spec, not_before: now, changed_at: now }).await?;
    }
    remember(config, store, now).await?;
    Ok((current.next(config, &store.clients()?)?, ended))
}

/// Remembers in the store which clients stand in files, and ends those that stood there and do so no more: also at a start, for
/// what left the files while the daemon was stopped.
///
/// The record of such a client has no `spec`. While the client stands in a file, the record was changed after its
/// `not_before`; once it left, that is its last change.
///
/// # Errors
/// Those of the store; what was written until then stands.
pub async fn remember(config: &Config, store: &dyn Store, now: UnixTime) -> Result<(), StoreError> {
    let stored = store.clients()?;
    let live: BTreeSet<&str> =
        config.clients.iter().filter(|(spec, _)| !spec.disabled).map(|(spec, _)| spec.id.as_str()).collect();
    let stood_there = |record: &&StoredClient| record.spec.is_none() && record.changed_at > record.not_before;
    for record in stored.iter().filter(stood_there).filter(|record| !live.contains(record.id.as_str())) {
        tracing::info!(client.id = %record.id, "a client left the files; what was issued to it is void");
        let ended = StoredClient { not_before: now, changed_at: now, ..record.clone() };
        store.put_client(ended).await?;
    }
    for id in live.into_iter().filter_map(|id| ClientId::parse(id).ok()) {
        let known = stored.iter().find(|record| record.id == id);
        if known.is_some_and(|record| record.spec.is_some() || stood_there(&record)) {
            continue;
        }
        let not_before = known.map_or(UnixTime::default(), |record| record.not_before);
        let changed_at = now.max(not_before.after(Lifetime::from_secs(1)));
        store.put_client(StoredClient { id, spec: None, not_before, changed_at }).await?;
    }
    Ok(())
}

fn is_told(snapshot: &Snapshot, id: &ClientId) -> bool {
    snapshot.clients.get(id).is_some_and(|client| client.backchannel().is_some())
}

fn ended<'a>(current: &'a Snapshot, next: &'a Snapshot) -> impl Iterator<Item = &'a ClientId> {
    let was_live = |id: &&ClientId| {
        current.file_of(id).is_some() && current.clients.get(*id).is_some_and(|client| !client.is_disabled())
    };
    current.clients.keys().filter(was_live).filter(|id| {
        let still = next.clients.get(*id).filter(|_| next.file_of(id).is_some());
        still.is_none_or(|client| client.is_disabled())
    })
}

fn needs_restart(start: &Config, now: &Config, snapshot: &Snapshot) -> Vec<&'static str> {
    let changed = [
        ("issuer", snapshot.pins().issuer(now) != snapshot.issuer),
        ("[tailscale]", start.tailscale != now.tailscale),
        ("[listen]", start.listen != now.listen),
        ("[identity]", start.identity != now.identity),
        ("[limits]", start.limits != now.limits),
        ("[registration]", start.registration.limits != now.registration.limits),
        ("[outbound]", start.outbound != now.outbound),
        ("[state]", start.state_dir != now.state_dir),
        ("[log]", start.log != now.log),
    ];
    changed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use tsidecar_oauth::client::ClientSpec;

    use super::*;
    use crate::snapshot::tests::{config, pins, ring, spec, stored};
    use crate::store::MemoryStore;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::from_secs(seconds)
    }

    #[tokio::test]
    async fn what_leaves_the_files_is_ended_for_good() {
        let store = MemoryStore::new();
        store.put_client(stored("stays", Some(spec("stays", "S")), 0)).await.unwrap();
        let files = config(vec![spec("a", "A"), spec("b", "B"), spec("c", "C")]);
        let first = Snapshot::build(&files, pins(), ring(), &store.clients().unwrap()).unwrap();

        let fewer = config(vec![spec("a", "A"), ClientSpec { disabled: true, ..spec("b", "B") }]);
        let (second, ended) = take_over(&first, &fewer, &store, at(700)).await.unwrap();
        assert_eq!(ended.iter().map(ClientId::as_str).collect::<Vec<_>>(), ["b", "c"]);
        assert!(second.client("c").is_none() && second.client("stays").is_some());

        let (third, ended) = take_over(&second, &files, &store, at(800)).await.unwrap();
        assert!(ended.is_empty());
        let not_before = |id| third.client(id).unwrap().not_before();
        assert_eq!((not_before("a"), not_before("b"), not_before("c")), (at(0), at(700), at(700)));
    }

    /// A client that leaves the files while the daemon is stopped, and comes back later, does not bring its grants back.
    #[tokio::test]
    async fn what_left_the_files_before_a_start_is_ended_for_good() {
        let store = MemoryStore::new();
        store.put_client(stored("stays", Some(spec("stays", "S")), 0)).await.unwrap();
        let (both, one) = (config(vec![spec("a", "A"), spec("b", "B")]), config(vec![spec("a", "A")]));
        let start = async |files: &Arc<Config>, seconds| {
            remember(files, &store, at(seconds)).await.unwrap();
            Snapshot::build(files, pins(), ring(), &store.clients().unwrap()).unwrap()
        };
        let not_before = |snapshot: &Snapshot, id| snapshot.client(id).map(|client| client.not_before());
        let first = start(&both, 100).await;
        assert_eq!((not_before(&first, "a"), not_before(&first, "b")), (Some(at(0)), Some(at(0))));
        assert_eq!(not_before(&start(&one, 200).await, "b"), None);
        let third = start(&both, 300).await;
        assert_eq!((not_before(&third, "a"), not_before(&third, "b")), (Some(at(0)), Some(at(200))));
        let disabled = config(vec![spec("a", "A"), ClientSpec { disabled: true, ..spec("b", "B") }]);
        start(&disabled, 400).await;
        let last = start(&both, 500).await;
        assert_eq!((not_before(&last, "b"), not_before(&last, "stays")), (Some(at(400)), Some(at(0))));
    }

    #[tokio::test]
    async fn a_bad_configuration_changes_nothing() {
        let store = MemoryStore::new();
        let first = Snapshot::build(&config(vec![spec("a", "A")]), pins(), ring(), &[]).unwrap();
        let bad = config(vec![ClientSpec { name: String::new(), ..spec("b", "B") }]);
        assert!(matches!(take_over(&first, &bad, &store, at(9)).await, Err(ReloadError::Snapshot(_))));
        assert!(store.clients().unwrap().is_empty());
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let snapshot = Snapshot::build(&config(Vec::new()), pins(), ring(), &[]).unwrap();
        let start = Config::default();
        assert!(needs_restart(&start, &Config::default(), &snapshot).is_empty());
        let mut now = Config::default();
        now.limits.connections = 5;
        now.issuer = tsidecar_oauth::uri::Issuer::parse("https://other.test").ok();
        assert_eq!(needs_restart(&start, &now, &snapshot), ["issuer", "[limits]"]);
    }
}
