//! The two tasks that listen to tailscaled.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};
use tsidecar_localapi::{Backoff, Error, Notify, Watch, WatchMask};

use super::{Shared, facts::Reading};

/// Reads the bus for ever: connects, reads until it breaks, waits, connects again.
pub(super) async fn follow_bus(shared: Arc<Shared>) {
    let mut backoff = Backoff::new();
    let mut told = String::new();
    loop {
        let reason = match open(&shared).await {
            Ok(bus) => {
                let reason = read(&shared, bus, &mut backoff).await;
                told.clear();
                reason
            }
            Err(error) => error.to_string(),
        };
        // Everything that was known came from a daemon that may be gone.
        shared.forget_all();
        if told != reason {
            tracing::warn!(%reason, "tailscaled is not there; nobody can be identified until it is back");
            told.clone_from(&reason);
        }
        shared.facts.send_modify(|facts| facts.lost(reason));
        sleep(backoff.next_delay()).await;
    }
}

/// Daemons before 1.98 do not know some bits and refuse the mask.
async fn open(shared: &Shared) -> Result<Watch, Error> {
    let client = shared.cache.client();
    match client.watch(WatchMask::CHANGES).await {
        Err(Error::Status { code: 400, .. }) => client.watch(WatchMask::CHANGES.fallback()).await,
        other => other,
    }
}

/// Reads one bus until it ends; tells why.
async fn read(shared: &Shared, mut bus: Watch, backoff: &mut Backoff) -> String {
    // Which process it is now. When that cannot be told, the next connection asks.
    if let Err(error) = shared.gate.ask().await {
        tracing::debug!(%error, "which process tailscaled is cannot be told");
    }
    shared.forget_all();
    shared.facts.send_modify(super::Facts::connected);
    shared.wanted.notify_one();
    loop {
        match bus.next().await {
            Ok(Some(change)) => {
                backoff.reset();
                heard(shared, &change);
            }
            Ok(None) => return "it closed the bus".to_owned(),
            Err(error) => return error.to_string(),
        }
    }
}

fn heard(shared: &Shared, change: &Notify) {
    let state = change.state.as_ref();
    let new_state = state.is_some_and(|state| {
        let mut new = false;
        shared.facts.send_if_modified(|facts| {
            new = facts.heard(state);
            new
        });
        new
    });
    // After the facts: whoever asks from now on asks in the new epoch.
    shared.cache.apply(change);
    shared.sightings.forget(change);
    if new_state || change.prefs.is_some() || change.self_change.is_some() || change.net_map {
        shared.wanted.notify_one();
    }
    if change.net_map || !change.peers_removed.is_empty() || !change.peers_changed.is_empty() {
        shared.peers.notify_one();
    }
    if let Some(words) = &change.err_message {
        tracing::warn!(message = ?words, "tailscaled reports trouble on its bus");
    }
}

/// Reads status, preferences and serve config for ever, whenever it is wanted and every 30 s; the bus does not tell of a
/// changed serve config.
pub(super) async fn survey(shared: Arc<Shared>) {
    let often = shared.limits.max_stale.map_or(PERIOD, |limit| PERIOD.min(limit / 2)).max(SHORTEST);
    let mut told = None;
    loop {
        let mut pause = often;
        let (connected, epoch) = {
            let facts = shared.facts.borrow();
            (facts.is_connected(), facts.epoch())
        };
        if connected {
            let read = look(&shared).await;
            if let Err(reason) = &read {
                tracing::warn!(%reason, "what tailscaled serves and how it is set could not be read");
                pause = SHORTEST;
            }
            publish(&shared, epoch, read);
        }
        let readiness =
            shared.facts.borrow().readiness(&crate::peer::Role::Host, &shared.limits, Instant::now());
        if connected && told.as_ref() != Some(&readiness) {
            match &readiness {
                Ok(()) => tracing::info!("ready"),
                Err(reason) => tracing::warn!(%reason, "not ready: requests are answered with 503"),
            }
        }
        if readiness.is_err() {
            // Whoever puts it right wants to see it.
            pause = pause.min(IMPATIENT);
        }
        told = Some(readiness);
        // Whatever happened since the last look is in `wanted` already.
        let _ = timeout(pause, shared.wanted.notified()).await;
    }
}

fn publish(shared: &Shared, asked_in: u64, read: Result<Reading, String>) {
    // "Nobody" may have been said before the map arrived of which this survey is the first to tell.
    if shared.facts.borrow().trusted(&shared.limits, Instant::now()).is_err() {
        shared.forget_all();
    }
    let taken = {
        let mut taken = false;
        shared.facts.send_modify(|facts| taken = facts.surveyed(asked_in, read, Instant::now()));
        taken
    };
    if !taken {
        shared.wanted.notify_one();
    }
}

async fn look(shared: &Shared) -> Result<Reading, String> {
    let client = shared.cache.client();
    let (status, prefs, config) = tokio::try_join!(client.status(), client.prefs(), client.serve_config())
        .map_err(|error| error.to_string())?;
    let exposure = shared.boundary.judge(&config, &prefs);
    Ok(Reading::new(&status, client.daemon(), exposure))
}

/// How often everything is read although nothing was heard (design section 4).
const PERIOD: Duration = Duration::from_secs(30);
/// How often while we are not ready.
const IMPATIENT: Duration = Duration::from_secs(5);
/// How soon it is read again after a failure, and the least pause at all.
const SHORTEST: Duration = Duration::from_secs(1);
