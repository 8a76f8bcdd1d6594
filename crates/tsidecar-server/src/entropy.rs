//! Random bytes from the kernel, each draw for one use; the only file that draws any.

use rustix::rand::{GetRandomFlags, getrandom};
use tsidecar_oauth::fresh::{FreshId, FreshNonce, FreshSecret};

/// Draws the nonce of one sealing.
pub fn nonce() -> FreshNonce {
    FreshNonce::from_bytes(draw())
}

/// Draws one new identifier.
pub fn id() -> FreshId {
    FreshId::from_bytes(draw())
}

/// Draws one new secret.
pub fn secret() -> FreshSecret {
    FreshSecret::from_bytes(draw())
}

/// Draws bytes for key material that is written to a file before it is used.
pub fn bytes<const N: usize>() -> [u8; N] {
    draw()
}

/// Fills an array by getrandom(2), which waits for the generator at boot and cannot fail for so few bytes afterwards.
///
/// A kernel without the call, or a seccomp filter that forbids it, leaves nothing to go on with: the process ends.
fn draw<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => {
                eprintln!("tsidecar: the kernel gives no random bytes (getrandom: {error}); cannot go on");
                std::process::abort();
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        assert_ne!(super::bytes::<32>(), super::bytes::<32>());
        assert_ne!(super::bytes::<32>(), [0; 32]);
    }
}
