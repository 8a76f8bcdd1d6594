//! Marks of what may be used once: the `jti` of a client assertion or of a proof of possession.
//!
//! Layer 0. A mark names what was used without keeping it; the store must not have seen it yet, and may forget it once what it
//! marks could not be used anyway.

use sha2::{Digest, Sha256};

use crate::time::UnixTime;

/// What a mark is of; the kinds never collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// A client assertion (RFC 7523 §3 no. 7).
    Assertion,
    /// A proof of possession (RFC 9449 §11.1).
    Proof,
}

impl MarkKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Assertion => "assertion",
            Self::Proof => "proof",
        }
    }
}

/// Something that may be used once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    kind: MarkKind,
    digest: [u8; 32],
    until: UnixTime,
}

impl Mark {
    /// The mark of what these parts name together, which cannot be used any more at `until`.
    pub fn new(kind: MarkKind, parts: &[&str], until: UnixTime) -> Self {
        let mut hash = Sha256::new();
        // Each with its length, so that no two lists of parts read alike.
        for part in [kind.as_str()].iter().chain(parts) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self { kind, digest: hash.finalize().into(), until }
    }

    /// What the mark is of.
    pub const fn kind(&self) -> MarkKind {
        self.kind
    }

    /// The name of the mark: SHA-256 of kind and parts.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// From when on the mark may be forgotten.
    pub const fn until(&self) -> UnixTime {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_names_exactly_its_parts() {
        let mark = |kind, parts: &[&str]| *Mark::new(kind, parts, UnixTime::default()).digest();
        let one = mark(MarkKind::Assertion, &["app", "j1"]);
        assert_eq!(one, mark(MarkKind::Assertion, &["app", "j1"]));
        for other in [
            mark(MarkKind::Proof, &["app", "j1"]),
            mark(MarkKind::Assertion, &["appj", "1"]),
            mark(MarkKind::Assertion, &["app", "j1", ""]),
            mark(MarkKind::Assertion, &["app"]),
        ] {
            assert_ne!(one, other);
        }
    }
}
