//! What the black-box tests share: a running daemon, the tailnet around it, requests as bytes, and a relying party.

pub(crate) mod browser;
pub(crate) mod daemon;
pub(crate) mod host;
pub(crate) mod proof;
pub(crate) mod strangers;
pub(crate) mod tailnet;
pub(crate) mod visitor;
pub(crate) mod wire;

pub(crate) use self::{
    browser::{App, CHALLENGE, Pairs, VERIFIER},
    daemon::{Daemon, Setup},
    tailnet::{ALICE, BOB, CI, Who, through_serve},
    wire::{Reply, Request},
};
