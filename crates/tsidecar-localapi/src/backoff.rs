//! How long to wait before the next attempt to reach tailscaled.

use std::time::Duration;

/// Counts out the pauses between attempts to reconnect: 100 ms, doubled each time up to 5 s.
///
/// There is no jitter: the daemon is on this host and has one bus watcher of ours.
///
/// ```
/// use std::time::Duration;
/// use tsidecar_localapi::Backoff;
///
/// let mut backoff = Backoff::new();
/// assert_eq!(backoff.next_delay(), Duration::from_millis(100));
/// assert_eq!(backoff.next_delay(), Duration::from_millis(200));
/// backoff.reset();
/// assert_eq!(backoff.next_delay(), Duration::from_millis(100));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Starts at the shortest pause.
    pub const fn new() -> Self {
        Self { next: SHORTEST }
    }

    /// The pause before the next attempt; each call lengthens the one after it.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(LONGEST);
        delay
    }

    /// Starts over, after an attempt that succeeded.
    pub const fn reset(&mut self) {
        self.next = SHORTEST;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// A restart of tailscaled takes a few of these.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest time that we may lag behind a daemon that came back.
const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_five_seconds() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..8).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), SHORTEST);
    }
}
