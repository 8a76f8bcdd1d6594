//! Handlers as tasks of their own: bounded in number and time, finished whether or not anybody waits for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::task::TaskTracker;

use super::Times;

/// Runs handlers, so many at once; more wait for their turn. Clones share the turns.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    turns: Arc<Semaphore>,
    handlers: TaskTracker,
    /// How long a handler waits for its turn.
    turn: Duration,
    /// How long it may take.
    limit: Duration,
}

/// Why a handler gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// Its turn did not come.
    #[error("too many requests at once; try again in a moment")]
    Full,
    /// It was ended. What it had queued in the store is done all the same.
    #[error("the request took too long; try again in a moment")]
    Late,
    /// It panicked.
    #[error("{0}")]
    Panicked(JoinError),
}

impl Workers {
    pub(super) fn new(at_once: usize, handlers: &TaskTracker, times: Times) -> Self {
        let turns = Arc::new(Semaphore::new(at_once.min(Semaphore::MAX_PERMITS)));
        Self { turns, handlers: handlers.clone(), turn: times.turn, limit: times.request }
    }

    /// Runs a handler and waits for its answer. Dropping the returned future while it runs does not stop it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let turn = match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => tokio::time::timeout(self.turn, Arc::clone(&self.turns).acquire_owned())
                .await
                .map_err(|_| NoAnswer::Full)?
                .map_err(|_| NoAnswer::Full)?,
        };
        let limit = self.limit;
        let handler = self.handlers.spawn(async move {
            let answered = tokio::time::timeout(limit, work).await;
            drop(turn);
            answered.map_err(|_| NoAnswer::Late)
        });
        handler.await.unwrap_or_else(|error| Err(NoAnswer::Panicked(error)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_mins(1);

    /// One at a time.
    fn workers(turn: Duration, request: Duration) -> (Workers, TaskTracker) {
        let handlers = TaskTracker::new();
        let times = Times { request, turn, ..super::super::TIMES };
        (Workers::new(1, &handlers, times), handlers)
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_gives_its_turn_back() {
        let (workers, _) = workers(LONG, LONG);
        for _ in 0..3 {
            let panicked = workers.run(async { std::hint::black_box(None::<u8>).unwrap() }).await;
            assert!(matches!(panicked, Err(NoAnswer::Panicked(_))), "{panicked:?}");
        }
        assert_eq!(workers.run(async { 5 }).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn too_many_wait_and_then_give_up() {
        let (workers, _) = workers(SHORT, LONG);
        let (release, released) = oneshot::channel::<()>();
        let first = tokio::spawn({
            let workers = workers.clone();
            async move { workers.run(async move { released.await.is_ok() }).await }
        });
        while workers.turns.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = workers.run(std::future::ready(true)).await;
        assert!(matches!(second, Err(NoAnswer::Full)), "{second:?}");
        release.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        assert!(workers.run(std::future::ready(true)).await.unwrap());
    }

    #[tokio::test]
    async fn whoever_takes_too_long_is_ended() {
        let (workers, _) = workers(LONG, SHORT);
        let late = workers.run(std::future::pending::<()>()).await;
        assert!(matches!(late, Err(NoAnswer::Late)), "{late:?}");
        workers.run(std::future::ready(())).await.unwrap();
    }

    /// A client that hangs up does not stop what it began.
    #[tokio::test]
    async fn work_outlives_whoever_waits_for_it() {
        let (workers, handlers) = workers(LONG, LONG);
        let (begun, beginning) = oneshot::channel();
        let (done, finished) = oneshot::channel();
        let waiting = tokio::spawn({
            let workers = workers.clone();
            async move {
                let work = async move {
                    begun.send(()).unwrap();
                    tokio::task::yield_now().await;
                    done.send(7).unwrap();
                };
                workers.run(work).await
            }
        });
        beginning.await.unwrap();
        waiting.abort();
        assert_eq!(finished.await.unwrap(), 7);
        handlers.close();
        handlers.wait().await;
    }
}
