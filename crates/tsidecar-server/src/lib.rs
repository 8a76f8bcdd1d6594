//! placeholder

pub mod app;
pub mod audit;
pub mod clock;
pub mod config;
pub mod demo;
pub mod endpoint;
pub mod entropy;
pub mod failure;
pub mod identity;
pub mod keys;
pub mod limiter;
pub mod notify;
pub mod peer;
pub mod reload;
pub mod router;
pub mod serve;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod tailnet;
pub mod web;
