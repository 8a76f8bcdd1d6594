//! What is known of tailscaled now, and what follows from it. Pure: time is an argument.

use std::time::{Duration, Instant};

use tsidecar_localapi::{BackendState, Daemon, StableNodeId, Status};

use crate::{peer::Role, tailnet::Unready};

/// What is known of tailscaled. One per moment; replaced as a whole.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    link: Link,
    /// What the bus said last.
    state: BackendState,
    /// What was read since the bus said so.
    survey: Survey,
    /// Since when it has been cut off from its control server.
    offline_since: Option<Instant>,
    /// Counts what ends the worth of earlier answers: a lost bus, a new one, a new state.
    epoch: u64,
}

#[derive(Clone, Debug)]
enum Link {
    Starting,
    Away(String),
    Connected,
}

#[derive(Clone, Debug)]
enum Survey {
    /// Nothing was read yet.
    None,
    /// The attempt to read failed.
    Failed(String),
    Read {
        reading: Reading,
        at: Instant,
    },
}

/// What was read from tailscaled in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) this_node: StableNodeId,
    pub(super) state: BackendState,
    pub(super) online: bool,
    pub(super) daemon: Option<Daemon>,
    /// What exposes our sockets or our origin.
    pub(super) exposure: Result<(), Unready>,
}

impl Reading {
    pub(super) fn new(status: &Status, daemon: Option<Daemon>, exposure: Result<(), Unready>) -> Self {
        let this = &status.self_node;
        let (this_node, online) = (this.id.clone(), this.online);
        Self { this_node, state: status.backend_state.clone(), online, daemon, exposure }
    }
}

impl Facts {
    pub(super) const fn new() -> Self {
        Self {
            link: Link::Starting,
            state: BackendState::NoState,
            survey: Survey::None,
            offline_since: None,
            epoch: 0,
        }
    }

    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.link, Link::Connected)
    }

    /// The bus is there; nothing said before counts any more.
    pub(super) fn connected(&mut self) {
        self.start_over(Link::Connected);
    }

    /// The bus is lost.
    pub(super) fn lost(&mut self, reason: String) {
        self.start_over(Link::Away(reason));
    }

    fn start_over(&mut self, link: Link) {
        *self = Self { link, epoch: self.epoch + 1, offline_since: self.offline_since, ..Self::new() };
    }

    /// The bus tells what the daemon is doing. A new state wants a new survey; tells whether it is one.
    pub(super) fn heard(&mut self, state: &BackendState) -> bool {
        let new = self.state != *state;
        if new {
            self.state = state.clone();
            self.survey = Survey::None;
            self.epoch += 1;
        }
        new
    }

    /// Takes in what was read, unless the world has changed since the question; tells whether it was taken.
    pub(super) fn surveyed(&mut self, asked_in: u64, read: Result<Reading, String>, now: Instant) -> bool {
        if asked_in != self.epoch || !self.is_connected() {
            return false;
        }
        match read {
            Ok(reading) => {
                let since = self.offline_since.unwrap_or(now);
                self.offline_since = (!reading.online).then_some(since);
                self.survey = Survey::Read { reading, at: now };
            }
            // What was read before in this epoch still stands for a while; the next attempt is near.
            Err(_) if matches!(self.survey, Survey::Read { .. }) => (),
            Err(reason) => self.survey = Survey::Failed(reason),
        }
        true
    }

    /// Whether whois can be believed, "nobody" included; this node's own name if so.
    ///
    /// Running and a named self mean that a map of the tailnet has arrived since the bus was opened.
    pub(super) fn trusted(&self, limits: &Limits, now: Instant) -> Result<&Reading, Unready> {
        let reading = match (&self.link, &self.survey) {
            (Link::Away(reason), _) => return Err(Unready::TailscaledAway { reason: reason.clone() }),
            (Link::Starting, _) | (Link::Connected, Survey::None) => return Err(Unready::Starting),
            (Link::Connected, Survey::Failed(reason)) => {
                return Err(Unready::Unchecked { reason: reason.clone() });
            }
            (Link::Connected, Survey::Read { at, .. }) if now.saturating_duration_since(*at) > OLDEST => {
                let reason =
                    "its serve config, preferences or status could not be read for a while".to_owned();
                return Err(Unready::Unchecked { reason });
            }
            (Link::Connected, Survey::Read { reading, .. }) => reading,
        };
        Unready::judge_version(reading.daemon.as_ref())?;
        if self.state != BackendState::Running {
            return Err(Unready::NotRunning { state: self.state.clone() });
        }
        if reading.state != BackendState::Running || reading.this_node.as_str().is_empty() {
            return Err(Unready::NoNetmap);
        }
        let cut_off = self.offline_since.map(|since| now.saturating_duration_since(since));
        match (limits.max_stale, cut_off) {
            (Some(limit), Some(cut_off)) if cut_off > limit => {
                Err(Unready::Stale { minutes: limit.as_secs().div_ceil(60) })
            }
            _ => Ok(reading),
        }
    }

    /// Whether requests on a socket of this role may be answered.
    pub(super) fn readiness(&self, role: &Role, limits: &Limits, now: Instant) -> Result<(), Unready> {
        let reading = self.trusted(limits, now)?;
        match role {
            // tailscaled's uid is refused on a proxy's socket, so no forward of its leads there.
            Role::Proxy => Ok(()),
            Role::Service(_) => {
                Unready::judge_services(reading.daemon.as_ref())?;
                reading.exposure.clone()
            }
            Role::Host | Role::Admin | Role::Ops => reading.exposure.clone(),
        }
    }
}

