//! Client of tailscaled's LocalAPI: who a tailnet address is, and how the daemon beside us is doing.
//!
//! LocalAPI is HTTP/1.1 on a unix socket. tailscaled lets every local user read it, so nothing here needs a privilege.
//! Only the five reads that tsidecar needs are spoken: [`Client::whois`], [`Client::status`], [`Client::prefs`],
//! [`Client::serve_config`] and the bus, [`Client::watch`]. Each has a deadline and a bound on its answer, and each way
//! to fail is its own [`Error`]. [`WhoisCache`] makes many questions about one peer cheap.
//!
//! The types are tolerant as tailscaled's own history demands: every field may be absent or `null`, which means its
//! zero value, unknown fields are ignored, and capability values stay raw JSON.
//!
//! ```no_run
//! # async fn example() -> Result<(), tsidecar_localapi::Error> {
//! use tsidecar_localapi::{Client, Destination};
//!
//! let client = Client::new("/var/run/tailscale/tailscaled.sock");
//! let peer = "100.64.0.2".parse().unwrap();
//! match client.whois(peer, Destination::Host).await? {
//!     Some(whois) if whois.node.is_tagged() => println!("a workload: {:?}", whois.node.tags),
//!     Some(whois) => println!("{} on {}", whois.user_profile.login_name, whois.node.stable_id),
//!     None => println!("nobody that the tailnet knows"),
//! }
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

mod backoff;
mod client;
mod error;
mod id;
mod json;
mod serve;
mod status;
mod transport;
mod watch;
mod whois;
mod whois_cache;

pub use crate::{
    backoff::Backoff,
    client::{Client, Daemon, Limits},
    error::{Endpoint, Error, Stage, Unreadable},
    id::{InvalidServiceName, LoginName, NodeId, ServiceName, StableNodeId, UserId},
    serve::{
        HttpHandler, Place, Prefs, ServeConfig, ServiceConfig, Target, TargetKind, TcpHandler, WebServer,
    },
    status::{BackendState, SelfNode, Status, Tailnet},
    watch::{Notify, PeerChange, Watch, WatchMask},
    whois::{CapMap, Destination, Hostinfo, InvalidPrefix, Node, Prefix, UserProfile, WhoIs},
    whois_cache::{CacheLimits, WhoisCache},
};
