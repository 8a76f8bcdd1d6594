//! Who may connect to which socket, by the credentials that the kernel tells of the other end (`SO_PEERCRED`).
//!
//! Whoever is not admitted is refused at accept, before a byte is read.

use std::sync::{Mutex, PoisonError};

use tokio::net::unix::UCred;
use tsidecar_localapi::{Client, Error};

/// Says whom a socket admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The process that answers on tailscaled's own socket, under this uid. No other root daemon: it could be talked
    /// into sending a request of somebody's choice.
    Tailscaled {
        /// tailscaled's uid, 0 unless configured.
        uid: u32,
    },
    /// A reverse proxy of the administrator's own.
    Proxy {
        /// The proxy's uid, its alone.
        uid: u32,
    },
    /// The administrator, and never tailscaled, which opens sockets for others.
    Administrator {
        /// The administrator's uid, 0 unless configured.
        uid: u32,
    },
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The uid that opened it.
    pub uid: u32,
    /// The process that opened it; `None` when it is invisible from here (another pid namespace).
    pub pid: Option<i32>,
}

/// Why a connection is refused. The text says what to do about it, and goes to the log only.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// Another uid than the one that may.
    #[error("uid {found} may not connect here, only uid {wanted}")]
    Uid {
        /// Who connected.
        found: u32,
        /// Who may.
        wanted: u32,
    },
    /// The uid that stands for everybody whom a user namespace does not know.
    #[error(
        "uid 65534 stands for anybody here and is never admitted; do not run tsidecar in a user namespace (PrivateUsers=)"
    )]
    Overflow,
    /// The uid is right, but the process is not tailscaled.
    #[error(
        "process {found:?} is not tailscaled, which is process {tailscaled:?}: nobody else may connect here"
    )]
    NotTailscaled {
        /// Who connected.
        found: Option<i32>,
        /// Who answers on tailscaled's socket.
        tailscaled: Option<i32>,
    },
    /// tailscaled connects to a socket that it must never reach.
    #[error(
        "tailscaled (process {pid}) connects here for somebody else; let no serve target, TCP forward or SSH forward name this socket"
    )]
    Tailscaled {
        /// Its process.
        pid: i32,
    },
    /// It may be tailscaled or not.
    #[error(
        "the calling process is invisible from here and might be tailscaled; call from the same pid namespace"
    )]
    Invisible,
    /// tailscaled's own socket did not answer.
    #[error("whether process {found:?} is tailscaled cannot be told: {error}")]
    Untold {
        /// Who connected.
        found: Option<i32>,
        /// What went wrong.
        error: Error,
    },
}

/// Asks who tailscaled is, remembers it, and judges connections by it.
#[derive(Debug)]
pub struct Gate {
    client: Client,
    last: Mutex<Known>,
}

/// The process that answered on tailscaled's socket last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// None did yet.
    Nothing,
    /// This one; `None` when it is invisible from here.
    Process(Option<i32>),
}

impl Peer {
    /// Reads the credentials of a connection.
    pub fn of(credentials: &UCred) -> Self {
        Self { uid: credentials.uid(), pid: credentials.pid().filter(|pid| *pid != 0) }
    }
}

impl Door {
    /// Judges the uid alone.
    fn admits_uid(self, peer: Peer) -> Result<(), Refusal> {
        let (Self::Tailscaled { uid: wanted }
        | Self::Proxy { uid: wanted }
        | Self::Administrator { uid: wanted }) = self;
        if peer.uid == OVERFLOW {
            Err(Refusal::Overflow)
        } else if peer.uid == wanted {
            Ok(())
        } else {
            Err(Refusal::Uid { found: peer.uid, wanted })
        }
    }
}

impl Gate {
    /// Prepares to judge connections beside the daemon that this client asks.
    pub fn new(client: Client) -> Self {
        Self { client, last: Mutex::new(Known::Nothing) }
    }

    /// Judges one connection.
    ///
    /// # Errors
    /// [`Refusal`] when the other end may not connect here.
    pub async fn admit(&self, door: Door, peer: Peer) -> Result<(), Refusal> {
        door.admits_uid(peer)?;
        match door {
            Door::Proxy { .. } => Ok(()),
            Door::Tailscaled { .. } => self.admit_tailscaled(peer).await,
            Door::Administrator { .. } => self.admit_administrator(peer).await,
        }
    }

    /// The same process is seen with the same pid here and on tailscaled's socket, or on both sides not at all.
    async fn admit_tailscaled(&self, peer: Peer) -> Result<(), Refusal> {
        if self.last() == Known::Process(peer.pid) {
            return Ok(());
        }
        // tailscaled may just have restarted, so it is asked again before anybody is refused.
        match self.ask().await {
            Ok(tailscaled) if tailscaled == peer.pid => Ok(()),
            Ok(tailscaled) => Err(Refusal::NotTailscaled { found: peer.pid, tailscaled }),
            Err(error) => Err(Refusal::Untold { found: peer.pid, error }),
        }
    }

    /// Always asks: the last answer may be that of a tailscaled which has since been replaced.
    async fn admit_administrator(&self, peer: Peer) -> Result<(), Refusal> {
        let Some(pid) = peer.pid else { return Err(Refusal::Invisible) };
        let before = self.last();
        let tailscaled = match self.ask().await {
            Ok(tailscaled) => tailscaled,
            // Its socket is the first thing it opens. On its way out it may live a moment longer than that socket.
            Err(Error::NotRunning { .. }) => match before {
                Known::Process(tailscaled) => tailscaled,
                Known::Nothing => None,
            },
            Err(error) => return Err(Refusal::Untold { found: peer.pid, error }),
        };
        if tailscaled == Some(pid) { Err(Refusal::Tailscaled { pid }) } else { Ok(()) }
    }

