//! Who is at the other end of a socket, and whose request this is (design section 4).
//!
//! [`door`] judges who may connect, by the credentials that the kernel tells; [`place`] says where our sockets may lie,
//! binds them and gives inherited ones their role; [`mod@caller`] reads the one address that a request is believed to come
//! from. Nothing else in this program may trust a forwarded header.

pub mod caller;
pub mod door;
pub mod place;

use std::path::{Path, PathBuf};

use tsidecar_localapi::ServiceName;
use tsidecar_oauth::id::{IdError, Listener};

pub use self::{
    caller::{Caller, CallerError, Origin, caller, came_by_funnel},
    door::{Door, Gate, Peer, Refusal},
    place::{Bound, PlaceError, Plan},
};

/// What a socket is for. One socket has one role for as long as it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// `tailscale serve` of this host.
    Host,
    /// `tailscale serve` of one Tailscale Service: its capabilities are its own.
    Service(ServiceName),
    /// A reverse proxy of the administrator's own.
    Proxy,
    /// The command line.
    Admin,
    /// Health and readiness.
    Ops,
}

/// Names the socket that a connection came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerContext {
    role: Role,
    listener: Listener,
    path: PathBuf,
}

impl ListenerContext {
    /// Names the socket at a path by its role.
    ///
    /// # Errors
    /// [`IdError`] when the path of a proxy's socket is longer than 122 bytes or not printable ASCII.
    pub fn new(role: Role, path: PathBuf) -> Result<Self, IdError> {
        let listener = match &role {
            Role::Host => Listener::host(),
            Role::Service(name) => Listener::parse(name.as_str())?,
            Role::Proxy => Listener::parse(&format!("{PROXY}{}", path.to_string_lossy()))?,
            Role::Admin => Listener::parse("admin")?,
            Role::Ops => Listener::parse("ops")?,
        };
        Ok(Self { role, listener, path })
    }

    /// What the socket is for.
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// The name of the way in, as codes and grants carry it.
    pub const fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Where the socket lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What the name of a proxy's listener begins with.
pub(crate) const PROXY: &str = "proxy:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_named_by_their_role() {
        let name = |role, path: &str| ListenerContext::new(role, path.into()).unwrap().listener().to_string();
        assert_eq!(name(Role::Host, "/run/tsidecar/serve.sock"), "host");
        assert_eq!(name(Role::Service("svc:login".parse().unwrap()), "/run/tsidecar/a.sock"), "svc:login");
        assert_eq!(name(Role::Proxy, "/run/tsidecar/proxy.sock"), "proxy:/run/tsidecar/proxy.sock");
        assert!(ListenerContext::new(Role::Proxy, "/run/tsidecar/ü.sock".into()).is_err());
    }
}
