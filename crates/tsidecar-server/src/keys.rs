//! Key files of the state folder: signing keys and sealing keys, one JSON file each, made at the first start only.
//!
//! A file of mode 0600 holds format, id, kind, state, time of making, the private part, and a checksum over all of them.
//! Whatever is missing or damaged in a known folder stops the start. Rotation, by time and by command, will move the states
//! of these files and add new ones through `KeyFile::write`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use tsidecar_oauth::fresh::FreshSecret;
use tsidecar_oauth::id::KeyId;
use tsidecar_oauth::jose::{Algorithm, PrivateKeyPem, SigningKey, SigningKeys};
use tsidecar_oauth::key::KeyState;
use tsidecar_oauth::seal::{CodeEpoch, SealingKey, SealingKeyId, SealingKeys};
use tsidecar_oauth::time::UnixTime;
use tsidecar_oauth::uri::Issuer;
use zeroize::Zeroizing;

use crate::entropy;
use crate::state::{Owner, StateError, StateFolder, base16, checksum, read_private, write_private};

/// The format of key files that this version writes and reads.
const FORMAT: u32 = 1;

/// The algorithms for which every state folder has an active key.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Rs256, Algorithm::Es256];

/// All keys of a state folder.
#[derive(Debug)]
pub struct Keys {
    signing: SigningKeys,
    sealing: Vec<Sealing>,
    list: Vec<KeyInfo>,
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
    /// When it was made.
    pub created_at: UnixTime,
}

struct Sealing {
    id: SealingKeyId,
    secret: Zeroizing<[u8; 32]>,
    state: KeyState,
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealing({} {})", self.id, self.state.as_str())
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
        if folder.is_known() || keys.missing().is_empty() {
            return keys.complete(folder.dir());
        }
        make(folder.dir(), &keys.missing(), now)?;
        Self::read(folder.dir(), Owner::own())?.complete(folder.dir())
    }

    /// Makes the ring of keys for one issuer. The epoch is the store's: a clock that went back starts a new one, and codes
    /// sealed before die.
    pub fn ring(self, issuer: &Issuer, epoch: CodeEpoch) -> KeyRing {
        let derive = |key: &Sealing| {
            let secret = FreshSecret::from_bytes(*key.secret);
            (SealingKey::derive(key.id, secret, issuer, epoch), key.state)
        };
        KeyRing {
            signing: Arc::new(self.signing),
            sealing: Arc::new(SealingKeys::new(self.sealing.iter().map(derive).collect())),
            list: self.list.into(),
        }
    }

    /// Looks whether every key is whole and there, for `doctor`: whoever that runs as.
    pub(crate) fn look(dir: &Path, owner: Owner) -> Result<(), StateError> {
        Self::read(dir, owner)?.complete(dir).map(drop)
    }

    fn read(dir: &Path, owner: Owner) -> Result<Self, StateError> {
        let (mut signing, mut sealing, mut list) = (Vec::new(), Vec::new(), Vec::new());
        for folder in ["keys/signing", "keys/sealing"] {
            for path in files(&dir.join(folder))? {
                let file = KeyFile::read(&path, folder, owner)?;
                list.push(file.info());
                match file.kind {
                    Kind::Signing(_) => signing.push((file.signing(&path)?, file.state)),
                    Kind::Sealing => sealing.push(file.sealing(&path)?),
                }
            }
        }
        Ok(Self { signing: SigningKeys::new(signing), sealing, list })
    }

    /// What must be there and is not.
    fn missing(&self) -> Vec<Kind> {
        let signing = ALGORITHMS.into_iter().filter(|algorithm| self.signing.active(*algorithm).is_err());
        let sealed = self.sealing.iter().any(|key| key.state == KeyState::Active);
        signing.map(Kind::Signing).chain((!sealed).then_some(Kind::Sealing)).collect()
    }

    fn complete(self, dir: &Path) -> Result<Self, StateError> {
        match self.missing().first() {
            Some(kind) => Err(StateError::Missing { what: kind.missing(), dir: dir.to_owned() }),
            None => Ok(self),
        }
    }
}

