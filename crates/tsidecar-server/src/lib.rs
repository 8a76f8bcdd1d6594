//! placeholder

pub mod clock;
pub mod config;
pub mod demo;
pub mod entropy;
pub mod identity;
pub mod keys;
pub mod peer;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod tailnet;
