//! The one thread that writes: it takes changes from a bounded queue, settles each on the current record, makes the
//! batch durable, and only then acknowledges all of it.
//!
//! The flush of a batch costs the same whatever it carries (about 170 µs of CPU with sled), so the pace decides what a
//! change costs: the committer flushes at once when every request in flight that may commit is queued already, otherwise
//! it gathers for a moment. No cryptography runs here, and nothing waits here but for changes and for the disk.
//!
//! A write that fails ends the process ([`FatalHook`]), a panic aborts it: in both cases nobody knows what the page cache
//! holds, and an acknowledgement must never be a guess.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::ledger::{ChangeError, Ledger};
use super::{Pending, StoreError};

/// Changes that may wait; one more is refused with [`StoreError::Busy`] (design section 13).
pub(super) const QUEUE_LENGTH: usize = 1024;

/// Changes that one flush carries at most: a larger batch gains nothing and delays its first member.
const LONGEST_BATCH: usize = 256;

/// How long a batch waits for requests in flight: at 3,500 changes/s that takes the cost of one from 152 to 46 µs of CPU
/// (attacks.md 6.4).
const GATHER: Duration = Duration::from_millis(2);

/// How long a batch waits under load: so many slices as long as each pays. With RSA signatures on the workers 2 ms bring too
/// few (README of the bench), and among requests that take 20 ms then nobody notices 4.
const SLICE: Duration = Duration::from_millis(1);
const SLICES: u32 = 4;

/// What is done about a write that failed. In production it does not return.
pub(super) type FatalHook = Box<dyn Fn(&io::Error) + Send>;

/// Says whether a batch waits although no request in flight is known of.
///
/// Intents tell of requests that a worker has begun; under load most of those in flight still lie in their sockets. So while
/// changes come fast a batch waits too, a slice of the time at once and on as long as slices bring company; a wait that brought
/// none is not repeated soon, and the longer the oftener that happens: a lone client that is quick looks like load at first.
#[derive(Default)]
struct Pace {
    /// Changes and time since the account began; halved now and then, so that the newest part weighs most.
    changes: u32,
    time: Duration,
    /// Batches until the next attempt, and how many there were to be after the last one in vain.
    rest: u32,
    last_rest: u32,
}

impl Pace {
    /// So many changes in [`GATHER`] are load.
    const LOAD: u32 = 4;
    /// A slice that brings fewer is the last one.
    const WORTH: usize = 2;
    /// After a wait in vain, and at most: one attempt in so many batches costs next to nothing.
    const REST: u32 = 32;
    const LONGEST_REST: u32 = 2048;
    /// The account covers about so many changes.
    const ACCOUNT: u32 = 64;

    /// Takes note of a batch and of the time since the one before.
    fn saw(&mut self, changes: usize, time: Duration) {
        self.changes = self.changes.saturating_add(u32::try_from(changes).unwrap_or(u32::MAX));
        // Sleep is not the time of a load; one that begins is seen soon.
        self.time += time.min(GATHER * 4);
        if self.changes > Self::ACCOUNT {
            (self.changes, self.time) = (self.changes / 2, self.time / 2);
        }
    }

    fn is_patient(&mut self) -> bool {
        self.rest = self.rest.saturating_sub(1);
        self.rest == 0 && GATHER * self.changes >= self.time * Self::LOAD && self.changes >= Self::LOAD
    }

    fn learn(&mut self, gained: usize) {
        if gained >= Self::WORTH {
            self.last_rest = 0;
        } else {
            self.last_rest = (self.last_rest * 2).clamp(Self::REST, Self::LONGEST_REST);
            self.rest = self.last_rest;
        }
    }
}

/// The queue in front of the committer thread, and the thread.
pub(super) struct Committer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Requests in flight that may commit and have not queued their change yet.
    intents: AtomicUsize,
    /// Whether the committer sleeps until the last intent goes; written with the queue locked.
    wants_intents: AtomicBool,
    /// [`GATHER`], or what a test says.
    gather: Duration,
}

struct Queue {
    changes: Vec<Box<dyn Change>>,
    /// Whether the committer sleeps until a change comes.
    idle: bool,
    /// Whether the committer sleeps until its time is over or a batch is full.
    gathering: bool,
    closed: bool,
}

/// A change on its way through the committer.
trait Change: Send {
    /// Settles the change and keeps its outcome back.
    fn settle(&mut self, ledger: &mut Ledger) -> io::Result<()>;
    /// Tells the outcome to whoever waits.
    fn acknowledge(self: Box<Self>);
}

