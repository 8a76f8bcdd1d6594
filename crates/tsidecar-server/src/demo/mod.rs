//! Stand-ins for what surrounds tsidecar, so that it can be seen and tested on a machine without Tailscale.
//!
//! [`Tailscaled`] answers LocalAPI from a [`Script`]; [`ServeHop`] forwards requests as `tailscale serve` does;
//! [`RelyingParty`] is an application that signs people in. The command `demo`, the black-box tests and the bench use them
//! around the unchanged server: nothing in the trust boundary knows that they exist.

mod hop;
mod http;
mod login;
mod relying_party;
mod script;
mod tailscaled;

pub use self::{
    hop::{Scheme, ServeHop, Visitor},
    login::{Login, LoginError, Party, Tokens},
    relying_party::RelyingParty,
    script::{HOST, Node, Script, User},
    tailscaled::{Fault, Tailscaled},
};
