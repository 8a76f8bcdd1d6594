//! Documents of clients, fetched when they are needed and kept for a while: key sets today.
//!
//! A host is asked once for all who wait (the leader of a flight is a task of its own), not before a document is stale, and not
//! soon again after a failure; meanwhile the last good copy counts for a day. Memory is bounded: strangers' documents make room
//! first. Times are of the monotonic clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::uri::FetchUrl;

use super::{FetchError, Fetched, Outbound, Requester, Trust, Want};

/// After a failure the host is left alone for so long, whoever asks.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How long a document may serve beyond its freshness while its host fails.
const STALE: Duration = Duration::from_hours(24);
/// How often a document that is still fresh is fetched again because somebody misses something in it.
const MISSED: Duration = Duration::from_mins(1);
/// So many documents are kept.
const MOST: usize = 256;

/// A kind of document.
pub trait Document: Sized + Send + Sync + 'static {
    /// What is asked for.
    const WANT: Want;
    /// Why a text is no such document.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Reads the document of an answer with status 200.
    ///
    /// # Errors
    /// When it is none; it counts as a failure of the host then.
    fn read(fetched: &Fetched) -> Result<Self, Self::Error>;
}

/// Whose document it is, and where it lies. Clients share nothing, so that none can spoil or use up what is another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The client.
    pub client: ClientId,
    /// The place that its metadata names.
    pub url: FetchUrl,
    /// Who wrote that down.
    pub trust: Trust,
}

/// Why there is no document. The text is for the log; others get [`FetchError::TEXT`].
#[derive(Debug, thiserror::Error)]
pub enum DocumentError<E> {
    /// It could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The host answered with something else than 200.
    #[error("the host answered {0}")]
    Status(StatusCode),
    /// What it answered is no such document.
    #[error("the document cannot be used: {0}")]
    Unusable(E),
    /// The attempt before failed less than half a minute ago.
    #[error("the last attempt failed a moment ago")]
    Recently,
}

/// Documents of one kind.
pub struct DocumentCache<D> {
    outbound: Arc<Outbound>,
    entries: Mutex<BTreeMap<Source, Entry<D>>>,
}

struct Entry<D> {
    good: Option<Good<D>>,
    /// The host is not asked before this.
    not_before: Option<Instant>,
    /// When somebody last missed something.
    missed_at: Option<Instant>,
    used_at: Instant,
    /// Ends when the fetch that is under way does.
    flight: Option<watch::Receiver<()>>,
}

struct Good<D> {
    document: Arc<D>,
    fresh_until: Instant,
}

/// What is needed.
enum Need<'a, D> {
    /// A document that is fresh, or the best there is.
    Any,
    /// Another one than this, in which something was missed.
    Newer(&'a Arc<D>),
}

enum Step<D> {
    Have(Arc<D>),
    Wait(watch::Receiver<()>),
    Fetch(watch::Sender<()>),
    Give(Option<Arc<D>>),
}

impl<D: Document> DocumentCache<D> {
    /// An empty cache.
    pub fn new(outbound: Arc<Outbound>) -> Arc<Self> {
        Arc::new(Self { outbound, entries: Mutex::default() })
    }

    /// The document, fetched if there is no fresh copy.
    ///
    /// # Errors
    /// [`DocumentError`] when there is none, fresh or stale by less than a day; it is in the log already.
    pub async fn document(
        self: &Arc<Self>,
        source: &Source,
        requester: Requester,
    ) -> Result<Arc<D>, DocumentError<D::Error>> {
        self.obtain(source, requester, Need::Any).await
    }

    /// A newer document than one in which something was missed, as a key with the id that a token names. `None` when there is
    /// none: the host was asked for this within the last minute, or what it answered cannot be used.
    pub async fn newer(
        self: &Arc<Self>,
        source: &Source,
        requester: Requester,
        than: &Arc<D>,
    ) -> Option<Arc<D>> {
        self.obtain(source, requester, Need::Newer(than)).await.ok()
    }

