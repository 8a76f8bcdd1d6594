//! Keys of the state folder: signing keys and sealing keys, one JSON file each.
//!
//! A file of mode 0600 holds format, id, kind, number, times of its life, the private part, and a checksum over all of them.
//! Whatever is missing or damaged in a known folder stops the start; only the plan of a rotation makes and removes keys, one
//! durable file at a time ([`tsidecar_oauth::rotation`] decides, [`KeyHome`] writes, [`rotation`] brings into force).

mod file;
mod home;
pub mod rotation;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tsidecar_oauth::fresh::FreshSecret;
use tsidecar_oauth::jose::{Algorithm, SigningKey, SigningKeys};
use tsidecar_oauth::key::KeyState;
use tsidecar_oauth::rotation::{Demand, KeyKind, KeyRecord, Policy, Stage, in_use, plan};
use tsidecar_oauth::seal::{CodeEpoch, SealingKey, SealingKeys};
use tsidecar_oauth::time::{Lifetime, UnixTime};
use tsidecar_oauth::uri::Issuer;

use self::file::{FOLDERS, KeyFile, Material, Sealing};
use crate::state::{Owner, StateError, StateFolder};

pub use self::home::{Change, Changed, KeyHome};

/// All keys of a state folder.
#[derive(Debug)]
pub struct Keys {
    dir: PathBuf,
    records: Vec<KeyRecord>,
    signing: Vec<(SigningKey, KeyState)>,
    sealing: Vec<(Sealing, KeyState)>,
}

/// What may be told of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The key id: `kid` of a signing key, the prefix of what a sealing key made.
    pub kid: String,
    /// An algorithm for a signing key, otherwise `"sealing"`.
    pub kind: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made, and published.
    pub created_at: UnixTime,
    /// Of a next key: when it comes into use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activates_at: Option<UnixTime>,
    /// When it came into use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<UnixTime>,
    /// Of an active key: when it will be retired, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<UnixTime>,
    /// When it was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<UnixTime>,
    /// Of a retired key: when it goes, because everything that it made has expired by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<UnixTime>,
}

impl KeyInfo {
    /// Tells every key, by kind, the one in use first.
    pub fn all(records: &[KeyRecord], policy: &Policy) -> Vec<Self> {
        records.iter().map(|record| Self::of(record, records, policy)).collect()
    }

    fn of(record: &KeyRecord, all: &[KeyRecord], policy: &Policy) -> Self {
        let told = Self {
            kid: record.id.as_str().to_owned(),
            kind: record.kind.as_str().to_owned(),
            state: record.stage.state(),
            created_at: record.created_at,
            activates_at: None,
            activated_at: None,
            retires_at: record.retires_at(all, policy),
            retired_at: None,
            gone_at: record.gone_at(),
        };
        match record.stage {
            Stage::Next { activates_at } => Self { activates_at: Some(activates_at), ..told },
            Stage::Active { activated_at } => Self { activated_at: Some(activated_at), ..told },
            Stage::Retired { activated_at, retired_at } => {
                Self { activated_at: Some(activated_at), retired_at: Some(retired_at), ..told }
            }
        }
    }
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealing({})", self.id)
    }
}

impl Keys {
    /// Reads every key of a folder; in a new folder makes those that are missing first. Blocks: an RSA key takes a quarter
    /// of a second.
    ///
    /// # Errors
    /// [`StateError`] when a key is damaged, missing in a known folder, or open to others.
    pub fn open(folder: &StateFolder, now: UnixTime) -> Result<Self, StateError> {
        let keys = Self::read(folder.dir(), Owner::own())?;
        if !folder.is_known() && keys.missing().is_some() {
            home::carry_out(folder.dir(), plan(&keys.records, now, &first()), |_| ())?;
            return Self::read(folder.dir(), Owner::own())?.complete();
        }
        keys.complete()
    }

    /// Makes the ring of keys for one issuer. The epoch is the store's: a clock that went back starts a new one, and codes
    /// sealed before die.
    pub fn ring(self, issuer: &Issuer, epoch: CodeEpoch) -> KeyRing {
        let home = KeyHome { dir: self.dir.clone(), issuer: issuer.clone(), epoch };
        self.ring_of(&Arc::new(home))
    }

