//! Which keys are made, used, retired and removed when (design section 12).
//!
//! Layer 1. Pure: from the records of the keys, the time and a policy to a list of steps. Each step is one write of one file
//! (or one removal), and every prefix of a list leaves a state from which [`plan`] goes on: a crash between two steps costs
//! nothing. Of several active keys of one kind the one with the highest serial number counts, whatever the clock did.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::client::{ClientSpec, Lives};
use crate::id::KeyId;
use crate::jose::Algorithm;
use crate::key::KeyState;
use crate::resource::ResourceSpec;
use crate::session::SIGNED_OUT_LIFETIME;
use crate::time::{Lifetime, UnixTime};

/// How much longer a retired sealing key stays than what it made can live: room for clocks, as for tombstones.
const ROOM: Lifetime = Lifetime::from_minutes(60);

/// How much longer a retired signing key stays: ID tokens come back as `id_token_hint` long after they expired, at the end of
/// an application's session (OpenID Connect RP-Initiated Logout §2).
const HINTS: Lifetime = Lifetime::from_days(7);

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum KeyKind {
    /// Signing JWTs with one algorithm.
    Signing(Algorithm),
    /// Sealing codes, opaque access tokens and refresh tokens.
    Sealing,
}

impl KeyKind {
    /// Every kind that there may be.
    pub const ALL: [Self; 4] = [
        Self::Signing(Algorithm::Rs256),
        Self::Signing(Algorithm::Es256),
        Self::Signing(Algorithm::EdDsa),
        Self::Sealing,
    ];

    /// The name of the algorithm, or `sealing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signing(algorithm) => algorithm.as_str(),
            Self::Sealing => "sealing",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<KeyKind> for &'static str {
    fn from(kind: KeyKind) -> Self {
        kind.as_str()
    }
}

/// A name that is no kind of key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of key; allowed: \"RS256\", \"ES256\", \"EdDSA\", \"sealing\"")]
pub struct NoKind(String);

impl TryFrom<String> for KeyKind {
    type Error = NoKind;

    fn try_from(text: String) -> Result<Self, NoKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(NoKind(text))
    }
}

/// Where a key is in its life, with the times of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", deny_unknown_fields)]
pub enum Stage {
    /// Published, not used yet.
    Next {
        /// When it comes into use.
        activates_at: UnixTime,
    },
    /// In use for everything new.
    Active {
        /// Since when.
        activated_at: UnixTime,
    },
    /// Not used for anything new; what it made is still accepted.
    Retired {
        /// Since when it was in use.
        activated_at: UnixTime,
        /// Until when.
        retired_at: UnixTime,
    },
}

impl Stage {
    /// The state alone.
    pub const fn state(self) -> KeyState {
        match self {
            Self::Next { .. } => KeyState::Next,
            Self::Active { .. } => KeyState::Active,
            Self::Retired { .. } => KeyState::Retired,
        }
    }
}

/// What is kept of a key beside the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// `kid` of a signing key, the prefix of what a sealing key made.
    pub id: KeyId,
    /// What it is for.
    pub kind: KeyKind,
    /// Counts the keys of one kind. Clocks go back, this does not.
    pub serial: u32,
    /// When it was made, and published.
    pub created_at: UnixTime,
    /// Where it is in its life.
    pub stage: Stage,
    /// The longest life of anything that it may have made.
    pub longest: Lifetime,
}

impl KeyRecord {
    /// When a retired key goes: everything that it made has expired by then, and ID tokens are no more hints.
    pub const fn gone_at(&self) -> Option<UnixTime> {
        match self.stage {
            Stage::Retired { retired_at, .. } => {
                let margin = match self.kind {
                    KeyKind::Signing(_) => HINTS,
                    KeyKind::Sealing => ROOM,
                };
                Some(retired_at.after(self.longest).after(margin))
            }
            Stage::Next { .. } | Stage::Active { .. } => None,
        }
    }

