//! The client against a scripted daemon on a real unix socket, and recorded shapes of whois answers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

mod cache;
mod client;
mod daemon;
mod fixtures;
mod watch;
