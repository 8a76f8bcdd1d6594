//! Documents of clients, fetched when they are needed and kept for a while: key sets, and what clients say of themselves.
//!
//! A host is asked once for all who wait (the leader of a flight is a task of its own), not before a document is stale, and not
//! soon again after a failure; meanwhile the last good copy counts for a day. A host that says that there is no document any more
//! is another matter for some kinds: the copy is dropped at once. Memory is bounded: strangers' documents make room first, and of
//! those the ones that never were good; what one host has of them makes room for more of that host. Times are of the monotonic
//! clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;
use tsidecar_oauth::id::ClientId;
use tsidecar_oauth::uri::FetchUrl;

use super::{Errand, FetchError, Fetched, Outbound, Requester, Standing, Trust, Want};

/// After a failure the host is left alone for so long, whoever asks.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How long a document may serve beyond its freshness while its host fails.
const STALE: Duration = Duration::from_hours(24);
/// How often a document that is still fresh is fetched again because somebody misses something in it.
const MISSED: Duration = Duration::from_mins(1);
/// A document is taken for gone for good when its host says so twice, so long apart: one that is just being replaced, by a copy of
/// its site or a restart, is away for seconds.
pub const GONE_AGAIN: Duration = Duration::from_secs(10);
/// So many documents are kept.
const MOST: usize = 256;
/// So many of them are one host's, but for those that an administrator named. A host may have clients of many people, who would
/// push one another out, but not those of other hosts. It also bounds what is known of a host, and so fetched with an allowance
/// apart: all of it goes stale once in five minutes at most, which that allowance has room for.
const MOST_OF_HOST: usize = 32;
/// So many of those never were good: anybody can think of URLs of somebody else's host.
const MOST_NEVER_GOOD: usize = 16;

/// A kind of document.
pub trait Document: Sized + Send + Sync + 'static {
    /// What is asked for.
    const WANT: Want;
    /// Whether 404 and 410 mean that the document was taken away; otherwise they are failures as any other.
    const CAN_BE_GONE: bool = false;
    /// Why a text is no such document.
    type Error: std::error::Error + Clone + Send + Sync + 'static;
    /// Reads the document of an answer with status 200.
    ///
    /// # Errors
    /// When it is none; it counts as a failure of the host then.
    fn read(source: &Source, fetched: &Fetched) -> Result<Self, Self::Error>;
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
    /// An administrator wrote down the whole of it. The beginning is not enough: anybody can go on from there.
    pub named: bool,
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
    /// The host says that there is none (404 or 410).
    #[error("the host says that there is no such document")]
    Gone(Gone),
}

/// What is known of a document of which its host says that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// A good copy was here before.
    pub was_good: bool,
    /// The host said so twice, [`GONE_AGAIN`] apart, and nothing better in between.
    pub confirmed: bool,
}

/// Documents of one kind.
pub struct DocumentCache<D: Document> {
    outbound: Arc<Outbound>,
    entries: Mutex<BTreeMap<Source, Entry<D>>>,
}

struct Entry<D: Document> {
    good: Option<Good<D>>,
    /// There was a good copy at some time.
    was_good: bool,
    /// What the last answer lacked to be a document.
    unusable: Option<D::Error>,
    /// The host is not asked before this.
    not_before: Option<Instant>,
    /// When somebody last missed something.
    missed_at: Option<Instant>,
    /// Since when the host says that there is no document.
    gone: Option<(Instant, Gone)>,
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

enum Step<D: Document> {
    Have(Arc<D>),
    Wait(watch::Receiver<()>),
    Fetch(watch::Sender<()>),
    /// There is nothing new to be had at the moment.
    Give(Result<Arc<D>, DocumentError<D::Error>>),
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
                Step::Have(document) => return Ok(document),
                Step::Give(answer) => return answer,
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

    /// Counts every copy as stale and every host as not asked for a while: somebody wants to see what there is now.
    pub fn look_again(&self) {
        let now = Instant::now();
        for entry in self.lock().values_mut() {
            entry.not_before = None;
            if let Some(good) = &mut entry.good {
                good.fresh_until = good.fresh_until.min(now);
            }
        }
    }

