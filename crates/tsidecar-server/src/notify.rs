//! Tells systemd how we are: ready, stopping, alive (`sd_notify(3)`). Without systemd nothing is said.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::store::Store;
use crate::tailnet::Unready;

/// Takes the sockets that systemd opened before us (`sd_listen_fds(3)`), in no particular order: each is known by its path.
/// Clears the environment of them, so it must be called before any thread is started.
///
/// # Errors
/// When a descriptor is no listening unix socket.
pub fn inherited_sockets() -> io::Result<Vec<UnixListener>> {
    let mut descriptors = ListenFd::from_env();
    let mut sockets = Vec::new();
    for position in 0..descriptors.len() {
        let socket = descriptors.take_unix_listener(position);
        let wrong =
            |error| io::Error::other(format!("a socket inherited from systemd cannot be used: {error}"));
        sockets.extend(socket.map_err(wrong)?);
    }
    Ok(sockets)
}

/// Everything is open and loaded. tailscaled may still be away: then requests are answered with 503.
pub fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Whether requests are answered, for `systemctl status`.
pub fn readiness(readiness: &Result<(), Unready>) {
    match readiness {
        Ok(()) => say(&[NotifyState::Status("ready")]),
        Err(unready) => say(&[NotifyState::Status(&format!("not ready: {unready}"))]),
    }
}

/// The start goes on, and will say so again within this time.
pub fn waiting(status: &str, at_most: Duration) {
    let grace = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX).saturating_add(WAITING_GRACE);
    say(&[NotifyState::Status(status), NotifyState::ExtendTimeoutUsec(grace)]);
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

/// How much later than announced a sign of life may come before systemd gives up, in microseconds.
const WAITING_GRACE: u32 = 30_000_000;
