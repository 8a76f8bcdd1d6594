//! `fapi2-security-profile-final-test-plan` with `private_key_jwt`, `dpop`, `plain_fapi` and `openid_connect`.
//!
//! TLS is tailscaled's side. UserInfo is the protected resource. The client of the suite: pushes every request, proves itself by
//! assertions, and shows a proof of possession with every request that may have one.

mod assertion;
mod authorization;
pub(super) mod dpop;
pub(super) mod party;
mod pushed;
mod token;