struct Task<T, F> {
    change: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Change for Task<T, F>
where
    T: Send,
    F: FnOnce(&mut Ledger) -> Result<T, ChangeError> + Send,
{
    fn settle(&mut self, ledger: &mut Ledger) -> io::Result<()> {
        let Some(change) = self.change.take() else { return Ok(()) };
        self.outcome = Some(match change(ledger) {
            Ok(outcome) => Ok(outcome),
            Err(ChangeError::Refused(error)) => Err(error),
            Err(ChangeError::Fatal(error)) => return Err(error),
        });
        Ok(())
    }

    fn acknowledge(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // A request that was cancelled in the meantime does not listen any more; its change stands.
            let _ = self.reply.send(outcome);
        }
    }
}

impl Committer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(ledger: Ledger, fatal: FatalHook) -> io::Result<Self> {
        Self::start_with(ledger, fatal, GATHER)
    }

    fn start_with(ledger: Ledger, fatal: FatalHook, gather: Duration) -> io::Result<Self> {
        let queue = Queue { changes: Vec::new(), idle: false, gathering: false, closed: false };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            intents: AtomicUsize::new(0),
            wants_intents: AtomicBool::new(false),
            gather,
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("committer".to_owned()).spawn(move || {
            let work = AssertUnwindSafe(|| run(&of_thread, ledger, &fatal));
            if catch_unwind(work).is_err() {
                tracing::error!(
                    "the committer panicked: the process aborts, since nothing can be acknowledged"
                );
                std::process::abort();
            }
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a change; it is settled even when the answer is dropped.
    pub(super) fn submit<T, F>(&self, change: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Ledger) -> Result<T, ChangeError> + Send + 'static,
    {
        let (reply, receiver) = oneshot::channel();
        let task = Box::new(Task { change: Some(change), outcome: None, reply });
        match self.shared.push(task) {
            Ok(()) => Pending::waiting(receiver),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    /// Counts a request in flight until the ticket is dropped.
    pub(super) fn ticket(&self) -> Ticket {
        self.shared.intents.fetch_add(1, Ordering::SeqCst);
        Ticket(Arc::clone(&self.shared))
    }

    /// Refuses further changes, lets the thread settle what is queued, and waits for its end.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic in it has aborted the process already.
            let _ = thread.join();
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

/// One request in flight that may commit.
pub(super) struct Ticket(Arc<Shared>);

impl Drop for Ticket {
    fn drop(&mut self) {
        let last = self.0.intents.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.wants_intents.load(Ordering::SeqCst) {
            // With the lock taken the committer is either before its look at `intents` or asleep, never between.
            drop(self.0.lock());
            self.0.wake.notify_all();
        }
    }
}

impl Shared {
    /// The queue is sound after every statement that holds the lock, so a poisoned lock changes nothing.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, change: Box<dyn Change>) -> Result<(), StoreError> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(StoreError::Closed);
        }
        if queue.changes.len() >= QUEUE_LENGTH {
            return Err(StoreError::Busy);
        }
        queue.changes.push(change);
        let full = queue.gathering && queue.changes.len() >= LONGEST_BATCH;
        let wake = std::mem::replace(&mut queue.idle, false) || full;
        drop(queue);
        if wake {
            self.wake.notify_all();
        }
        Ok(())
    }

    /// Waits for changes and takes the next batch; `None` once the store is closed and nothing is left.
    fn next_batch(&self, pace: &mut Pace) -> Option<Vec<Box<dyn Change>>> {
        let began = Instant::now();
        let mut queue = self.lock();
        while queue.changes.is_empty() {
            if queue.closed {
                return None;
            }
            queue.idle = true;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle = false;
        queue = if pace.is_patient() { self.linger(queue, pace) } else { self.gather(queue) };
        let batch = if queue.changes.len() <= LONGEST_BATCH {
            std::mem::take(&mut queue.changes)
        } else {
            let rest = queue.changes.split_off(LONGEST_BATCH);
            std::mem::replace(&mut queue.changes, rest)
        };
        drop(queue);
        pace.saw(batch.len(), began.elapsed());
        Some(batch)
    }

    /// Waits until every request in flight has queued its change, the batch is full, or the time is over.
    fn gather<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let start = Instant::now();
        self.wants_intents.store(true, Ordering::SeqCst);
        queue.gathering = true;
        while queue.changes.len() < LONGEST_BATCH && !queue.closed && self.intents.load(Ordering::SeqCst) > 0
        {
            let Some(left) = self.gather.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                break;
            };
            queue = self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.gathering = false;
        self.wants_intents.store(false, Ordering::SeqCst);
        queue
    }

    /// Waits under load, as [`Pace`] says; the drops of intents would be no news.
    fn linger<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, pace: &mut Pace) -> MutexGuard<'a, Queue> {
        let first = queue.changes.len();
        queue.gathering = true;
        for _ in 0..SLICES {
            let before = queue.changes.len();
            if before >= LONGEST_BATCH || queue.closed {
                break;
            }
            queue = self.wake.wait_timeout(queue, SLICE).unwrap_or_else(PoisonError::into_inner).0;
            if queue.changes.len() < before + Pace::WORTH {
                break;
            }
        }
        queue.gathering = false;
        pace.learn(queue.changes.len().saturating_sub(first));
        queue
    }

    /// After a fatal error: nothing further is taken, and who waits learns that no answer will come.
    fn give_up(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.changes.clear();
    }
}

fn run(shared: &Shared, mut ledger: Ledger, fatal: &FatalHook) {
    let mut pace = Pace::default();
    while let Some(batch) = shared.next_batch(&mut pace) {
        match commit(&mut ledger, batch) {
            Ok(batch) => batch.into_iter().for_each(Change::acknowledge),
            Err(error) => {
                fatal(&error);
                shared.give_up();
                return;
            }
        }
    }
    if let Err(error) = ledger.seal() {
        fatal(&error);
    }
}

/// Settles every change of a batch and makes the batch durable; the changes come back, to be acknowledged.
fn commit(ledger: &mut Ledger, mut batch: Vec<Box<dyn Change>>) -> io::Result<Vec<Box<dyn Change>>> {
    ledger.begin();
    for change in &mut batch {
        change.settle(ledger)?;
    }
    ledger.finish()?;
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::task::{Context, Poll, Waker};

    use tsidecar_oauth::grant::Generation;
    use tsidecar_oauth::seal::CodeEpoch;
    use tsidecar_oauth::settle::{Redeemed, Rotated};

    use super::*;
    use crate::store::conformance::{at, grant};
    use crate::store::ledger::{Entry, LEAST_FREE_BYTES, Records, Table};
    use crate::store::memory::MemoryRecords;
    use crate::store::verbs::Engine;
    use crate::store::{Intent, Store};

    const LONG: Duration = Duration::from_hours(1);

    /// Memory whose flush the test counts, holds and fails.
    #[derive(Default)]
    struct Stubborn {
        memory: MemoryRecords,
        flushes: AtomicUsize,
        fails: AtomicBool,
        free: AtomicU64,
        /// A flush says that it began, and waits for the word to end.
        hold: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    }

    impl Records for Stubborn {
        fn read(&self, table: Table, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
            self.memory.read(table, key)
        }

        fn read_after(&self, table: Table, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<Entry>> {
            self.memory.read_after(table, after, limit)
        }

        fn insert(&self, table: Table, key: &[u8], value: Vec<u8>) -> io::Result<()> {
            self.memory.insert(table, key, value)
        }

        fn remove(&self, table: Table, key: &[u8]) -> io::Result<()> {
            self.memory.remove(table, key)
        }

        fn flush_and_sync(&self) -> io::Result<()> {
            self.flushes.fetch_add(1, Ordering::SeqCst);
            if let Some((began, end)) = &*self.hold.lock().unwrap() {
                // A test that has ended holds nothing any more.
                let _ = began.send(());
                let _ = end.recv();
            }
            if self.fails.load(Ordering::SeqCst) {
                Err(io::Error::other("the disk is on fire"))
            } else {
                Ok(())
            }
        }

        fn free_bytes(&self) -> io::Result<u64> {
            Ok(self.free.load(Ordering::SeqCst))
        }

        fn witness(&self, _: u64) -> io::Result<()> {
            Ok(())
        }
    }

    /// A committer over stubborn memory, as a store.
    struct Bench {
        records: Arc<Stubborn>,
        committer: Committer,
    }

    impl Engine for Bench {
        fn records(&self) -> &dyn Records {
            &*self.records
        }

        fn submit<T, F>(&self, change: F) -> Pending<T>
        where
            T: Send + 'static,
            F: FnOnce(&mut Ledger) -> Result<T, ChangeError> + Send + 'static,
        {
            self.committer.submit(change)
        }

        fn intent(&self) -> Intent {
            Intent::counted(self.committer.ticket())
        }

        fn news(&self) -> Arc<tokio::sync::Notify> {
            Arc::default()
        }

        fn close(&self) {
            self.committer.close();
        }
    }

    fn bench_with(gather: Duration) -> (Bench, Receiver<String>) {
        let records = Arc::new(Stubborn { free: AtomicU64::new(u64::MAX), ..Stubborn::default() });
        let ledger = Ledger::open(Arc::clone(&records) as Arc<dyn Records>).unwrap();
        let (tell, fatal) = mpsc::channel();
        let hook: FatalHook = Box::new(move |error| tell.send(error.to_string()).unwrap());
        (Bench { records, committer: Committer::start_with(ledger, hook, gather).unwrap() }, fatal)
    }

    impl Bench {
        fn flushes(&self) -> usize {
            self.records.flushes.load(Ordering::SeqCst)
        }

        /// Holds every flush from now on: the first channel tells that one began, the second lets it end.
        fn hold(&self) -> (Receiver<()>, Sender<()>) {
            let ((began, see), (let_go, end)) = (mpsc::channel(), mpsc::channel());
            *self.records.hold.lock().unwrap() = Some((began, end));
            (see, let_go)
        }
    }

    fn is_waiting<T>(pending: &mut Pending<T>) -> bool {
        matches!(std::pin::Pin::new(pending).poll(&mut Context::from_waker(Waker::noop())), Poll::Pending)
    }

    #[test]
    fn a_batch_shares_one_flush_and_its_changes_see_each_other() {
        let (bench, _) = bench_with(GATHER);
        let (began, end) = bench.hold();
        let first = bench.redeem(grant(0), at(1_000));
        began.recv().unwrap();
        let new = bench.redeem(grant(1), at(1_000));
        let rotated = bench.rotate(grant(1).id(), Generation::default(), at(1_001));
        let replayed = bench.redeem(grant(1), at(1_002));
        let mut revoked = bench.rotate(grant(1).id(), Generation::from_number(1), at(1_003));
        let mut unknown = bench.rotate(grant(9).id(), Generation::default(), at(1_003));
        end.send(()).unwrap();
        assert_eq!(first.wait().unwrap(), Redeemed::New);
        began.recv().unwrap();
        // Neither of these two wrote anything; both wait for what their answer may rest on.
        assert!(is_waiting(&mut revoked) && is_waiting(&mut unknown));
        assert!(
            bench.grant(grant(1).id()).unwrap().unwrap().is_revoked(),
            "reads see what is not yet durable"
        );
        end.send(()).unwrap();
        assert_eq!(new.wait().unwrap(), Redeemed::New);
        assert_eq!(rotated.wait().unwrap(), Rotated::Rotated(Generation::from_number(1)));
        assert_eq!(replayed.wait().unwrap(), Redeemed::Replayed);
        assert_eq!(revoked.wait().unwrap(), Rotated::Revoked);
        assert_eq!(unknown.wait().unwrap(), Rotated::Unknown);
        assert_eq!(bench.flushes(), 2);
    }

    #[test]
    fn nothing_written_is_nothing_flushed() {
        let (bench, _) = bench_with(GATHER);
        bench.ping().wait().unwrap();
        assert!(!bench.revoke_grant(grant(1).id(), at(1)).wait().unwrap());
        assert_eq!(bench.flushes(), 0);
    }

    #[test]
    fn the_queue_is_bounded_and_its_batches_too() {
        let (bench, _) = bench_with(GATHER);
        let (began, end) = bench.hold();
        let mut first = bench.redeem(grant(0), at(1_000));
        began.recv().unwrap();
        let queued: Vec<_> =
            (0..QUEUE_LENGTH).map(|_| bench.revoke_grant(grant(0).id(), at(1_001))).collect();
        assert!(matches!(bench.ping().wait(), Err(StoreError::Busy)));
        assert!(is_waiting(&mut first));
        // One flush for the first change, one for the batch with the first revocation; the rest writes nothing.
        end.send(()).unwrap();
        end.send(()).unwrap();
        let revoked: Vec<_> = queued.into_iter().map(|answer| answer.wait().unwrap()).collect();
        assert_eq!(revoked.iter().filter(|now| **now).count(), 1);
        assert_eq!(bench.flushes(), 2);
    }

    #[test]
    fn closing_settles_what_is_queued() {
        let (bench, _) = bench_with(LONG);
        let intent = Store::intent(&bench);
        let queued: Vec<_> = (0..100).map(|number| bench.redeem(grant(number), at(1_000))).collect();
        Store::close(&bench);
        for (number, answer) in (0..).zip(queued) {
            assert_eq!(answer.wait().unwrap(), Redeemed::New);
            assert!(bench.grant(grant(number).id()).unwrap().is_some());
        }
        assert!(matches!(bench.ping().wait(), Err(StoreError::Closed)));
        drop(intent);
    }

    #[test]
    fn a_batch_goes_at_once_when_nobody_else_is_on_the_way() {
        let (bench, _) = bench_with(LONG);
        assert_eq!(bench.redeem(grant(1), at(1_000)).wait().unwrap(), Redeemed::New);
        let intent = Store::intent(&bench);
        let answer = bench.redeem(grant(2), at(1_000));
        drop(intent);
        assert_eq!(answer.wait().unwrap(), Redeemed::New);
    }

    #[test]
    fn a_batch_waits_for_a_request_on_its_way_and_for_no_more_than_its_time() {
        let (bench, _) = bench_with(LONG);
        let _never = Store::intent(&bench);
        let few: Vec<_> = (0..255).map(|_| bench.ping()).collect();
        let last = bench.ping();
        for answer in few.into_iter().chain([last]) {
            answer.wait().unwrap();
        }
        let (bench, _) = bench_with(Duration::from_millis(1));
        let _never = Store::intent(&bench);
        bench.ping().wait().unwrap();
    }

    #[test]
    fn waiting_under_load_goes_on_while_it_pays() {
        let quiet = || {
            let mut pace = Pace::default();
            (0..100).for_each(|_| pace.saw(1, Duration::from_millis(5)));
            pace
        };
        assert!(!Pace::default().is_patient());
        assert!(!quiet().is_patient());
        let mut pace = quiet();
        (0..Pace::ACCOUNT).for_each(|_| pace.saw(4, Duration::from_millis(1)));
        assert!(pace.is_patient());
        pace.learn(Pace::WORTH);
        assert!(pace.is_patient());
        for rest in [Pace::REST, Pace::REST * 2, Pace::REST * 4] {
            pace.learn(Pace::WORTH - 1);
            let refused = std::iter::repeat_with(|| pace.is_patient()).take_while(|patient| !patient);
            assert_eq!(u32::try_from(refused.count()).unwrap(), rest - 1);
        }
        pace.learn(Pace::WORTH);
        pace.learn(0);
        assert_eq!(pace.rest, Pace::REST);
    }

    #[test]
    fn a_failed_flush_is_fatal_and_acknowledges_nothing() {
        let (bench, fatal) = bench_with(GATHER);
        bench.records.fails.store(true, Ordering::SeqCst);
        assert!(matches!(bench.redeem(grant(1), at(1_000)).wait(), Err(StoreError::Closed)));
        assert_eq!(fatal.recv().unwrap(), "the disk is on fire");
        Store::close(&bench);
        assert!(matches!(bench.redeem(grant(2), at(1_000)).wait(), Err(StoreError::Closed)));
        assert!(fatal.try_recv().is_err(), "the hook was called twice");
    }

    #[test]
    fn a_full_disk_refuses_writes_only_and_recovers() {
        let (bench, _) = bench_with(GATHER);
        assert_eq!(bench.redeem(grant(1), at(1_000)).wait().unwrap(), Redeemed::New);
        bench.records.free.store(LEAST_FREE_BYTES - 1, Ordering::SeqCst);
        assert!(matches!(bench.begin_clock(at(1_001)).wait(), Ok(CodeEpoch(0))));
        let refused = bench.redeem(grant(2), at(1_000)).wait().unwrap_err();
        assert!(matches!(refused, StoreError::NoSpace { free_bytes } if free_bytes == LEAST_FREE_BYTES - 1));
        assert!(bench.grant(grant(2).id()).unwrap().is_none());
        assert!(matches!(bench.revoke_grant(grant(1).id(), at(1)).wait(), Err(StoreError::NoSpace { .. })));
        assert!(matches!(
            bench.forget(vec![grant(1).id()], at(u64::MAX)).wait(),
            Err(StoreError::NoSpace { .. })
        ));
        bench.ping().wait().unwrap();
        let unknown = bench.rotate(grant(3).id(), Generation::default(), at(1_000));
        assert_eq!(unknown.wait().unwrap(), Rotated::Unknown);
        bench.records.free.store(LEAST_FREE_BYTES, Ordering::SeqCst);
        assert_eq!(bench.redeem(grant(2), at(1_000)).wait().unwrap(), Redeemed::New);
    }

    #[test]
    fn a_cancelled_request_has_its_change_all_the_same() {
        let (bench, _) = bench_with(GATHER);
        drop(bench.redeem(grant(1), at(1_000)));
        assert_eq!(bench.redeem(grant(1), at(1_001)).wait().unwrap(), Redeemed::Replayed);
    }
}
