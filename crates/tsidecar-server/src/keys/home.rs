//! Where keys lie: takes the steps of a plan, each durable before the next, and reads what there is then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tsidecar_oauth::rotation::{KeyKind, KeyRecord, RotationError, Step};
use tsidecar_oauth::seal::CodeEpoch;
use tsidecar_oauth::uri::Issuer;

use super::file::KeyFile;
use super::rotation::KeyError;
use super::{KeyRing, Keys};
use crate::audit::TARGET;
use crate::state::{Owner, StateError};

/// Where the keys of a running daemon lie, and what they are derived for.
#[derive(Debug)]
pub struct KeyHome {
    pub(super) dir: PathBuf,
    pub(super) issuer: Issuer,
    pub(super) epoch: CodeEpoch,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `made`, `activated`, `retired` or `removed`.
    pub change: String,
    /// The key id.
    pub kid: String,
    /// What the key is for.
    pub kind: KeyKind,
}

/// Keys after a change, and what changed.
#[derive(Debug)]
pub struct Changed {
    /// The keys as they lie in the folder now.
    pub ring: KeyRing,
    /// The steps that are durable.
    pub changes: Vec<Change>,
    /// Why the others are not.
    pub failed: Option<StateError>,
}

impl KeyHome {
    /// Decides on the keys as they lie in the folder, takes the steps, and reads the keys again. Blocks. Nobody else may
    /// change the folder meanwhile.
    ///
    /// # Errors
    /// [`KeyError::Rotation`] when the decision is none; [`KeyError::State`] when the folder is not as it must be, before
    /// or after. A step that fails is in the answer instead, for those before it are durable.
    pub(super) fn change(
        self: &Arc<Self>,
        decide: impl FnOnce(&[KeyRecord]) -> Result<Vec<Step>, RotationError>,
    ) -> Result<Changed, KeyError> {
        let records = Keys::look(&self.dir, Owner::own())?;
        let mut changes = Vec::new();
        let failed = carry_out(&self.dir, decide(&records)?, |change| changes.push(change)).err();
        let ring = Keys::read(&self.dir, Owner::own())?.complete()?.ring_of(self);
        Ok(Changed { ring, changes, failed })
    }
}

/// Takes steps in their order and tells each that is durable; the first that fails is the last.
pub(super) fn carry_out(
    dir: &Path,
    steps: Vec<Step>,
    mut tell: impl FnMut(Change),
) -> Result<(), StateError> {
    for step in steps {
        let (record, change, text) = match step {
            Step::Make(new) => {
                let file = KeyFile::generate(new)?;
                file.write(dir)?;
                (file.record(), "made", "a key was made")
            }
            Step::Activate(record) => {
                write(dir, &record)?;
                (record, "activated", "a key came into use")
            }
            Step::Retire(record) => {
                write(dir, &record)?;
                (record, "retired", "a key went out of use; what it made stays valid")
            }
            Step::Remove(record) => {
                KeyFile::remove(dir, &record)?;
                (record, "removed", "a key was removed")
            }
            Step::Lengthen(record) => {
                write(dir, &record)?;
                continue;
            }
        };
        tracing::info!(
            target: TARGET,
            event = "key_changed",
            change,
            key.id = %record.id,
            key.kind = %record.kind,
            key.state = record.stage.state().as_str(),
            "{text}"
        );
        tell(Change { change: change.to_owned(), kid: record.id.as_str().to_owned(), kind: record.kind });
    }
    Ok(())
}

/// Writes a key's file with another record.
fn write(dir: &Path, record: &KeyRecord) -> Result<(), StateError> {
    let path = KeyFile::path(dir, record);
    KeyFile::read(&path, Owner::own())?.with(record.clone()).write(dir)
}