    fn ring_of(self, home: &Arc<KeyHome>) -> KeyRing {
        let derive = |(key, state): (Sealing, KeyState)| {
            let secret = FreshSecret::from_bytes(*key.secret);
            (SealingKey::derive(key.id, secret, &home.issuer, home.epoch), state)
        };
        KeyRing {
            signing: Arc::new(SigningKeys::new(self.signing)),
            sealing: Arc::new(SealingKeys::new(self.sealing.into_iter().map(derive).collect())),
            records: self.records.into(),
            home: Some(Arc::clone(home)),
        }
    }

    /// Looks whether every key is whole and there, for `doctor`: whoever that runs as.
    pub(crate) fn look(dir: &Path, owner: Owner) -> Result<Vec<KeyRecord>, StateError> {
        Self::read(dir, owner)?.complete().map(|keys| keys.records)
    }

    fn read(dir: &Path, owner: Owner) -> Result<Self, StateError> {
        let mut keys = Vec::new();
        for path in FOLDERS
            .into_iter()
            .map(|folder| files(&dir.join(folder)))
            .collect::<Result<Vec<_>, _>>()?
            .concat()
        {
            let file = KeyFile::read(&path, owner)?;
            keys.push((file.record(), file.material(&path)?));
        }
        // By kind; the one in use first, as some relying parties look no further; then those to come, newest first.
        keys.sort_by_key(|(key, _)| (key.kind, rank(key.stage.state()), u32::MAX - key.serial));
        let records: Vec<_> = keys.iter().map(|(record, _)| record.clone()).collect();
        let (mut signing, mut sealing) = (Vec::new(), Vec::new());
        for (record, material) in keys {
            let state = state_in(&records, &record);
            match material {
                Material::Signing(key) => signing.push((*key, state)),
                Material::Sealing(key) => sealing.push((key, state)),
            }
        }
        Ok(Self { dir: dir.to_owned(), records, signing, sealing })
    }

    /// What must be there and is not.
    fn missing(&self) -> Option<KeyKind> {
        always().into_iter().find(|kind| in_use(&self.records, *kind).is_none())
    }

    fn complete(self) -> Result<Self, StateError> {
        match self.missing() {
            Some(kind) => Err(StateError::Missing { what: missing(kind), dir: self.dir }),
            None => Ok(self),
        }
    }
}

/// The state in which a key is used: a crash may have left two active ones of a kind, of which one counts.
fn state_in(records: &[KeyRecord], record: &KeyRecord) -> KeyState {
    match record.stage.state() {
        KeyState::Active if in_use(records, record.kind) != Some(record) => KeyState::Retired,
        state => state,
    }
}

const fn rank(state: KeyState) -> u8 {
    match state {
        KeyState::Active => 0,
        KeyState::Next => 1,
        KeyState::Retired => 2,
    }
}

/// The kinds of which every state folder has an active key.
fn always() -> BTreeSet<KeyKind> {
    let signing = Demand::default().algorithms.into_iter().map(KeyKind::Signing);
    signing.chain([KeyKind::Sealing]).collect()
}

/// What makes the keys of a new folder, and nothing else.
fn first() -> Policy {
    Policy { every: None, ahead: Lifetime::from_days(1), demand: Demand::default() }
}

/// What is missing when there is no active key of this kind.
const fn missing(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Signing(Algorithm::Rs256) => "the active RS256 key (keys/signing)",
        KeyKind::Signing(Algorithm::Es256) => "the active ES256 key (keys/signing)",
        KeyKind::Signing(Algorithm::EdDsa) => "the active EdDSA key (keys/signing)",
        KeyKind::Sealing => "the active sealing key (keys/sealing)",
    }
}

/// The keys in use, shared by all snapshots of a process until one is rotated.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// What signs.
    pub signing: Arc<SigningKeys>,
    /// What seals.
    pub sealing: Arc<SealingKeys>,
    /// What is kept of each key beside itself.
    pub records: Arc<[KeyRecord]>,
    /// Where the keys lie; `None` for keys that live in memory alone, as when fuzzing.
    pub home: Option<Arc<KeyHome>>,
}

/// The key files of a folder; what a crash left half written is not one.
fn files(dir: &Path) -> Result<Vec<PathBuf>, StateError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(StateError::io(dir))? {
        let path = entry.map_err(StateError::io(dir))?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
