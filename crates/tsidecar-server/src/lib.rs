//! The server: a thin shell of sockets, files and tailscaled around the rules of [`tsidecar_oauth`].
//!
//! Wiring: [`command`] → [`config`], [`state`], [`keys`], [`store`] → [`snapshot`] and [`tailnet`] → [`app`] → [`serve`].
//! A request: [`serve`] → [`peer`] (may it connect, whose is it) → [`router`] → [`endpoint`] → [`web`].
//! Who the client is, is judged in [`client_auth`], which key it holds in [`proof`]. Whom whois names is judged in [`identity`]; what an endpoint returns when it does not answer is a [`failure`].
//!
//! A library only so that the binary, the demonstration, fuzz targets and tests use the same parts.

pub mod app;
pub mod audit;
pub mod backchannel;
pub mod client_auth;
pub mod clients;
pub mod clock;
pub mod command;
pub mod config;
pub mod consents;
pub mod demo;
pub mod device_limits;
pub mod documents;
pub mod endpoint;
pub mod entropy;
pub mod failure;
pub mod identity;
pub mod keys;
pub mod limiter;
pub mod lineage;
pub mod log;
pub mod notify;
pub mod outbound;
pub mod peer;
pub mod proof;
pub mod registrations;
pub mod reload;
pub mod request_object;
pub mod router;
pub mod serve;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod sweep;
pub mod tailnet;
pub mod web;
pub mod withdraw;
pub mod workload;

use std::{ffi::OsString, process::ExitCode};

/// Runs the program with its arguments, its own name included.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Reads and clears the environment, so it comes before any thread.
    match notify::inherited_sockets() {
        Ok(inherited) => command::run(arguments, inherited),
        Err(error) => {
            eprintln!("tsidecar: {error}");
            ExitCode::FAILURE
        }
    }
}