    async fn obtain(
        self: &Arc<Self>,
        source: &Source,
        requester: Requester,
        need: Need<'_, D>,
    ) -> Result<Arc<D>, DocumentError<D::Error>> {
        loop {
            // A statement of its own: the lock is not held while anything is awaited.
            let step = self.step(source, &need);
            match step {
                Step::Have(document) | Step::Give(Some(document)) => return Ok(document),
                Step::Give(None) => return Err(DocumentError::Recently),
                Step::Wait(mut flight) => {
                    // Nothing is ever sent; it ends when the leader does.
                    let _ = flight.changed().await;
                }
                Step::Fetch(landing) => {
                    let (cache, leads) = (Arc::clone(self), source.clone());
                    let led = tokio::spawn(async move { cache.lead(leads, requester, landing).await });
                    let error = match led.await {
                        Ok(Ok(document)) => return Ok(document),
                        Ok(Err(error)) => error,
                        // It has counted as a failure since it began.
                        Err(_) => DocumentError::Recently,
                    };
                    return self.stale(source, &need).ok_or(error);
                }
            }
        }
    }

    fn step(&self, source: &Source, need: &Need<'_, D>) -> Step<D> {
        let now = Instant::now();
        let mut entries = self.lock();
        let entry = entry_of(&mut entries, source, now);
        entry.used_at = now;
        entry.step(need, now)
    }

    /// Fetches, and takes in what came of it.
    async fn lead(
        &self,
        source: Source,
        requester: Requester,
        landing: watch::Sender<()>,
    ) -> Result<Arc<D>, DocumentError<D::Error>> {
        let fetched = self.fetch(&source, requester).await;
        let now = Instant::now();
        let mut entries = self.lock();
        let entry = entry_of(&mut entries, &source, now);
        entry.flight = None;
        let result = match fetched {
            Ok((document, freshness)) => {
                let document = Arc::new(document);
                entry.good = Some(Good { document: Arc::clone(&document), fresh_until: now + freshness });
                entry.not_before = None;
                Ok(document)
            }
            Err(error) => {
                // What the requester has used up says nothing about the host: the next one may ask.
                let ours = matches!(&error, DocumentError::Fetch(error) if error.is_ours());
                entry.not_before = (!ours).then_some(now + AFTER_FAILURE);
                Err(error)
            }
        };
        drop(entries);
        drop(landing);
        result.inspect_err(|error| {
            tracing::info!(client.id = %source.client, %error, "a document of a client could not be had");
        })
    }

    async fn fetch(
        &self,
        source: &Source,
        requester: Requester,
    ) -> Result<(D, Duration), DocumentError<D::Error>> {
        let fetched = self.outbound.get(&source.url, source.trust, requester, D::WANT).await?;
        if fetched.status != StatusCode::OK {
            return Err(DocumentError::Status(fetched.status));
        }
        let document = D::read(&fetched).map_err(DocumentError::Unusable)?;
        Ok((document, fetched.freshness()))
    }

