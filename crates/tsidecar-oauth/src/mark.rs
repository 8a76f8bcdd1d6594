//! Marks: what may be shown once only, an assertion (RFC 7523 §3) or a proof (RFC 9449 §11.1).
//!
//! Layer 0. A mark is a digest, so strangers' texts are never keys; it is kept until what it marks has expired.

use sha2::{Digest, Sha256};

use crate::time::UnixTime;

/// What a mark is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// A client assertion: who is the client id.
    Assertion,
    /// A `DPoP` proof: who is the thumbprint of its key.
    Proof,
    /// A pushed request (RFC 9126): who is the client id.
    Pushed,
    /// A form of ours that was answered: who is the person.
    Form,
}

/// The mark of one `jti`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    kind: MarkKind,
    digest: [u8; 16],
    until: UnixTime,
}

impl Mark {
    /// The mark of a `jti` of somebody; it is kept until then.
    pub fn new(kind: MarkKind, who: &str, jti: &str, until: UnixTime) -> Self {
        let name: &[u8] = match kind {
            MarkKind::Assertion => b"assertion",
            MarkKind::Proof => b"proof",
            MarkKind::Pushed => b"pushed",
            MarkKind::Form => b"form",
        };
        let mut hash = Sha256::new();
        for part in [name, who.as_bytes(), jti.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut digest = [0; 16];
        digest.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Self { kind, digest, until }
    }

    /// What it is of.
    pub const fn kind(&self) -> MarkKind {
        self.kind
    }

    /// The key in the store.
    pub const fn digest(&self) -> &[u8; 16] {
        &self.digest
    }

    /// Until when it is kept.
    pub const fn until(&self) -> UnixTime {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_names_are_apart() {
        let until = UnixTime::from_secs(5);
        let mark = |kind, who, jti| *Mark::new(kind, who, jti, until).digest();
        assert_ne!(mark(MarkKind::Assertion, "a", "b"), mark(MarkKind::Proof, "a", "b"));
        assert_ne!(mark(MarkKind::Assertion, "ab", "c"), mark(MarkKind::Assertion, "a", "bc"));
        assert_eq!(mark(MarkKind::Assertion, "a", "b"), mark(MarkKind::Assertion, "a", "b"));
    }
}