/// How long what was read last stands while reading fails: two rounds of the survey and their time-outs. Longer, and somebody
/// could open our sockets to others without our noticing.
const OLDEST: Duration = Duration::from_secs(75);

/// What the configuration says about how old the daemon's own knowledge may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// How long it may have been cut off from its control server; `None` is for ever.
    pub(super) max_stale: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        Reading {
            this_node: StableNodeId("nIDP".into()),
            state: BackendState::Running,
            online: true,
            daemon: Some(Daemon { capability: 142, version: "1.102.3".into() }),
            exposure: Ok(()),
        }
    }

    fn running(reading: Reading) -> Facts {
        let mut facts = Facts::new();
        facts.connected();
        facts.heard(&BackendState::Running);
        assert!(facts.surveyed(facts.epoch(), Ok(reading), Instant::now()));
        facts
    }

    fn readiness(facts: &Facts, role: &Role) -> Result<(), Unready> {
        facts.readiness(role, &Limits::default(), Instant::now())
    }

    fn service() -> Role {
        Role::Service("svc:login".parse().unwrap())
    }

    /// A31, A48: every step on the way up is its own reason, and none of them is readiness.
    #[test]
    fn nothing_is_believed_before_everything_was_heard() {
        let mut facts = Facts::new();
        assert_eq!(readiness(&facts, &Role::Host), Err(Unready::Starting));
        facts.lost("gone".into());
        assert_eq!(readiness(&facts, &Role::Host), Err(Unready::TailscaledAway { reason: "gone".into() }));
        facts.connected();
        assert_eq!(readiness(&facts, &Role::Host), Err(Unready::Starting));
        let early =
            Reading { state: BackendState::Starting, this_node: StableNodeId::default(), ..reading() };
        facts.heard(&BackendState::Starting);
        facts.surveyed(facts.epoch(), Ok(early.clone()), Instant::now());
        let starting = Unready::NotRunning { state: BackendState::Starting };
        assert_eq!(readiness(&facts, &Role::Host), Err(starting));
        facts.heard(&BackendState::Running);
        assert_eq!(readiness(&facts, &Role::Host), Err(Unready::Starting), "read before the state changed");
        facts.surveyed(facts.epoch(), Ok(early), Instant::now());
        assert_eq!(readiness(&facts, &Role::Host), Err(Unready::NoNetmap));
        facts.surveyed(facts.epoch(), Ok(reading()), Instant::now());
        assert_eq!(readiness(&facts, &Role::Host), Ok(()));
        facts.lost("again".into());
        facts.connected();
        assert_eq!(readiness(&facts, &Role::Host), Err(Unready::Starting), "nothing outlives the bus");
    }

    #[test]
    fn an_answer_from_before_a_change_is_not_taken() {
        let mut facts = running(reading());
        let asked_in = facts.epoch();
        facts.lost("gone".into());
        assert!(!facts.surveyed(asked_in, Ok(reading()), Instant::now()));
        assert!(
            !facts.surveyed(facts.epoch(), Ok(reading()), Instant::now()),
            "nobody is there to have said it"
        );
        facts.connected();
        assert!(!facts.surveyed(asked_in, Ok(reading()), Instant::now()));
        assert!(facts.heard(&BackendState::Running) && !facts.heard(&BackendState::Running));
    }

    #[test]
    fn a_failed_survey_keeps_the_last_one_but_makes_none() {
        let mut facts = running(reading());
        facts.surveyed(facts.epoch(), Err("slow".into()), Instant::now());
        assert_eq!(readiness(&facts, &Role::Host), Ok(()));
        let later = Instant::now() + OLDEST + Duration::from_secs(1);
        facts.surveyed(facts.epoch(), Err("slow".into()), later);
        let too_old = facts.readiness(&Role::Host, &Limits::default(), later);
        assert!(matches!(too_old, Err(Unready::Unchecked { .. })), "{too_old:?}");
        facts.connected();
        facts.heard(&BackendState::Running);
        facts.surveyed(facts.epoch(), Err("slow".into()), Instant::now());
        assert_eq!(readiness(&facts, &Role::Host), Err(Unready::Unchecked { reason: "slow".into() }));
    }

    /// A35: exposure closes what tailscaled reaches, not a proxy's socket.
    #[test]
    fn exposure_closes_the_sockets_that_it_exposes() {
        let facts = running(Reading { exposure: Err(Unready::TailscaleSsh), ..reading() });
        for role in [Role::Host, service(), Role::Ops] {
            assert_eq!(readiness(&facts, &role), Err(Unready::TailscaleSsh), "{role:?}");
        }
        assert_eq!(readiness(&facts, &Role::Proxy), Ok(()));
    }

    #[test]
    fn versions_close_what_they_cannot_do() {
        let with = |capability, version: &str| {
            running(Reading { daemon: Some(Daemon { capability, version: version.into() }), ..reading() })
        };
        let old = with(138, "1.98.1");
        assert_eq!(readiness(&old, &Role::Host), Ok(()));
        let refused = Unready::TooOldForServices { version: "1.98.1".into() };
        assert_eq!(readiness(&old, &service()), Err(refused));
        let older = with(130, "1.90.4");
        for role in [Role::Host, service(), Role::Proxy] {
            let refused = Unready::TooOld { version: "1.90.4".into() };
            assert_eq!(readiness(&older, &role), Err(refused));
        }
    }

    #[test]
    fn a_daemon_that_is_cut_off_is_believed_for_max_stale() {
        let start = Instant::now();
        let limits = Limits { max_stale: Some(Duration::from_mins(10)) };
        let mut facts = running(Reading { online: false, ..reading() });
        facts.offline_since = Some(start);
        let at = |facts: &Facts, limits, seconds| {
            let now = start + Duration::from_secs(seconds);
            let mut facts = facts.clone();
            if let Survey::Read { at, .. } = &mut facts.survey {
                *at = now;
            }
            facts.readiness(&Role::Proxy, &limits, now)
        };
        assert_eq!(at(&facts, limits, 600), Ok(()));
        assert_eq!(at(&facts, limits, 601), Err(Unready::Stale { minutes: 10 }));
        assert_eq!(at(&facts, Limits::default(), 1_000_000), Ok(()), "off by default");
        // A restart of tailscaled does not make it fresher; being online does.
        facts.connected();
        facts.heard(&BackendState::Running);
        facts.surveyed(facts.epoch(), Ok(Reading { online: false, ..reading() }), start);
        assert_eq!(at(&facts, limits, 601), Err(Unready::Stale { minutes: 10 }));
        facts.surveyed(facts.epoch(), Ok(reading()), start);
        assert_eq!(at(&facts, limits, 1_000_000), Ok(()));
    }
}
