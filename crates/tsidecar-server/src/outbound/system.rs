//! The network as the guard sees it, and the real one. A trait, because tests answer for addresses that nobody may dial in a test.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::own::OwnAddresses;

/// What the network answers, later.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// A connection.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Names, own addresses, connections: all that the guard asks of the system.
pub(super) trait Network: Send + Sync {
    /// The addresses of a name, the best first.
    fn resolve<'a>(&'a self, host: &'a str) -> Answer<'a, Vec<IpAddr>>;
    /// The addresses of this host now.
    fn own_addresses(&self) -> io::Result<OwnAddresses>;
    /// A connection to exactly this address.
    fn connect(&self, address: SocketAddr) -> Answer<'_, Box<dyn Wire>>;
}

/// As many names are looked up at once: each takes a thread, and a name server that does not answer keeps it for half a minute.
const LOOKUPS: usize = 8;

/// The real network: getaddrinfo(3), the kernel's tables, TCP.
pub(super) struct System {
    lookups: Arc<Semaphore>,
}

impl System {
    pub(super) fn new() -> Self {
        Self { lookups: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Network for System {
    fn resolve<'a>(&'a self, host: &'a str) -> Answer<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
            let host = host.to_owned();
            let looked = tokio::task::spawn_blocking(move || {
                // Held by the thread: whoever waits may have gone long before it ends.
                let _held = permit;
                let found = (host.as_str(), 0).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).collect())
            });
            looked.await.map_err(io::Error::other)?
        })
    }

    fn own_addresses(&self) -> io::Result<OwnAddresses> {
        OwnAddresses::read()
    }

    fn connect(&self, address: SocketAddr) -> Answer<'_, Box<dyn Wire>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    }
}
