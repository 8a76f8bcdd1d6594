//! Random bytes as arguments: drawn outside the core for one use, consumed by it.
//!
//! Layer 0. The types have no `Clone` and no `Debug`: the same bytes cannot serve twice, and cannot be printed.

/// 192 random bits for one sealing (XChaCha20-Poly1305's nonce).
pub struct FreshNonce([u8; 24]);

impl FreshNonce {
    /// Wraps bytes that the caller has just drawn from the system's generator.
    pub const fn from_bytes(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn into_bytes(self) -> [u8; 24] {
        self.0
    }

    /// The same draw as an identifier, where no nonce is needed.
    pub(crate) fn into_id(self) -> FreshId {
        let mut id = [0; 16];
        id.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        FreshId(id)
    }
}

/// 128 random bits for one new identifier: a grant, a `jti`.
pub struct FreshId([u8; 16]);

impl FreshId {
    /// Wraps bytes that the caller has just drawn from the system's generator.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn into_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// 256 random bits for one new secret: a client secret, a sealing key.
pub struct FreshSecret([u8; 32]);

impl FreshSecret {
    /// Wraps bytes that the caller has just drawn from the system's generator.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn into_bytes(self) -> [u8; 32] {
        self.0
    }
}
