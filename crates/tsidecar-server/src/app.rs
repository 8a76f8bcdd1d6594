//! What every request shares.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Config;
use crate::device_limits::DeviceLimits;
use crate::documents::Documents;
use crate::limiter::Limiter;
use crate::outbound::{ClientKeys, Outbound};
use crate::registrations::Registrations;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::tailnet::Tailnet;

/// The running server, as handlers see it.
pub struct App {
    /// The configuration of the start; what a reload may change is in the snapshot.
    pub config: Arc<Config>,
    /// Everything reloadable; a request takes it once.
    pub snapshot: ArcSwap<Snapshot>,
    /// What must survive.
    pub store: Arc<dyn Store>,
    /// What tailscaled says.
    pub tailnet: Arc<Tailnet>,
    /// Rate limits per node.
    pub limiter: Limiter,
    /// Bounds of device authorizations.
    pub devices: DeviceLimits,
    /// Bounds of registrations.
    pub registrations: Registrations,
    /// The way out: HTTPS to clients' hosts.
    pub outbound: Arc<Outbound>,
    /// What clients say of themselves at their ids.
    pub documents: Documents,
    /// The keys that clients publish.
    pub client_keys: Arc<ClientKeys>,
    /// What goes on beside requests and is finished before the store is closed.
    pub background: TaskTracker,
    /// The time.
    pub clock: Clock,
}