    /// When a key that is in use will be retired, as far as it is known: with the activation of its successor, which may not
    /// be made yet. `None` for other keys, and when nothing rotates by itself.
    pub fn retires_at(&self, keys: &[Self], policy: &Policy) -> Option<UnixTime> {
        let Stage::Active { activated_at } = self.stage else { return None };
        let successor = keys.iter().filter(|key| key.kind == self.kind && key.serial > self.serial);
        let planned = successor.filter_map(|key| match key.stage {
            Stage::Next { activates_at } => Some(activates_at),
            Stage::Active { .. } | Stage::Retired { .. } => None,
        });
        planned.min().or_else(|| policy.every.map(|every| activated_at.after(every)))
    }
}

/// The key of a kind that is in use: the active one with the highest serial number.
pub fn in_use(keys: &[KeyRecord], kind: KeyKind) -> Option<&KeyRecord> {
    let active = keys.iter().filter(|key| key.kind == kind && key.stage.state() == KeyState::Active);
    active.max_by_key(|key| key.serial)
}

/// What clients and resources ask of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Algorithms for which there must be a key.
    pub algorithms: BTreeSet<Algorithm>,
    /// The longest life of anything signed.
    pub signed: Lifetime,
    /// The longest life of anything sealed.
    pub sealed: Lifetime,
}

impl Default for Demand {
    /// What is there always: RS256 and ES256, and the lives of a client that says nothing.
    fn default() -> Self {
        let lives = Lives::default();
        Self {
            algorithms: [Algorithm::Rs256, Algorithm::Es256].into(),
            signed: lives.id_token.max(lives.access_token),
            // What says that somebody signed out must open for as long as a browser keeps it, and no session lives longer.
            sealed: lives.refresh_absolute.max(lives.access_token).max(SIGNED_OUT_LIFETIME),
        }
    }
}

impl Demand {
    /// Adds what a client asks for.
    #[must_use]
    pub fn with_client(mut self, client: &ClientSpec) -> Self {
        let lives = client.lives;
        self.algorithms.extend(client.signing_algorithms());
        self.signed = self.signed.max(lives.id_token).max(lives.access_token);
        self.sealed = self.sealed.max(lives.refresh_absolute).max(lives.access_token);
        self
    }

    /// Adds what a resource asks for.
    #[must_use]
    pub fn with_resource(mut self, resource: &ResourceSpec) -> Self {
        self.algorithms.insert(resource.alg);
        self.signed = resource.access_token.map_or(self.signed, |life| self.signed.max(life));
        self
    }

    /// Adds algorithms that are wanted in any case.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms.extend(algorithms);
        self
    }

    /// What one or the other asks for.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        self.algorithms.extend(&other.algorithms);
        self.signed = self.signed.max(other.signed);
        self.sealed = self.sealed.max(other.sealed);
        self
    }

    fn wants(&self, kind: KeyKind) -> bool {
        match kind {
            KeyKind::Signing(algorithm) => self.algorithms.contains(&algorithm),
            KeyKind::Sealing => true,
        }
    }

    const fn longest(&self, kind: KeyKind) -> Lifetime {
        match kind {
            KeyKind::Signing(_) => self.signed,
            KeyKind::Sealing => self.sealed,
        }
    }
}

/// When keys are rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a key is in use before its successor is; `None`: until somebody rotates it.
    pub every: Option<Lifetime>,
    /// How long a key is published before it is used: relying parties learn it in time.
    pub ahead: Lifetime,
    /// What is asked of the keys.
    pub demand: Demand,
}

/// One change of one key: durable as a whole, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new key.
    Make(NewKey),
    /// A key comes into use; as it is from now on.
    Activate(KeyRecord),
    /// A key goes out of use; as it is from now on.
    Retire(KeyRecord),
    /// What a key makes may live longer from now on.
    Lengthen(KeyRecord),
    /// A key goes.
    Remove(KeyRecord),
}

/// A key to be made; its id and its secret are drawn outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// What it is for.
    pub kind: KeyKind,
    /// Its number among its kind.
    pub serial: u32,
    /// When it is made.
    pub created_at: UnixTime,
    /// [`Stage::Next`], or [`Stage::Active`] for a first or urgent key.
    pub stage: Stage,
    /// The longest life of anything that it will make.
    pub longest: Lifetime,
}

