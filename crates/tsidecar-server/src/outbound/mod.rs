//! HTTPS to others: keys and documents of clients, and logout messages to them. The one way out of the daemon.
//!
//! Clients choose where it leads, so it is guarded (attacks A15 and A53): https only, no redirect, bounded size and time, and
//! **the checked address is the dialled one**. A name is resolved once; what may be dialled of the answer is decided on the
//! address itself, unwrapped of whatever carries it, against the tables of [`tsidecar_oauth::address`] and the addresses that
//! this host has at this moment. There is no pool: every fetch is a connection of its own, so none was opened under another
//! check. No proxy, cookie, redirect or decompression exists here to be switched off.
//!
//! Reasons of failures are for the log: others get [`FetchError::TEXT`].

mod cache;
mod document;
mod error;
mod freshness;
mod http;
mod jwks;
mod limits;
mod own;
mod system;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tsidecar_oauth::address::{Reach, reach, readings};
use tsidecar_oauth::uri::FetchUrl;

use self::limits::FetchLimiter;
use self::own::OwnAddresses;
use self::system::{Network, System};
use self::tls::{Verified, Verifier};
use crate::config::{OutboundConfig, TestHost};
use crate::peer::Origin;

pub use self::cache::{Document, DocumentCache, DocumentError, GONE_AGAIN, Gone, Source};
pub use self::document::{ClientDocument, ClientDocumentError, ClientDocuments};
pub use self::error::{Allowance, FetchError, Forbidden, OutboundError};
pub use self::http::Fetched;
pub use self::jwks::{ClientKeys, KeySetError};
pub use self::tls::{Authorities, AuthoritiesError};

/// Who wrote the URL down, and so where it may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// A registered client, or one that is known by its document: global unicast addresses and port 443.
    Stranger,
    /// An administrator: as written, so the tailnet, the LAN and this host's addresses there too (an application beside the
    /// daemon), on any port. Loopback and link-local never.
    Administrator,
}

/// On whose behalf something is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requester {
    /// The sender of the request that needs it.
    Caller(Origin),
    /// The daemon itself.
    Daemon,
}

/// Whether what is fetched is something new. Anybody can think of URLs of a host, and must not thereby use up what those are
/// fetched with that were of use before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody knows whether there is anything.
    New,
    /// There was a good copy of it here, or an administrator wrote the whole URL down.
    Known,
}

/// Whose fetch it is: what it may reach, and what it counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Who wrote the URL down.
    pub trust: Trust,
    /// Whether it is something new.
    pub standing: Standing,
    /// On whose behalf.
    pub requester: Requester,
}

/// What is wanted of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The `Accept` header.
    pub accept: &'static str,
    /// The most bytes that the document may have.
    pub most_bytes: usize,
}

/// How long a fetch may take.
#[derive(Clone, Copy, Debug)]
struct Times {
    /// From the name to the end of the handshake, all addresses together.
    connect: Duration,
    /// Everything, waiting for a turn included.
    total: Duration,
}

/// A15 of the attack list: 5 s. Somebody is waiting for a page.
const TIMES: Times = Times { connect: Duration::from_secs(3), total: Duration::from_secs(5) };

/// Fetches at once, for each lane: strangers' slow hosts keep only strangers waiting, and of those only what is new.
const AT_ONCE: usize = 16;

/// Addresses of a name that are tried; each gets its share of the time to connect.
const MOST_ADDRESSES: usize = 3;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("tsidecar/", env!("CARGO_PKG_VERSION")));

/// The one HTTPS client.
pub struct Outbound {
    network: Box<dyn Network>,
    strangers: Lane,
    acquaintances: Lane,
    administrators: Lane,
    test: Option<(TestHost, Verifier)>,
    limiter: FetchLimiter,
    times: Times,
}

/// What belongs to one kind of errand.
struct Lane {
    verifier: Verifier,
    slots: Semaphore,
}

impl Lane {
    fn new(verifier: Verifier) -> Self {
        Self { verifier, slots: Semaphore::new(AT_ONCE) }
    }
}

