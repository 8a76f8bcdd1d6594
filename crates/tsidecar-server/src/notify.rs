//! Tells systemd how we are: ready, stopping, alive (`sd_notify(3)`). Without systemd nothing is said.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::store::Store;

/// Everything is open and loaded. tailscaled may still be away: then requests are answered with 503.
pub fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What we are doing, for `systemctl status`.
pub fn status(status: &str) {
    say(&[NotifyState::Status(status)]);
}

/// The stop has begun.
pub fn stopping() {
    say(&[NotifyState::Stopping, NotifyState::Status("finishing the requests that are being worked on")]);
}

/// Keeps the watchdog quiet for as long as the committer answers: its ping travels through it, so a store that hangs ends
/// in a restart. Returns at once without a watchdog.
pub async fn watchdog(store: Arc<dyn Store>) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut turns = tokio::time::interval((period / 2).max(Duration::from_millis(100)));
    loop {
        turns.tick().await;
        match store.ping().await {
            Ok(()) => say(&[NotifyState::Watchdog]),
            Err(error) => tracing::warn!(%error, "the store did not answer the watchdog"),
        }
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}
