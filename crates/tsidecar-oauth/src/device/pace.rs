//! How often a device may ask (RFC 8628 §3.5, `slow_down`).

use crate::time::{Lifetime, UnixTime};

/// Seconds between two polls (RFC 8628 §3.2, `interval`).
pub const INTERVAL: Lifetime = Lifetime::from_secs(5);

/// What each poll that comes too early adds (RFC 8628 §3.5).
const MORE: Lifetime = Lifetime::from_secs(5);

/// How much earlier a poll may come: times are whole seconds, and networks are not punctual.
const SLACK: Lifetime = Lifetime::from_secs(1);

/// The longest interval; an authorization lives for no more than ten minutes.
const LONGEST: Lifetime = Lifetime::from_minutes(10);

/// When a device polled last, and how long it must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    last: UnixTime,
    interval: Lifetime,
}

/// Whether a poll came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// It kept the interval.
    InTime,
    /// It did not; the interval is five seconds longer from now on.
    TooEarly,
}

impl Pace {
    /// Judges a poll by the one before. A clock that went back is nobody's haste.
    pub fn poll(before: Option<Self>, now: UnixTime) -> (Self, Timing) {
        let Some(Self { last, interval }) = before else {
            return (Self { last: now, interval: INTERVAL }, Timing::InTime);
        };
        if now >= last && !last.after(interval).is_past(now.after(SLACK)) {
            let longer = Lifetime::from_secs(interval.as_secs() + MORE.as_secs()).min(LONGEST);
            return (Self { last: now, interval: longer }, Timing::TooEarly);
        }
        (Self { last: now, interval }, Timing::InTime)
    }

    /// Tells whether nothing would change if this were forgotten.
    pub fn is_over(&self, now: UnixTime) -> bool {
        self.last.after(LONGEST).is_past(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polls(times: &[u64]) -> Vec<Timing> {
        let mut pace = None;
        let mut judged = Vec::new();
        for time in times {
            let (next, timing) = Pace::poll(pace, UnixTime::from_secs(*time));
            pace = Some(next);
            judged.push(timing);
        }
        judged
    }

    #[test]
    fn five_seconds_and_five_more_for_each_haste() {
        use Timing::{InTime, TooEarly};
        assert_eq!(polls(&[100, 105, 110, 114, 119]), [InTime; 5]);
        assert_eq!(polls(&[100, 103]), [InTime, TooEarly]);
        // 10 s from 103, 15 s from 112 …
        assert_eq!(polls(&[100, 103, 113, 122]), [InTime, TooEarly, InTime, InTime]);
        assert_eq!(polls(&[100, 103, 111, 126]), [InTime, TooEarly, TooEarly, InTime]);
        assert_eq!(polls(&[100, 100, 100]), [InTime, TooEarly, TooEarly]);
    }

    #[test]
    fn a_clock_that_went_back_slows_nobody_down() {
        assert_eq!(polls(&[100, 40, 45]), [Timing::InTime; 3]);
    }

    #[test]
    fn the_interval_stays_bounded() {
        let mut pace = Pace::poll(None, UnixTime::from_secs(5)).0;
        for _ in 0..1_000 {
            pace = Pace::poll(Some(pace), UnixTime::from_secs(5)).0;
        }
        assert_eq!(pace.interval, LONGEST);
        assert!(!pace.is_over(UnixTime::from_secs(604)) && pace.is_over(UnixTime::from_secs(605)));
    }
}
