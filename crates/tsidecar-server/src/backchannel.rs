//! Does the jobs: tells clients by back-channel that a session or grant has ended (OpenID Connect Back-Channel Logout §2.5).
//!
//! A job was written in the same change as its cause, so a crash costs an attempt, never a notice. The token is signed when it
//! is sent. A client may hear of the same end twice, after a crash between its answer and the commit: it logs nobody out twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tsidecar_oauth::backchannel::{LogoutToken, Notice, Target, Verdict, next_attempt};
use tsidecar_oauth::id::{ClientId, JwtId};
use tsidecar_oauth::jose::{JoseError, SignedJwt, TokenType};
use tsidecar_oauth::time::UnixTime;

use crate::app::App;
use crate::audit::{self, Told};
use crate::entropy;
use crate::outbound::Trust;
use crate::snapshot::Snapshot;
use crate::store::{Job, StoreError};

/// Clients that are told at once.
const AT_ONCE: usize = 8;
/// Of these, how many times the same client: one whose host hangs keeps nobody else waiting.
const AT_ONCE_OF_CLIENT: usize = 2;
/// How often the clock is looked at while jobs wait for their time: wall clocks jump, and machines sleep.
const LOOK: Duration = Duration::from_secs(1);
/// How often jobs are read although nothing was heard.
const LONG: Duration = Duration::from_hours(1);
/// How long to wait after the store did not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// The clients of a snapshot that want to be told, and where.
pub fn targets(snapshot: &Snapshot) -> BTreeMap<ClientId, Target> {
    let wants = |client: &tsidecar_oauth::client::Client| {
        client.backchannel().map(|target| (client.id().clone(), target.clone()))
    };
    snapshot.clients.values().filter_map(|client| wants(client)).collect()
}

/// Does jobs until the stop; those under way then are finished, the others are there at the next start.
pub async fn follow(app: Arc<App>, stop: CancellationToken) {
    let news = app.store.news();
    let mut running = Running::default();
    loop {
        let waiting = match app.store.jobs() {
            Ok(jobs) => running.start(&app, jobs),
            Err(error) => {
                tracing::error!(%error, "jobs cannot be read from the store");
                tokio::select! { () = stop.cancelled() => break, () = tokio::time::sleep(AGAIN) => continue }
            }
        };
        let look = if waiting { LOOK } else { LONG };
        tokio::select! {
            () = stop.cancelled() => break,
            () = news.notified() => (),
            Some(done) = running.tasks.join_next() => running.ended(done.ok()),
            () = tokio::time::sleep(look) => (),
        }
    }
    while running.tasks.join_next().await.is_some() {}
}

/// The attempts under way.
#[derive(Default)]
struct Running {
    tasks: JoinSet<([u8; 16], ClientId)>,
    keys: BTreeSet<[u8; 16]>,
    clients: BTreeMap<ClientId, usize>,
}

impl Running {
    /// Starts what is due, so far as there is room; tells whether something waits for its time or for room.
    fn start(&mut self, app: &Arc<App>, mut jobs: Vec<Job>) -> bool {
        let now = app.clock.now();
        jobs.retain(|job| !self.keys.contains(&job.notice.key()));
        jobs.sort_by_key(|job| (job.due_at, job.made_at));
        let mut waiting = false;
        for job in jobs {
            let client = &job.notice.client;
            let of_client = self.clients.get(client).copied().unwrap_or(0);
            let has_room = self.tasks.len() < AT_ONCE && of_client < AT_ONCE_OF_CLIENT;
            if !job.due_at.is_past(now) || !has_room {
                waiting = true;
                continue;
            }
            let (key, client) = (job.notice.key(), client.clone());
            self.keys.insert(key);
            self.clients.insert(client.clone(), of_client + 1);
            let app = Arc::clone(app);
            self.tasks.spawn(async move {
                attempt(&app, job).await;
                (key, client)
            });
        }
        waiting
    }

    fn ended(&mut self, done: Option<([u8; 16], ClientId)>) {
        let Some((key, client)) = done else {
            // A panic: which job it was is not known. Whatever still runs is merely not started a second time by its key.
            self.keys.clear();
            self.clients.clear();
            return;
        };
        self.keys.remove(&key);
        if let Some(count) = self.clients.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.clients.remove(&client);
            }
        }
    }
}

/// Makes one attempt and writes down what came of it.
async fn attempt(app: &App, job: Job) {
    let outcome = send(app, &job.notice).await;
    let now = app.clock.now();
    let attempt = job.attempts.saturating_add(1);
    let next = match &outcome {
        Outcome::Done | Outcome::Never(_) => None,
        Outcome::Again(_) => next_attempt(job.made_at, attempt, now),
    };
    let notice = job.notice.clone();
    if let Err(error) = write(app, job, next).await {
        tracing::warn!(%error, client.id = %notice.client, "what came of a logout message could not be written; it may be sent again");
        if !matches!(error, StoreError::Closed) {
            tokio::time::sleep(AGAIN).await;
        }
    }
    let told = match (&outcome, next) {
        (Outcome::Done, _) => Told::Done,
        (Outcome::Again(reason), Some(_)) => Told::Later(reason),
        (Outcome::Again(reason) | Outcome::Never(reason), _) => Told::Never(reason),
    };
    audit::logout_told(&notice, attempt, &told);
}

async fn write(app: &App, job: Job, next: Option<UnixTime>) -> Result<bool, StoreError> {
    let pending = match next {
        Some(due_at) => app.store.put_off_job(job, due_at),
        None => app.store.finish_job(job),
    };
    pending.await
}

/// What came of an attempt, and why it was not more.
enum Outcome {
    Done,
    Again(String),
    Never(String),
}

async fn send(app: &App, notice: &Notice) -> Outcome {
    let snapshot = app.snapshot.load_full();
    // Where it is now; a client that is gone is told where it was.
    let client = snapshot.clients.get(&notice.client);
    let target = client.and_then(|client| client.backchannel()).unwrap_or(&notice.target);
    if !notice.fits(target) {
        return Outcome::Never("the client wants a session named, and there is none".to_owned());
    }
    let token = match sign(&snapshot, notice, target, app.clock.now()) {
        Ok(token) => token,
        Err(error) => return Outcome::Again(error.to_string()),
    };
    // Every client was written down by an administrator.
    let fields = [("logout_token", token.expose())];
    match app.outbound.post_form(&target.uri, Trust::Administrator, &fields).await {
        Err(error) => Outcome::Again(error.to_string()),
        Ok(status) => match Verdict::of(status.as_u16()) {
            Verdict::Done => Outcome::Done,
            Verdict::Refused => Outcome::Never(format!("it answered {}", status.as_u16())),
            Verdict::Again => Outcome::Again(format!("it answered {}", status.as_u16())),
        },
    }
}

fn sign(
    snapshot: &Snapshot,
    notice: &Notice,
    target: &Target,
    now: UnixTime,
) -> Result<SignedJwt, JoseError> {
    let claims = LogoutToken::new(&snapshot.issuer, notice, now, JwtId::new(entropy::id()));
    snapshot.signing.active(target.algorithm)?.sign(TokenType::Logout, &claims)
}
