//! One key file: what it holds, and that it is whole.

use std::path::{Path, PathBuf};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use tsidecar_oauth::id::KeyId;
use tsidecar_oauth::jose::{JoseError, PrivateKeyPem, SigningKey};
use tsidecar_oauth::rotation::{KeyKind, KeyRecord, NewKey, Stage};
use tsidecar_oauth::seal::SealingKeyId;
use tsidecar_oauth::time::{Lifetime, UnixTime};
use zeroize::Zeroizing;

use crate::entropy;
use crate::state::{Owner, StateError, base16, checksum, read_private, remove_private, write_private};

/// The format of key files that this version writes and reads.
const FORMAT: u32 = 1;

/// The folders of key files.
pub(super) const FOLDERS: [&str; 2] = ["keys/signing", "keys/sealing"];

/// The folder of a kind.
const fn folder(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Signing(_) => "keys/signing",
        KeyKind::Sealing => "keys/sealing",
    }
}

/// A key file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    format: u32,
    kid: KeyId,
    kind: KeyKind,
    serial: u32,
    created_at: UnixTime,
    life: Stage,
    /// The longest life of anything that the key may have made, in seconds.
    longest: Lifetime,
    /// PKCS#8 in PEM of a signing key, 32 bytes in base64url of a sealing key.
    secret: Zeroizing<String>,
    checksum: String,
}

/// A key as it is used.
pub(super) enum Material {
    Signing(Box<SigningKey>),
    Sealing(Sealing),
}

/// A sealing key before its subkeys are derived.
pub(super) struct Sealing {
    pub(super) id: SealingKeyId,
    pub(super) secret: Zeroizing<[u8; 32]>,
}

impl KeyFile {
    /// Makes a key; nothing is written yet. An RSA key takes a quarter of a second.
    pub(super) fn generate(new: NewKey) -> Result<Self, StateError> {
        let (id, secret) = match new.kind {
            KeyKind::Signing(algorithm) => {
                let pem = PrivateKeyPem::generate(algorithm).map_err(StateError::Make)?;
                (base16(&entropy::bytes::<8>()), pem.expose().to_owned())
            }
            KeyKind::Sealing => {
                let secret = Zeroizing::new(entropy::bytes::<32>());
                (base16(&entropy::bytes::<4>()), Base64UrlUnpadded::encode_string(&*secret))
            }
        };
        let secret = Zeroizing::new(secret);
        let id = KeyId::parse(&id).map_err(|_| StateError::Make(JoseError::Library("name a key")))?;
        Ok(Self::new(new.named(id), secret))
    }

    fn new(record: KeyRecord, secret: Zeroizing<String>) -> Self {
        let KeyRecord { id: kid, kind, serial, created_at, stage: life, longest } = record;
        let checksum = String::new();
        let mut file =
            Self { format: FORMAT, kid, kind, serial, created_at, life, longest, secret, checksum };
        file.checksum = file.sum();
        file
    }

    /// The same key with another record.
    pub(super) fn with(self, record: KeyRecord) -> Self {
        Self::new(record, self.secret)
    }

    /// Where the file of a key lies.
    pub(super) fn path(dir: &Path, record: &KeyRecord) -> PathBuf {
        dir.join(folder(record.kind)).join(format!("{}.json", record.id))
    }

    /// Reads a file and checks that it is whole and stands where it belongs.
    pub(super) fn read(path: &Path, owner: Owner) -> Result<Self, StateError> {
        let damaged = || StateError::Damaged { path: path.to_owned() };
        let text = read_private(path, owner)?.ok_or_else(damaged)?;
        let file: Self = serde_json::from_str(&text).map_err(|_| damaged())?;
        let named = path.file_stem().is_some_and(|stem| stem == file.kid.as_str());
        let placed = path.parent().is_some_and(|parent| parent.ends_with(folder(file.kind)));
        let whole = file.format == FORMAT && file.checksum == file.sum();
        if named && placed && whole { Ok(file) } else { Err(damaged()) }
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StateError> {
        let path = Self::path(dir, &self.record());
        let text = serde_json::to_vec_pretty(self).map_err(|error| StateError::io(&path)(error.into()))?;
        write_private(&path, &Zeroizing::new(text))
    }

    /// Removes the file of a key.
    pub(super) fn remove(dir: &Path, record: &KeyRecord) -> Result<(), StateError> {
        remove_private(&Self::path(dir, record))
    }

    fn sum(&self) -> String {
        let times = match self.life {
            Stage::Next { activates_at } => format!("{activates_at}"),
            Stage::Active { activated_at } => format!("{activated_at}"),
            Stage::Retired { activated_at, retired_at } => format!("{activated_at} {retired_at}"),
        };
        let (format, serial, at) =
            (self.format.to_string(), self.serial.to_string(), self.created_at.to_string());
        let (state, longest) = (self.life.state().as_str(), self.longest.as_secs().to_string());
        let (id, of) = (self.kid.as_str(), self.kind.as_str());
        checksum(&[&format, id, of, &serial, &at, state, &times, &longest, &self.secret])
    }

    /// What the file holds beside the key.
    pub(super) fn record(&self) -> KeyRecord {
        KeyRecord {
            id: self.kid.clone(),
            kind: self.kind,
            serial: self.serial,
            created_at: self.created_at,
            stage: self.life,
            longest: self.longest,
        }
    }

    /// The key itself; the path is for errors.
    pub(super) fn material(&self, path: &Path) -> Result<Material, StateError> {
        match self.kind {
            KeyKind::Signing(algorithm) => {
                let pem = PrivateKeyPem::new(self.secret.as_str().to_owned());
                let key = SigningKey::from_pem(self.kid.clone(), algorithm, &pem);
                let key = key.map_err(|error| StateError::Key { path: path.to_owned(), error })?;
                Ok(Material::Signing(Box::new(key)))
            }
            KeyKind::Sealing => {
                self.sealing().map(Material::Sealing).ok_or(StateError::Damaged { path: path.to_owned() })
            }
        }
    }

    fn sealing(&self) -> Option<Sealing> {
        let kid = self.kid.as_str();
        let id = u32::from_str_radix(kid, 16).ok().filter(|_| kid.len() == 8)?;
        let mut secret = Zeroizing::new([0; 32]);
        let decoded = Base64UrlUnpadded::decode(self.secret.as_bytes(), &mut *secret).map(<[u8]>::len);
        let id = SealingKeyId::from_bytes(id.to_be_bytes());
        (decoded == Ok(32)).then_some(Sealing { id, secret })
    }
}