    /// The good copies at hand, each with whether it is fresh.
    pub fn copies(&self) -> Vec<(Source, Arc<D>, bool)> {
        let now = Instant::now();
        let copy = |(source, entry): (&Source, &Entry<D>)| {
            let good = entry.good.as_ref()?;
            Some((source.clone(), Arc::clone(&good.document), now < good.fresh_until))
        };
        self.lock().iter().filter_map(copy).collect()
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
        entry.unusable = match &fetched {
            Err(DocumentError::Unusable(error)) => Some(error.clone()),
            _ => None,
        };
        let result = match fetched {
            Ok((document, freshness)) => {
                let document = Arc::new(document);
                entry.good = Some(Good { document: Arc::clone(&document), fresh_until: now + freshness });
                entry.was_good = true;
                (entry.not_before, entry.gone) = (None, None);
                Ok(document)
            }
            Err(DocumentError::Status(StatusCode::NOT_FOUND | StatusCode::GONE)) if D::CAN_BE_GONE => {
                Err(DocumentError::Gone(entry.went(now)))
            }
            Err(error) => {
                // What the requester has used up says nothing about the host: the next one may ask.
                let ours = matches!(&error, DocumentError::Fetch(error) if error.is_ours());
                entry.not_before = (!ours).then_some(now + AFTER_FAILURE);
                // What is gone does not come back by a failure.
                Err(entry.gone.map_or(error, |(_, gone)| DocumentError::Gone(gone)))
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
        let was_good = self.lock().get(source).is_some_and(|entry| entry.was_good);
        let standing = if was_good || source.named { Standing::Known } else { Standing::New };
        let errand = Errand { trust: source.trust, standing, requester };
        let fetched = self.outbound.get(&source.url, errand, D::WANT).await?;
        if fetched.status != StatusCode::OK {
            return Err(DocumentError::Status(fetched.status));
        }
        let document = D::read(source, &fetched).map_err(DocumentError::Unusable)?;
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

impl<D: Document> Entry<D> {
    const fn new(now: Instant) -> Self {
        Self {
            good: None,
            was_good: false,
            unusable: None,
            not_before: None,
            missed_at: None,
            gone: None,
            used_at: now,
            flight: None,
        }
    }

    /// Drops the copy of a document of which its host says that there is none.
    fn went(&mut self, now: Instant) -> Gone {
        let was_good = self.good.take().is_some();
        let (since, gone) = *self.gone.get_or_insert((now, Gone { was_good, confirmed: false }));
        let gone = Gone { confirmed: gone.confirmed || now >= since + GONE_AGAIN, ..gone };
        self.gone = Some((since, gone));
        self.not_before = Some(now + if gone.confirmed { AFTER_FAILURE } else { GONE_AGAIN });
        gone
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
            return Step::Give(self.stale(need, now).ok_or_else(|| self.failure()));
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

    /// Why there is no document, as the last attempt had it.
    fn failure(&self) -> DocumentError<D::Error> {
        match (&self.gone, &self.unusable) {
            (Some((_, gone)), _) => DocumentError::Gone(*gone),
            (None, Some(error)) => DocumentError::Unusable(error.clone()),
            (None, None) => DocumentError::Recently,
        }
    }

    fn stale(&self, need: &Need<'_, D>, now: Instant) -> Option<Arc<D>> {
        let good = self.good.as_ref().filter(|good| now < good.fresh_until + STALE)?;
        matches!(need, Need::Any).then(|| Arc::clone(&good.document))
    }
}

/// The entry of a source. For a new one the least recently used makes room, strangers' first, and where its host has enough one
/// of that host.
fn entry_of<'a, D: Document>(
    entries: &'a mut BTreeMap<Source, Entry<D>>,
    source: &Source,
    now: Instant,
) -> &'a mut Entry<D> {
    if !entries.contains_key(source) {
        let host = source.url.host();
        let of_host = |other: &Source| is_bounded(source) && is_bounded(other) && other.url.host() == host;
        let its: Vec<bool> =
            entries.iter().filter(|(other, _)| of_host(other)).map(|(_, entry)| entry.was_good).collect();
        let never_good = its.iter().filter(|was_good| !**was_good).count();
        let host_is_full = its.len() >= MOST_OF_HOST || never_good >= MOST_NEVER_GOOD;
        if host_is_full || entries.len() >= MOST {
            let worth = |(source, entry): &(&Source, &Entry<D>)| {
                (source.trust, source.named, entry.was_good, entry.used_at)
            };
            let makes_room = entries.iter().filter(|(other, _)| !host_is_full || of_host(other));
            if let Some(least) = makes_room.min_by_key(worth).map(|(source, _)| source.clone()) {
                entries.remove(&least);
            }
        }
    }
    entries.entry(source.clone()).or_insert_with(|| Entry::new(now))
}

/// Whether others than administrators can add to what lies at its host.
fn is_bounded(source: &Source) -> bool {
    source.trust == Trust::Stranger && !source.named
}

impl<D: Document> std::fmt::Debug for DocumentCache<D> {
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

    #[derive(Clone, Debug, PartialEq, thiserror::Error)]
    #[error("it says no")]
    struct No;

    impl Document for Text {
        const WANT: Want = Want { accept: "text/plain", most_bytes: 100 };
        type Error = No;
        fn read(_: &Source, fetched: &Fetched) -> Result<Self, No> {
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
            named: false,
        }
    }

    /// A stranger's.
    fn strange(at: &str) -> Source {
        Source { url: url(at), trust: Trust::Stranger, ..source(at) }
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
        for _ in 0..2 {
            assert!(matches!(fixture.text().await, Err(DocumentError::Unusable(No))), "and is told again");
        }
        assert_eq!(fixture.fetches(), 2);
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
        for index in 0..10 {
            let other = source(&format!("other-{index}"));
            fixture.cache.document(&other, device(2)).await.unwrap();
        }
        let limited = fixture.cache.document(&source("a"), device(2)).await;
        assert!(matches!(limited, Err(DocumentError::Fetch(FetchError::Limited { .. }))), "{limited:?}");
        assert_eq!(fixture.cache.document(&source("a"), device(3)).await.unwrap().0, "one");
    }

    /// A text whose host may take it away.
    #[derive(Debug)]
    struct Leaving(String);

    impl Document for Leaving {
        const WANT: Want = Text::WANT;
        const CAN_BE_GONE: bool = true;
        type Error = No;
        fn read(source: &Source, fetched: &Fetched) -> Result<Self, No> {
            Text::read(source, fetched).map(|text| Self(text.0))
        }
    }

    fn status(status: &str) -> Reply {
        Reply::Says(format!("HTTP/1.1 {status}\r\n\r\n"))
    }

    /// A52: what was taken away is served to nobody from that moment on, and is gone for good when that is said twice.
    #[tokio::test(start_paused = true)]
    async fn a_document_that_was_taken_away_is_never_served_again() {
        let ca = Ca::new();
        let replies =
            [says("one"), status("404 Gone"), status("503 Away"), status("410 Gone"), status("500 X")];
        let world =
            Arc::new(World::new(&ca, Reply::Silent).replies(replies.into_iter().chain([says("two")])));
        let cache = DocumentCache::<Leaving>::new(Arc::new(world.outbound(&ca)));
        let ask = async || cache.document(&source("a"), Requester::Daemon).await.map(|text| text.0.clone());
        let gone = |answer: Result<String, DocumentError<No>>| match answer {
            Err(DocumentError::Gone(gone)) => gone,
            other => panic!("{other:?}"),
        };
        let (once, twice) =
            (Gone { was_good: true, confirmed: false }, Gone { was_good: true, confirmed: true });
        assert_eq!(ask().await.unwrap(), "one");
        pass(600).await;
        assert_eq!(gone(ask().await), once);
        pass(9).await;
        assert_eq!((gone(ask().await), world.dialled().len()), (once, 2), "left alone for ten seconds");
        pass(1).await;
        assert_eq!((gone(ask().await), world.dialled().len()), (once, 3), "a failure is no answer");
        pass(30).await;
        assert_eq!(gone(ask().await), twice);
        pass(30).await;
        assert_eq!((gone(ask().await), world.dialled().len()), (twice, 5));
        pass(30).await;
        assert_eq!(ask().await.unwrap(), "two", "its host has it again");
        assert!(cache.copies()[0].2);
    }

    /// An administrator who wants to see what there is now need not wait for hours, and a host that fails then loses nothing.
    #[tokio::test(start_paused = true)]
    async fn a_look_again_keeps_the_good_copy() {
        let fixture = fixture([says("one"), status("503 Away"), says("two")]);
        for (text, fetches) in [("one", 1), ("one", 2), ("two", 3)] {
            assert_eq!((fixture.text().await.unwrap().as_str(), fixture.fetches()), (text, fetches));
            fixture.cache.look_again();
        }
        assert!(!fixture.cache.copies()[0].2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_was_good_makes_room_for_what_is() {
        let fixture = fixture([says("one")]);
        fixture.cache.document(&source("good"), Requester::Daemon).await.unwrap();
        for index in 0..2 * MOST {
            pass(1).await;
            fixture.cache.step(&source(&format!("never-{index}")), &Need::Any);
        }
        assert!(fixture.cache.lock().contains_key(&source("good")));
    }

    #[tokio::test(start_paused = true)]
    async fn clients_share_nothing_and_memory_is_bounded() {
        let fixture = fixture([says("one")]);
        let named = source("named");
        fixture.cache.step(&named, &Need::Any);
        for index in 0..2 * MOST {
            let stranger = strange(&format!("https://{index}.test/c"));
            assert!(matches!(fixture.cache.step(&stranger, &Need::Any), Step::Fetch(_)));
        }
        let entries = fixture.cache.lock();
        assert!(entries.len() == MOST && entries.contains_key(&named));
    }

    fn device(last: u8) -> Requester {
        Requester::Caller(crate::peer::Origin::Address([100, 64, 0, last].into()))
    }

    /// Nobody keeps a client from working by thinking of URLs of its host: not one device, not many, not by Funnel.
    #[tokio::test(start_paused = true)]
    async fn made_up_urls_of_a_host_keep_nobody_from_its_client() {
        let fixture = fixture([says("one"), says("no")]);
        let client = strange("https://app.test/a");
        assert_eq!(fixture.cache.document(&client, device(9)).await.unwrap().0, "one");
        pass(600).await;
        let funnel = Requester::Caller(crate::peer::Origin::Funnel);
        let before = fixture.fetches();
        for index in 0..40 {
            let made_up = strange(&format!("https://app.test/r{index}"));
            fixture.cache.document(&made_up, device(2)).await.unwrap_err();
        }
        assert!(fixture.fetches() - before < 10, "one device does not use up what the host is asked for");
        for index in 0..400 {
            let made_up = strange(&format!("https://app.test/s{index}"));
            let requester = if index % 2 == 0 { funnel } else { device(u8::try_from(index % 200).unwrap()) };
            fixture.cache.document(&made_up, requester).await.unwrap_err();
        }
        *fixture.world.replies.lock().unwrap() = [says("two")].into();
        let new = fixture.cache.document(&strange("https://app.test/new"), device(201)).await;
        assert!(matches!(new, Err(DocumentError::Fetch(FetchError::Limited { .. }))), "the host is spared");
        let named = Source { named: true, ..strange("https://app.test/named") };
        for (source, requester) in [(&client, funnel), (&named, device(3))] {
            assert_eq!(fixture.cache.document(source, requester).await.unwrap().0, "two");
        }
    }

    /// What never was good of a host, and what is good of another one's, pushes out nothing.
    #[tokio::test(start_paused = true)]
    async fn one_host_does_not_push_out_others() {
        let fixture = fixture([says("one")]);
        let client = strange("https://app.test/a");
        fixture.cache.document(&client, device(9)).await.unwrap();
        for (host, most) in [("app.test", MOST_NEVER_GOOD + 1), ("evil.test", MOST_OF_HOST)] {
            for index in 0..2 * MOST {
                pass(1).await;
                let made_up = strange(&format!("https://{host}/{index}"));
                fixture.cache.step(&made_up, &Need::Any);
                if host == "evil.test" {
                    fixture.cache.lock().get_mut(&made_up).unwrap().was_good = true;
                }
            }
            let entries = fixture.cache.lock();
            assert!(entries.contains_key(&client));
            assert_eq!(entries.keys().filter(|source| source.url.host() == host).count(), most);
        }
    }
}