    /// The last good copy, for whom it is good enough.
    fn stale(&self, source: &Source, need: &Need<'_, D>) -> Option<Arc<D>> {
        self.lock().get(source)?.stale(need, Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Source, Entry<D>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> Entry<D> {
    const fn new(now: Instant) -> Self {
        Self { good: None, not_before: None, missed_at: None, used_at: now, flight: None }
    }

    /// What to do for somebody who needs the document now.
    fn step(&mut self, need: &Need<'_, D>, now: Instant) -> Step<D> {
        if let Some(good) = &self.good {
            let enough = match need {
                Need::Any => now < good.fresh_until,
                Need::Newer(than) => !Arc::ptr_eq(&good.document, than),
            };
            if enough {
                return Step::Have(Arc::clone(&good.document));
            }
        }
        // A leader that panicked has closed it.
        if let Some(flight) = self.flight.clone().filter(|flight| flight.has_changed().is_ok()) {
            return Step::Wait(flight);
        }
        let early = self.not_before.is_some_and(|not_before| now < not_before);
        let again = self.missed_at.is_some_and(|missed_at| now < missed_at + MISSED);
        if early || (again && matches!(need, Need::Newer(_))) {
            return Step::Give(self.stale(need, now));
        }
        if matches!(need, Need::Newer(_)) {
            self.missed_at = Some(now);
        }
        // Counts as failed until it has not, whatever becomes of the leader.
        self.not_before = Some(now + AFTER_FAILURE);
        let (landing, flight) = watch::channel(());
        self.flight = Some(flight);
        Step::Fetch(landing)
    }

    fn stale(&self, need: &Need<'_, D>, now: Instant) -> Option<Arc<D>> {
        let good = self.good.as_ref().filter(|good| now < good.fresh_until + STALE)?;
        matches!(need, Need::Any).then(|| Arc::clone(&good.document))
    }
}

/// The entry of a source. For a new one the least recently used makes room, strangers' first.
fn entry_of<'a, D>(
    entries: &'a mut BTreeMap<Source, Entry<D>>,
    source: &Source,
    now: Instant,
) -> &'a mut Entry<D> {
    if entries.len() >= MOST && !entries.contains_key(source) {
        let least = entries.iter().min_by_key(|(source, entry)| (source.trust, entry.used_at));
        if let Some(least) = least.map(|(source, _)| source.clone()) {
            entries.remove(&least);
        }
    }
    entries.entry(source.clone()).or_insert_with(|| Entry::new(now))
}

impl<D> std::fmt::Debug for DocumentCache<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DocumentCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Ca, Reply, World, url};
    use super::*;

    /// A document that is any text but "no".
    #[derive(Debug, PartialEq)]
    struct Text(String);

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("it says no")]
    struct No;

    impl Document for Text {
        const WANT: Want = Want { accept: "text/plain", most_bytes: 100 };
        type Error = No;
        fn read(fetched: &Fetched) -> Result<Self, No> {
            let text = String::from_utf8_lossy(&fetched.body).into_owned();
            if text == "no" { Err(No) } else { Ok(Self(text)) }
        }
    }

    struct Fixture {
        world: Arc<World>,
        cache: Arc<DocumentCache<Text>>,
    }

    fn fixture(replies: impl IntoIterator<Item = Reply>) -> Fixture {
        let ca = Ca::new();
        let world = Arc::new(World::new(&ca, Reply::Silent).replies(replies));
        let cache = DocumentCache::new(Arc::new(world.outbound(&ca)));
        Fixture { world, cache }
    }

    fn source(client: &str) -> Source {
        Source {
            client: ClientId::parse(client).unwrap(),
            url: url("https://app.test/jwks.json"),
            trust: Trust::Administrator,
        }
    }

    fn says(text: &str) -> Reply {
        Reply::document("cache-control: max-age=600\r\n", text)
    }

    impl Fixture {
        async fn text(&self) -> Result<String, DocumentError<No>> {
            let document = self.cache.document(&source("a"), Requester::Daemon).await;
            document.map(|document| document.0.clone())
        }

        fn fetches(&self) -> usize {
            self.world.dialled().len()
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_kept_while_it_is_fresh() {
        let fixture = fixture([says("one"), says("two")]);
        assert_eq!(fixture.text().await.unwrap(), "one");
        pass(599).await;
        assert_eq!(fixture.text().await.unwrap(), "one");
        assert_eq!(fixture.fetches(), 1);
        pass(1).await;
        assert_eq!(fixture.text().await.unwrap(), "two");
        assert_eq!(fixture.fetches(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_copy_serves_for_a_day_while_the_host_fails() {
        let broken = Reply::Says("HTTP/1.1 503 Away\r\n\r\n".to_owned());
        let fixture = fixture([says("one"), broken, says("no"), Reply::Refuses]);
        assert_eq!(fixture.text().await.unwrap(), "one");
        for fetches in 2..=4 {
            pass(600).await;
            assert_eq!(fixture.text().await.unwrap(), "one");
            assert_eq!(fixture.fetches(), fetches, "each kind of failure is one");
        }
        pass(29).await;
        assert_eq!(fixture.text().await.unwrap(), "one");
        assert_eq!(fixture.fetches(), 4, "the host is left alone");
        pass(24 * 3600).await;
        assert!(matches!(fixture.text().await, Err(DocumentError::Fetch(FetchError::Connect { .. }))));
        assert!(matches!(fixture.text().await, Err(DocumentError::Recently)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_no_document_and_is_not_asked_again_at_once() {
        let gone = Reply::Says("HTTP/1.1 404 Gone\r\n\r\n".to_owned());
        let fixture = fixture([gone, says("no"), says("one")]);
        assert!(matches!(fixture.text().await, Err(DocumentError::Status(StatusCode::NOT_FOUND))));
        for _ in 0..100 {
            assert!(matches!(fixture.text().await, Err(DocumentError::Recently)));
        }
        assert_eq!(fixture.fetches(), 1);
        pass(30).await;
        assert!(matches!(fixture.text().await, Err(DocumentError::Unusable(No))));
        pass(30).await;
        assert_eq!(fixture.text().await.unwrap(), "one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missed_is_looked_for_at_most_once_a_minute() {
        let fixture = fixture([says("one"), says("two"), says("three")]);
        let (cache, source) = (&fixture.cache, source("a"));
        let one = cache.document(&source, Requester::Daemon).await.unwrap();
        let two = cache.newer(&source, Requester::Daemon, &one).await.unwrap();
        assert_eq!(
            (two.0.as_str(), fixture.fetches()),
            ("two", 2),
            "at once: a client that rotated does not wait"
        );
        let same = cache.newer(&source, Requester::Daemon, &one).await.unwrap();
        assert!(Arc::ptr_eq(&two, &same), "what another has fetched is newer, too");
        for _ in 0..100 {
            assert_eq!(cache.newer(&source, Requester::Daemon, &two).await, None);
        }
        assert_eq!(fixture.fetches(), 2, "unknown key ids do not make us hammer a host");
        pass(60).await;
        assert_eq!(cache.newer(&source, Requester::Daemon, &two).await.unwrap().0, "three");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_look_for_what_is_missed_keeps_the_good_copy() {
        let fixture = fixture([says("one"), Reply::Refuses]);
        let (cache, source) = (&fixture.cache, source("a"));
        let one = cache.document(&source, Requester::Daemon).await.unwrap();
        assert_eq!(cache.newer(&source, Requester::Daemon, &one).await, None);
        assert_eq!(fixture.text().await.unwrap(), "one");
    }

    #[tokio::test(start_paused = true)]
    async fn many_wait_for_one_fetch_and_it_goes_on_without_them() {
        let drips = Reply::Drips("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n".to_owned());
        let fixture = fixture([drips, says("other")]);
        let ask = || {
            let cache = Arc::clone(&fixture.cache);
            tokio::spawn(async move {
                cache.document(&source("a"), Requester::Daemon).await.map(|text| text.0.clone())
            })
        };
        let first = ask();
        while fixture.fetches() == 0 {
            tokio::task::yield_now().await;
        }
        first.abort();
        let waiting: Vec<_> = (0..20).map(|_| ask()).collect();
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap().unwrap(), "   ");
        }
        assert_eq!(fixture.fetches(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_used_up_its_allowance_blocks_nobody_else() {
        let fixture = fixture([says("one")]);
        let device = |last| Requester::Caller(crate::peer::Origin::Address([100, 64, 0, last].into()));
        for index in 0..10 {
            let other = source(&format!("other-{index}"));
            fixture.cache.document(&other, device(2)).await.unwrap();
        }
        let limited = fixture.cache.document(&source("a"), device(2)).await;
        assert!(matches!(limited, Err(DocumentError::Fetch(FetchError::Limited { .. }))), "{limited:?}");
        assert_eq!(fixture.cache.document(&source("a"), device(3)).await.unwrap().0, "one");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_share_nothing_and_memory_is_bounded() {
        let fixture = fixture([says("one")]);
        let named = source("named");
        fixture.cache.step(&named, &Need::Any);
        for index in 0..2 * MOST {
            let mut stranger = source(&format!("stranger-{index}"));
            stranger.trust = Trust::Stranger;
            assert!(matches!(fixture.cache.step(&stranger, &Need::Any), Step::Fetch(_)));
        }
        let entries = fixture.cache.lock();
        assert!(entries.len() == MOST && entries.contains_key(&named));
    }
}