/// The keys in use, shared by all snapshots of a process.
#[derive(Clone, Debug)]
pub struct KeyRing {
    /// What signs.
    pub signing: Arc<SigningKeys>,
    /// What seals.
    pub sealing: Arc<SealingKeys>,
    /// What may be told of both.
    pub list: Arc<[KeyInfo]>,
}

/// Makes keys, each in a thread of its own, and writes their files.
fn make(dir: &Path, missing: &[Kind], now: UnixTime) -> Result<(), StateError> {
    std::thread::scope(|scope| {
        let start = |kind: &Kind| {
            let kind = *kind;
            scope.spawn(move || KeyFile::generate(kind, now)?.write(dir))
        };
        // Every thread is joined before the first error is answered: none may write later.
        let threads: Vec<_> = missing.iter().map(start).collect();
        let results: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        results.into_iter().try_for_each(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// What a key is for: a signature algorithm, or sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
enum Kind {
    Signing(Algorithm),
    Sealing,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Signing(algorithm) => algorithm.as_str(),
            Self::Sealing => "sealing",
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Signing(_) => "keys/signing",
            Self::Sealing => "keys/sealing",
        }
    }

    /// What is missing when there is no active key of this kind.
    const fn missing(self) -> &'static str {
        match self {
            Self::Signing(Algorithm::Rs256) => "the active RS256 key (keys/signing)",
            Self::Signing(Algorithm::Es256) => "the active ES256 key (keys/signing)",
            Self::Signing(Algorithm::EdDsa) => "the active EdDSA key (keys/signing)",
            Self::Sealing => "the active sealing key (keys/sealing)",
        }
    }
}

impl From<Kind> for &'static str {
    fn from(kind: Kind) -> Self {
        kind.as_str()
    }
}

impl TryFrom<String> for Kind {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let signing = Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == text);
        let sealing = (text == "sealing").then_some(Self::Sealing);
        signing.map(Self::Signing).or(sealing).ok_or("no kind of key")
    }
}

/// A key file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: u32,
    kid: String,
    kind: Kind,
    state: KeyState,
    created_at: UnixTime,
    /// PKCS#8 in PEM of a signing key, 32 bytes in base64url of a sealing key.
    secret: Zeroizing<String>,
    checksum: String,
}

impl KeyFile {
    fn generate(kind: Kind, now: UnixTime) -> Result<Self, StateError> {
        let (id, secret) = match kind {
            Kind::Signing(algorithm) => {
                let pem = PrivateKeyPem::generate(algorithm).map_err(StateError::Make)?;
                (base16(&entropy::bytes::<8>()), pem.expose().to_owned())
            }
            Kind::Sealing => {
                let secret = Zeroizing::new(entropy::bytes::<32>());
                (base16(&entropy::bytes::<4>()), Base64UrlUnpadded::encode_string(&*secret))
            }
        };
        let (secret, checksum) = (Zeroizing::new(secret), String::new());
        let mut file = Self {
            format: FORMAT,
            kid: id,
            kind,
            state: KeyState::Active,
            created_at: now,
            secret,
            checksum,
        };
        file.checksum = file.sum();
        Ok(file)
    }

    /// Reads a file and checks that it is whole and stands where it belongs.
    fn read(path: &Path, folder: &str, owner: Owner) -> Result<Self, StateError> {
        let damaged = || StateError::Damaged { path: path.to_owned() };
        let text = read_private(path, owner)?.ok_or_else(damaged)?;
        let file: Self = serde_json::from_str(&text).map_err(|_| damaged())?;
        let named = path.file_stem().is_some_and(|stem| stem == file.kid.as_str());
        let whole = file.format == FORMAT && file.checksum == file.sum();
        if named && whole && file.kind.folder() == folder { Ok(file) } else { Err(damaged()) }
    }

