//! What durability costs: acknowledged writes a second and CPU per acknowledged change. Figures of one run are ratios.
//!
//! ```text
//! cargo test --release -p tsidecar-server --test durability -- --ignored --nocapture figures
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tsidecar_oauth::settle::Redeemed;
use tsidecar_server::store::{DiskOptions, DiskStore, Store};

use crate::sample::{NOW, grant};

const RUN: Duration = Duration::from_secs(3);

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap(), u32::try_from(spent.tv_nsec).unwrap())
}

/// Turns of a loop that take a microsecond, measured once.
static TURNS: OnceLock<u64> = OnceLock::new();

fn turns(count: u64) {
    for turn in 0..count {
        std::hint::black_box(turn);
    }
}

/// Keeps the processor busy for so long, by count: asking a clock would cost more than some of what is measured.
fn spin(time: Duration) {
    let per_micro = *TURNS.get_or_init(|| {
        let start = clock_gettime(ClockId::ThreadCPUTime);
        turns(100_000_000);
        let end = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = (end.tv_sec - start.tv_sec) * 1_000_000_000 + end.tv_nsec - start.tv_nsec;
        100_000_000_000 / u64::try_from(nanos).unwrap()
    });
    turns(per_micro * u64::try_from(time.as_nanos()).unwrap() / 1_000);
}

/// Waiters in a closed loop; each round costs `before` and `after` the commit. Prints what is left when these are taken off.
fn run(waiters: u64, before: Duration, after: Duration) {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = DiskStore::open(&folder.path().join("db"), DiskOptions::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (numbers, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (start, cpu_start) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..waiters)
        .map(|_| {
            let (store, numbers, done) = (Arc::clone(&store), Arc::clone(&numbers), Arc::clone(&done));
            runtime.spawn(async move {
                while start.elapsed() < RUN {
                    // authorize
                    spin(before);
                    tokio::task::yield_now().await;
                    // token
                    let intent = store.intent();
                    spin(before);
                    let answer = store.redeem(grant(numbers.fetch_add(1, Ordering::Relaxed)), NOW);
                    drop(intent);
                    assert_eq!(answer.await.unwrap(), Redeemed::New);
                    done.fetch_add(1, Ordering::Relaxed);
                    spin(after);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    let (wall, used, done) = (start.elapsed(), cpu().saturating_sub(cpu_start), done.load(Ordering::Relaxed));
    let work = (before * 2 + after) * u32::try_from(done).unwrap();
    let each = used.saturating_sub(work) / u32::try_from(done).unwrap();
    let rate = u128::from(done) * 1_000 / wall.as_millis();
    println!("{waiters:>3} waiters, {before:?}+{after:?} of work: {rate:>6} writes/s, {each:?} of CPU each");
}

#[test]
#[ignore = "prints figures, judges nothing"]
fn figures() {
    spin(Duration::from_micros(1));
    for waiters in [1, 16, 64] {
        run(waiters, Duration::ZERO, Duration::ZERO);
    }
    for after in [260, 50] {
        for waiters in [1, 4, 16, 64] {
            run(waiters, Duration::from_micros(25), Duration::from_micros(after));
        }
    }
}