impl Outbound {
    /// A client by the configuration; reads the host's authorities.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub fn new(config: &OutboundConfig) -> Result<Self, OutboundError> {
        let strangers = Verifier::of_the_host(None)?;
        let administrators = match &config.authorities {
            Some(more) => Verifier::of_the_host(Some(more))?,
            None => strangers.clone(),
        };
        let test = match &config.test {
            Some(test) => Some((test.clone(), Verifier::of(&test.authorities)?)),
            None => None,
        };
        Ok(Self {
            network: Box::new(System::new()),
            acquaintances: Lane::new(strangers.clone()),
            strangers: Lane::new(strangers),
            administrators: Lane::new(administrators),
            test,
            limiter: FetchLimiter::new(),
            times: TIMES,
        })
    }

    /// Fetches a document. An answer of any status is one; only a 200 has a body.
    ///
    /// # Errors
    /// [`FetchError`]; it is in the log already.
    pub async fn get(&self, url: &FetchUrl, errand: Errand, want: Want) -> Result<Fetched, FetchError> {
        let fetched = async {
            self.limiter.start(url.host(), errand)?;
            let request = head(Method::GET, url)?.header(ACCEPT, want.accept).body(Full::default())?;
            self.exchange(url, errand, request, want.most_bytes).await
        };
        told(url, errand, fetched.await)
    }

    /// Posts a form, as OpenID Connect Back-Channel Logout §2.5 wants it, and tells the status; the answer's body is not read.
    ///
    /// # Errors
    /// [`FetchError`]; it is in the log already.
    pub async fn post_form(
        &self,
        url: &FetchUrl,
        trust: Trust,
        fields: &[(&str, &str)],
    ) -> Result<StatusCode, FetchError> {
        // Clients that register themselves name hosts of others here, too: nothing is known of them.
        let errand = Errand { trust, standing: Standing::New, requester: Requester::Daemon };
        let posted = async {
            self.limiter.start(url.host(), errand)?;
            let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            let request = head(Method::POST, url)?
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Full::new(Bytes::from(form)))?;
            self.exchange(url, errand, request, 0).await.map(|answer| answer.status)
        };
        told(url, errand, posted.await)
    }

    /// One request to one of the addresses that may be dialled.
    async fn exchange(
        &self,
        url: &FetchUrl,
        errand: Errand,
        request: Request<Full<Bytes>>,
        most_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        let Times { connect, total } = self.times;
        let whole = async {
            // The semaphore is never closed, so an error cannot be; without a permit it is one more that waits for nothing.
            let _turn = self.lane(errand).slots.acquire().await;
            let stream = timeout(connect, self.connect(url, errand)).await;
            let stream = stream.unwrap_or(Err(FetchError::Late(connect)))?;
            http::ask(stream, request, most_bytes).await
        };
        timeout(total, whole).await.unwrap_or(Err(FetchError::Late(total)))
    }

    const fn lane(&self, errand: Errand) -> &Lane {
        match (errand.trust, errand.standing) {
            (Trust::Stranger, Standing::New) => &self.strangers,
            (Trust::Stranger, Standing::Known) => &self.acquaintances,
            (Trust::Administrator, _) => &self.administrators,
        }
    }

    /// Opens a verified connection to a URL's host.
    async fn connect(&self, url: &FetchUrl, errand: Errand) -> Result<Verified, FetchError> {
        let (addresses, verifier) = match &self.test {
            // Its name is never looked up, so this exception leads to loopback and nowhere else.
            Some((test, verifier)) if test.is(url) => (vec![Ipv4Addr::LOCALHOST.into()], verifier),
            _ => (self.permitted(url, errand.trust).await?, &self.lane(errand).verifier),
        };
        let share = self.times.connect / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut last = FetchError::NoAddress;
        for address in addresses {
            self.limiter.dial(address, errand)?;
            let dialled = async {
                let stream = self.network.connect(SocketAddr::new(address, url.port())).await;
                let stream = stream.map_err(|source| FetchError::Connect { address, source })?;
                let shaken = verifier.verify(url.host(), stream).await;
                shaken.map_err(|source| FetchError::Tls { address, source })
            };
            match timeout(share, dialled).await.unwrap_or(Err(FetchError::Late(share))) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Resolves a URL's host, once, and keeps the addresses that may be dialled.
    async fn permitted(&self, url: &FetchUrl, trust: Trust) -> Result<Vec<IpAddr>, FetchError> {
        if trust == Trust::Stranger && url.port() != HTTPS {
            return Err(FetchError::Port(url.port()));
        }
        let found = match url.literal() {
            Some(address) => vec![address],
            None => self.network.resolve(url.host()).await.map_err(FetchError::Resolve)?,
        };
        let own = self.network.own_addresses().map_err(FetchError::OwnAddresses)?;
        let mut permitted = Vec::new();
        let mut error = FetchError::NoAddress;
        for address in found.iter().map(IpAddr::to_canonical) {
            match judge(address, trust, &own) {
                Ok(()) if permitted.contains(&address) => (),
                Ok(()) => permitted.push(address),
                Err(why) if matches!(error, FetchError::NoAddress) => {
                    error = FetchError::Forbidden { address, why }
                }
                Err(_) => (),
            }
        }
        permitted.truncate(MOST_ADDRESSES);
        if permitted.is_empty() { Err(error) } else { Ok(permitted) }
    }
}

/// Whether an address may be dialled.
fn judge(address: IpAddr, trust: Trust, own: &OwnAddresses) -> Result<(), Forbidden> {
    match (reach(address), trust) {
        (Reach::Never(block), _) | (Reach::Local(block), Trust::Stranger) => {
            return Err(Forbidden::Special(block));
        }
        (Reach::Global, _) | (Reach::Local(_), Trust::Administrator) => (),
    }
    let is_own = || readings(address).any(|reading| own.contains(reading));
    if trust == Trust::Stranger && is_own() { Err(Forbidden::Own) } else { Ok(()) }
}

fn head(method: Method, url: &FetchUrl) -> Result<hyper::http::request::Builder, FetchError> {
    let host =
        if url.port() == HTTPS { url.host().to_owned() } else { format!("{}:{}", url.host(), url.port()) };
    Ok(Request::builder()
        .method(method)
        .uri(url.target())
        .header(HOST, HeaderValue::try_from(host).map_err(hyper::http::Error::from)?)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close"))
}

/// Writes into the log how a fetch came out: by host, never with path or query, which may hold secrets of the client.
fn told<T>(url: &FetchUrl, errand: Errand, result: Result<T, FetchError>) -> Result<T, FetchError> {
    let (host, port) = (url.host(), url.port());
    let Errand { trust, requester, .. } = errand;
    match &result {
        Ok(_) => tracing::debug!(fetch.host = host, fetch.port = port, ?trust, "fetched"),
        Err(error) => {
            tracing::info!(fetch.host = host, fetch.port = port, ?trust, %requester, %error, "a fetch failed");
        }
    }
    result
}

const HTTPS: u16 = 443;

impl std::fmt::Display for Requester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caller(origin) => origin.fmt(f),
            Self::Daemon => f.write_str("daemon"),
        }
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let test = self.test.as_ref().map(|(test, _)| test);
        f.debug_struct("Outbound").field("test", &test).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use self::testing::ca_for_tests;