impl NewKey {
    /// The record of the key under its id.
    pub fn named(self, id: KeyId) -> KeyRecord {
        let Self { kind, serial, created_at, stage, longest } = self;
        KeyRecord { id, kind, serial, created_at, stage, longest }
    }
}

/// What is due at a moment. Empty when nothing is; so it is after its steps were taken.
///
/// A key that is wanted and not there is made active at once: nobody can have relied on another. Nothing else comes into
/// use before its [`Stage::Next`] says so, and nothing goes before what it made has expired. A clock that went back lets
/// everything wait.
pub fn plan(keys: &[KeyRecord], now: UnixTime, policy: &Policy) -> Vec<Step> {
    let mut planner = Planner::new(keys, now, policy);
    for kind in KeyKind::ALL {
        planner.tend(kind);
    }
    planner.forget();
    planner.steps
}

/// How soon a commanded rotation comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// After the new key was published for as long as the policy says.
    InTime,
    /// At once: relying parties that keep the key set refuse what is signed until they fetch it again.
    Now,
}

/// Why a command about keys makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotationError {
    /// No key of this kind is in use.
    #[error("there is no {0} key: no client or resource asks for one, nor does [keys] algorithms")]
    NotInUse(KeyKind),
    /// There is no such key.
    #[error("there is no key {0:?}; `tsidecar keys list` shows them")]
    Unknown(String),
}

/// Rotates kinds by command. Where a next key is there already, none is made.
///
/// # Errors
/// [`RotationError::NotInUse`].
pub fn rotate(
    keys: &[KeyRecord],
    kinds: &[KeyKind],
    haste: Haste,
    now: UnixTime,
    policy: &Policy,
) -> Result<Vec<Step>, RotationError> {
    let mut planner = Planner::new(keys, now, policy);
    for kind in kinds {
        let active = planner.active(*kind).ok_or(RotationError::NotInUse(*kind))?;
        match (planner.next(*kind), haste) {
            (Some(_), Haste::InTime) => (),
            (None, Haste::InTime) => planner.make_next(*kind),
            (Some(_) | None, Haste::Now) => {
                planner.succeed(*kind);
                planner.retire(active);
            }
        }
    }
    Ok(planner.steps)
}

/// Drops a key that somebody else may hold: it goes at once, and with it everything that it made. If it is in use, its
/// successor comes into use first, the one that is published already if there is one.
///
/// # Errors
/// [`RotationError::Unknown`].
pub fn replace(
    keys: &[KeyRecord],
    id: &str,
    now: UnixTime,
    policy: &Policy,
) -> Result<Vec<Step>, RotationError> {
    let unknown = || RotationError::Unknown(id.to_owned());
    let key = keys.iter().find(|key| key.id.as_str() == id).ok_or_else(unknown)?;
    let mut planner = Planner::new(keys, now, policy);
    let was_next = planner.next(key.kind).as_ref() == Some(key);
    if planner.active(key.kind).as_ref() == Some(key) {
        planner.succeed(key.kind);
    }
    planner.remove(key.clone());
    if was_next {
        planner.make_next(key.kind);
    }
    Ok(planner.steps)
}

/// Collects steps; each sees what those before it will have done.
struct Planner<'p> {
    keys: Vec<KeyRecord>,
    now: UnixTime,
    policy: &'p Policy,
    steps: Vec<Step>,
}

impl<'p> Planner<'p> {
    fn new(keys: &[KeyRecord], now: UnixTime, policy: &'p Policy) -> Self {
        Self { keys: keys.to_vec(), now, policy, steps: Vec::new() }
    }

    fn tend(&mut self, kind: KeyKind) {
        let (active, next) = (self.active(kind), self.next(kind));
        if !self.policy.demand.wants(kind) {
            self.leave_only(kind, None, None);
            return;
        }
        // What a crash left: the successor is in use, and the one before not retired yet.
        self.leave_only(kind, active.as_ref(), next.as_ref());
        let Some(active) = active else {
            self.succeed(kind);
            return;
        };
        match next.as_ref().map(|next| next.stage) {
            Some(Stage::Next { activates_at }) if activates_at.is_past(self.now) => {
                self.succeed(kind);
                self.retire(active);
            }
            Some(_) => self.lengthen(active),
            None => {
                if self.is_due(&active) {
                    self.make_next(kind);
                }
                self.lengthen(active);
            }
        }
    }

