//! What was acknowledged is durable: traces of system calls, `kill -9` under load, torn files, full disks.
//!
//! The disk is the real one and the processes are real: this binary starts itself again as the process that is traced or
//! killed ([`child`]).
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]

mod child;
mod damaged;
mod fatal;
mod figures;
mod full;
mod killed;
mod sample;
mod trace;