    /// Writes the file, whole or not at all.
    fn write(&self, dir: &Path) -> Result<(), StateError> {
        let path = dir.join(self.kind.folder()).join(format!("{}.json", self.kid));
        let text = serde_json::to_vec_pretty(self).map_err(|error| StateError::io(&path)(error.into()))?;
        write_private(&path, &Zeroizing::new(text))
    }

    fn sum(&self) -> String {
        let (format, at) = (self.format.to_string(), self.created_at.to_string());
        checksum(&[&format, &self.kid, self.kind.as_str(), self.state.as_str(), &at, &self.secret])
    }

    fn info(&self) -> KeyInfo {
        let kind = self.kind.as_str().to_owned();
        KeyInfo { kid: self.kid.clone(), kind, state: self.state, created_at: self.created_at }
    }

    fn signing(&self, path: &Path) -> Result<SigningKey, StateError> {
        let damaged = || StateError::Damaged { path: path.to_owned() };
        let (Kind::Signing(algorithm), Ok(id)) = (self.kind, KeyId::parse(&self.kid)) else {
            return Err(damaged());
        };
        let pem = PrivateKeyPem::new(self.secret.as_str().to_owned());
        SigningKey::from_pem(id, algorithm, &pem)
            .map_err(|error| StateError::Key { path: path.to_owned(), error })
    }

    fn sealing(&self, path: &Path) -> Result<Sealing, StateError> {
        let damaged = || StateError::Damaged { path: path.to_owned() };
        let id =
            u32::from_str_radix(&self.kid, 16).ok().filter(|_| self.kid.len() == 8).ok_or_else(damaged)?;
        let mut secret = Zeroizing::new([0; 32]);
        let decoded = Base64UrlUnpadded::decode(self.secret.as_bytes(), &mut *secret).map(<[u8]>::len);
        let id = SealingKeyId::from_bytes(id.to_be_bytes());
        if decoded == Ok(32) { Ok(Sealing { id, secret, state: self.state }) } else { Err(damaged()) }
    }
}

/// The key files of a folder, oldest name first; what a crash left half written is not one.
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
mod tests {
    use super::*;
    use crate::state::{Pins, tests::private};

    fn now() -> UnixTime {
        UnixTime::from_secs(1_800_000_000)
    }

    fn folder(dir: &Path) -> StateFolder {
        StateFolder::open(dir).unwrap()
    }

    fn complete(folder: &mut StateFolder) {
        let issuer = Issuer::parse("https://idp.tail.test").unwrap();
        folder.complete(&Pins::first(&crate::config::Config::default(), issuer, "example.com")).unwrap();
    }