    /// Whether the successor of a key must be published now, so that it is known when it is needed.
    fn is_due(&self, active: &KeyRecord) -> bool {
        let Stage::Active { activated_at } = active.stage else { return false };
        let ahead = self.policy.ahead;
        self.policy.every.is_some_and(|every| activated_at.after(every).before(ahead).is_past(self.now))
    }

    fn active(&self, kind: KeyKind) -> Option<KeyRecord> {
        in_use(&self.keys, kind).cloned()
    }

    /// The key that comes into use after the one in use.
    fn next(&self, kind: KeyKind) -> Option<KeyRecord> {
        let after = in_use(&self.keys, kind).map(|key| key.serial);
        let next = |key: &&KeyRecord| {
            key.kind == kind && key.stage.state() == KeyState::Next && Some(key.serial) > after
        };
        self.keys.iter().filter(next).min_by_key(|key| key.serial).cloned()
    }

    /// Retires and removes what is neither in use nor next.
    fn leave_only(&mut self, kind: KeyKind, active: Option<&KeyRecord>, next: Option<&KeyRecord>) {
        for key in self.keys.clone().into_iter().filter(|key| key.kind == kind) {
            match key.stage {
                Stage::Active { .. } if Some(&key) != active => self.retire(key),
                Stage::Next { .. } if Some(&key) != next => self.remove(key),
                Stage::Active { .. } | Stage::Next { .. } | Stage::Retired { .. } => (),
            }
        }
    }

    /// Removes retired keys of which nothing is left.
    fn forget(&mut self) {
        for key in self.keys.clone() {
            if key.gone_at().is_some_and(|at| at.is_past(self.now)) {
                self.remove(key);
            }
        }
    }

    /// Brings the next key into use, or makes one that is in use at once.
    fn succeed(&mut self, kind: KeyKind) {
        let stage = Stage::Active { activated_at: self.now };
        match self.next(kind) {
            Some(next) => {
                let longest = next.longest.max(self.policy.demand.longest(kind));
                let key = KeyRecord { stage, longest, ..next };
                self.put(&key);
                self.steps.push(Step::Activate(key));
            }
            None => self.make(kind, stage),
        }
    }

    fn make_next(&mut self, kind: KeyKind) {
        self.make(kind, Stage::Next { activates_at: self.now.after(self.policy.ahead) });
    }

    fn make(&mut self, kind: KeyKind, stage: Stage) {
        let highest = self.keys.iter().filter(|key| key.kind == kind).map(|key| key.serial).max();
        self.steps.push(Step::Make(NewKey {
            kind,
            serial: highest.unwrap_or_default().saturating_add(1),
            created_at: self.now,
            stage,
            longest: self.policy.demand.longest(kind),
        }));
    }

    fn retire(&mut self, key: KeyRecord) {
        let Stage::Active { activated_at } = key.stage else { return };
        // It made things until now, and until its activation at least if the clock went back.
        let retired_at = self.now.max(activated_at);
        let longest = key.longest.max(self.policy.demand.longest(key.kind));
        let key = KeyRecord { stage: Stage::Retired { activated_at, retired_at }, longest, ..key };
        self.put(&key);
        self.steps.push(Step::Retire(key));
    }

    fn lengthen(&mut self, key: KeyRecord) {
        let longest = self.policy.demand.longest(key.kind);
        if longest > key.longest {
            let key = KeyRecord { longest, ..key };
            self.put(&key);
            self.steps.push(Step::Lengthen(key));
        }
    }

    fn remove(&mut self, key: KeyRecord) {
        self.keys.retain(|known| known.id != key.id);
        self.steps.push(Step::Remove(key));
    }

    fn put(&mut self, key: &KeyRecord) {
        for known in self.keys.iter_mut().filter(|known| known.id == key.id) {
            known.clone_from(key);
        }
    }
}

#[cfg(test)]
mod tests;
