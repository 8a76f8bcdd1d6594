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
/// (attacks.md 6.4); twice as long gains little more.
const GATHER: Duration = Duration::from_millis(2);

/// What is done about a write that failed. In production it does not return.
pub(super) type FatalHook = Box<dyn Fn(&io::Error) + Send>;

/// Says whether a batch waits although no request in flight is known of.
///
/// Intents tell of requests that a worker has begun; under load most of those in flight still lie in their sockets. So a
/// batch of several changes waits too, as long as that pays: a wait in which hardly anything came is not repeated soon.
#[derive(Default)]
struct Pace {
    /// Batches until the next attempt.
    rest: u32,
}

impl Pace {
    /// A batch of fewer changes is no sign of load, and a wait that brings fewer is not worth the delay.
    const WORTH: usize = 4;
    /// After a wait in vain: one attempt in so many batches costs at most a few percent of the time.
    const REST: u32 = 32;

    fn is_patient(&mut self, queued: usize) -> bool {
        self.rest = self.rest.saturating_sub(1);
        queued >= Self::WORTH && self.rest == 0
    }

    fn learn(&mut self, gained: usize) {
        if gained < Self::WORTH {
            self.rest = Self::REST;
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
        let queue = Queue { changes: Vec::new(), idle: false, gathering: false, closed: false };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            intents: AtomicUsize::new(0),
            wants_intents: AtomicBool::new(false),
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
        let mut queue = self.lock();
        while queue.changes.is_empty() {
            if queue.closed {
                return None;
            }
            queue.idle = true;
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.idle = false;
        queue = self.gather(queue, pace);
        if queue.changes.len() <= LONGEST_BATCH {
            return Some(std::mem::take(&mut queue.changes));
        }
        let rest = queue.changes.split_off(LONGEST_BATCH);
        Some(std::mem::replace(&mut queue.changes, rest))
    }

    /// Waits until every request in flight has queued its change, the batch is full, or the time is over; under load for
    /// the whole time, as [`Pace`] says.
    fn gather<'a>(&'a self, mut queue: MutexGuard<'a, Queue>, pace: &mut Pace) -> MutexGuard<'a, Queue> {
        let (start, first) = (Instant::now(), queue.changes.len());
        let patient = pace.is_patient(first);
        // Under load the drops of intents are no news; without it each may be the one that ends the wait.
        self.wants_intents.store(!patient, Ordering::SeqCst);
        queue.gathering = true;
        while queue.changes.len() < LONGEST_BATCH
            && !queue.closed
            && (patient || self.intents.load(Ordering::SeqCst) > 0)
        {
            let Some(left) = GATHER.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                break;
            };
            queue = self.wake.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.gathering = false;
        self.wants_intents.store(false, Ordering::SeqCst);
        if patient {
            pace.learn(queue.changes.len().saturating_sub(first));
        }
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