    fn kinds(keys: &Keys) -> Vec<&str> {
        let mut kinds: Vec<_> = keys.list.iter().map(|key| key.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds
    }

    /// A known folder with its keys, unlocked.
    fn known() -> tempfile::TempDir {
        let dir = private();
        let mut folder = folder(dir.path());
        Keys::open(&folder, now()).unwrap();
        complete(&mut folder);
        dir
    }

    fn only(dir: &Path, part: &str, kind: &str) -> PathBuf {
        let of_kind =
            |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains(&format!("\"{kind}\""));
        files(&dir.join(part)).unwrap().into_iter().find(of_kind).unwrap()
    }

    fn refusal(dir: &Path) -> String {
        Keys::open(&folder(dir), now()).unwrap_err().to_string().replace(&dir.display().to_string(), "/s")
    }

    #[test]
    fn keys_are_made_once_and_stay_the_same() {
        let dir = private();
        let mut first = folder(dir.path());
        let made = Keys::open(&first, now()).unwrap();
        assert_eq!(kinds(&made), ["ES256", "RS256", "sealing"]);
        // A first start that was interrupted goes on with what is there.
        std::fs::remove_file(only(dir.path(), "keys/signing", "ES256")).unwrap();
        let again = Keys::open(&first, now()).unwrap();
        assert_eq!(kinds(&again), ["ES256", "RS256", "sealing"]);
        complete(&mut first);
        let list = again.list.clone();
        drop(first);
        let read = Keys::open(&folder(dir.path()), now()).unwrap();
        assert_eq!(read.list, list);
        let ring = read.ring(&Issuer::parse("https://idp.tail.test").unwrap(), CodeEpoch(0));
        assert_eq!((ring.signing.iter().count(), ring.sealing.iter().count()), (2, 1));
        assert!(
            ring.signing.active(Algorithm::Rs256).is_ok() && ring.signing.active(Algorithm::Es256).is_ok()
        );
        let printed = format!("{ring:?}");
        let secret = std::fs::read_to_string(only(dir.path(), "keys/sealing", "sealing")).unwrap();
        let secret: serde_json::Value = serde_json::from_str(&secret).unwrap();
        assert!(!printed.contains(secret["secret"].as_str().unwrap()));
    }

    #[test]
    fn a_damaged_key_stops_the_start() {
        for (part, kind) in
            [("keys/signing", "RS256"), ("keys/signing", "ES256"), ("keys/sealing", "sealing")]
        {
            let dir = known();
            let path = only(dir.path(), part, kind);
            let whole = std::fs::read(&path).unwrap();
            let name = path.strip_prefix(dir.path()).unwrap().display().to_string();
            // Any flipped byte, any truncation; every file is still there afterwards, unchanged.
            for place in (0..whole.len()).step_by(7) {
                let mut flipped = whole.clone();
                flipped[place] ^= 1;
                if serde_json::from_slice::<serde_json::Value>(&flipped).ok()
                    == serde_json::from_slice::<serde_json::Value>(&whole).ok()
                {
                    continue;
                }
                std::fs::write(&path, &flipped).unwrap();
                assert!(refusal(dir.path()).starts_with(&format!("/s/{name} is damaged;")), "{place}");
                assert_eq!(std::fs::read(&path).unwrap(), flipped);
            }
            for length in [0, 1, whole.len() / 2, whole.len() - 3] {
                std::fs::write(&path, &whole[..length]).unwrap();
                assert!(refusal(dir.path()).starts_with(&format!("/s/{name} is damaged;")), "{length}");
            }
            std::fs::write(&path, &whole).unwrap();
            assert!(Keys::open(&folder(dir.path()), now()).is_ok());
        }
    }

    #[test]
    fn a_missing_key_stops_the_start() {
        let dir = known();
        std::fs::remove_file(only(dir.path(), "keys/signing", "RS256")).unwrap();
        insta::assert_snapshot!(refusal(dir.path()), @"the active RS256 key (keys/signing) is missing in /s, which was in use before; nothing is replaced silently: restore it from a backup, or move the whole folder away to start anew (all logins and tokens end, and relying parties must fetch new keys)");
        let dir = known();
        std::fs::remove_file(only(dir.path(), "keys/sealing", "sealing")).unwrap();
        assert!(refusal(dir.path()).starts_with("the active sealing key (keys/sealing) is missing in /s"));
        assert_eq!(files(&dir.path().join("keys/sealing")).unwrap().len(), 0);
    }

    #[test]
    fn a_key_in_the_wrong_place_is_damage() {
        let dir = known();
        let path = only(dir.path(), "keys/signing", "RS256");
        std::fs::rename(&path, path.with_file_name("other.json")).unwrap();
        assert!(refusal(dir.path()).starts_with("/s/keys/signing/other.json is damaged"));
        std::fs::rename(path.with_file_name("other.json"), &path).unwrap();
        std::fs::write(path.with_file_name(".half.json.new"), "half").unwrap();
        assert!(Keys::open(&folder(dir.path()), now()).is_ok());
    }
}
