//! `SIGHUP`: clients, policy and resources from the files, all of them or none.

use std::sync::Arc;

use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::time::UnixTime;

use crate::app::App;
use crate::config::{Config, ConfigError};
use crate::snapshot::{Snapshot, SnapshotError};
use crate::store::{Store, StoreError, StoredClient};

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
    let _held = changes.lock().await;
    let current = app.snapshot.load_full();
    let (next, ended) = take_over(&current, &config, &*app.store, app.clock.now()).await?;
    let clients = next.clients.len();
    app.snapshot.store(Arc::new(next));
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
        return Ok((next, ended));
    }
    let stored = store.clients()?;
    for id in &ended {
        let spec = stored.iter().find(|record| record.id == *id).and_then(|record| record.spec.clone());
        store.put_client(StoredClient { id: id.clone(), spec, not_before: now, changed_at: now }).await?;
    }
    Ok((current.next(config, &store.clients()?)?, ended))
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