    /// Asks tailscaled's socket who answers there, and remembers it.
    ///
    /// # Errors
    /// Those of [`Client::daemon_pid`].
    pub async fn ask(&self) -> Result<Option<i32>, Error> {
        let pid = self.client.daemon_pid().await?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Known::Process(pid);
        Ok(pid)
    }

    fn last(&self) -> Known {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the kernel says instead of a uid that our user namespace does not know; `nobody` as well.
pub const OVERFLOW: u32 = 65534;

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, path::Path};

    use super::*;

    const ROOT: Door = Door::Tailscaled { uid: 0 };
    const ADMIN: Door = Door::Administrator { uid: 0 };

    fn own_pid() -> Option<i32> {
        i32::try_from(std::process::id()).ok()
    }

    fn peer(uid: u32, pid: Option<i32>) -> Peer {
        Peer { uid, pid }
    }

    /// A gate beside a stand-in for tailscaled that lives in this process.
    fn gate(folder: &Path) -> (Gate, UnixListener) {
        let socket = folder.join("tailscaled.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        (Gate::new(Client::new(socket)), listener)
    }

    #[tokio::test]
    async fn only_tailscaled_gets_in_where_tailscaled_belongs() {
        let folder = tempfile::tempdir().unwrap();
        let (gate, _listener) = gate(folder.path());
        gate.admit(ROOT, peer(0, own_pid())).await.unwrap();
        let other = gate.admit(ROOT, peer(0, Some(1))).await;
        assert!(matches!(other, Err(Refusal::NotTailscaled { found: Some(1), .. })), "{other:?}");
        // Invisible here but visible there is another process.
        let hidden = gate.admit(ROOT, peer(0, None)).await;
        assert!(matches!(hidden, Err(Refusal::NotTailscaled { found: None, .. })), "{hidden:?}");
        let user = gate.admit(ROOT, peer(1000, own_pid())).await;
        assert!(matches!(user, Err(Refusal::Uid { found: 1000, wanted: 0 })), "{user:?}");
        let root = gate.admit(Door::Tailscaled { uid: 990 }, peer(0, own_pid())).await;
        assert!(matches!(root, Err(Refusal::Uid { found: 0, wanted: 990 })), "{root:?}");
    }

    #[tokio::test]
    async fn a_restart_is_noticed_before_anybody_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (gate, _listener) = gate(folder.path());
        *gate.last.lock().unwrap() = Known::Process(Some(1));
        gate.admit(ROOT, peer(0, own_pid())).await.unwrap();
        assert_eq!(gate.last(), Known::Process(own_pid()));
    }

    #[tokio::test]
    async fn nobody_is_taken_for_tailscaled_while_it_is_away() {
        let gate = Gate::new(Client::new("/nonexistent/tailscaled.sock"));
        let refused = gate.admit(ROOT, peer(0, own_pid())).await;
        assert!(matches!(refused, Err(Refusal::Untold { .. })), "{refused:?}");
        // The one that was here before may still send a request: it gets its 503.
        *gate.last.lock().unwrap() = Known::Process(own_pid());
        gate.admit(ROOT, peer(0, own_pid())).await.unwrap();
    }

    /// A36: a caller of the admin socket with tailscaled's pid.
    #[tokio::test]
    async fn tailscaled_is_never_an_administrator() {
        let folder = tempfile::tempdir().unwrap();
        let (gate, listener) = gate(folder.path());
        let refused = gate.admit(ADMIN, peer(0, own_pid())).await;
        assert!(matches!(refused, Err(Refusal::Tailscaled { .. })), "{refused:?}");
        gate.admit(ADMIN, peer(0, Some(1))).await.unwrap();
        let hidden = gate.admit(ADMIN, peer(0, None)).await;
        assert!(matches!(hidden, Err(Refusal::Invisible)), "{hidden:?}");
        let user = gate.admit(ADMIN, peer(1000, Some(1))).await;
        assert!(matches!(user, Err(Refusal::Uid { .. })), "{user:?}");
        // A stale memory decides nothing while tailscaled answers.
        *gate.last.lock().unwrap() = Known::Process(Some(1));
        gate.admit(ADMIN, peer(0, Some(1))).await.unwrap();
        // Its socket is gone, itself not yet.
        drop(listener);
        let late = gate.admit(ADMIN, peer(0, own_pid())).await;
        assert!(matches!(late, Err(Refusal::Tailscaled { .. })), "{late:?}");
        gate.admit(ADMIN, peer(0, Some(1))).await.unwrap();
    }

    #[tokio::test]
    async fn a_proxy_has_its_uid_and_no_other() {
        let gate = Gate::new(Client::new("/nonexistent/tailscaled.sock"));
        let door = Door::Proxy { uid: 33 };
        gate.admit(door, peer(33, Some(1))).await.unwrap();
        gate.admit(door, peer(33, None)).await.unwrap();
        for uid in [0, 34, OVERFLOW] {
            assert!(gate.admit(door, peer(uid, Some(1))).await.is_err(), "{uid}");
        }
        let nobody = gate.admit(Door::Proxy { uid: OVERFLOW }, peer(OVERFLOW, Some(1))).await;
        assert!(matches!(nobody, Err(Refusal::Overflow)), "{nobody:?}");
    }
}
