//! `tsidecar serve`: the daemon, from its configuration to its end.
//!
//! Everything is checked before a socket is bound, and everything is loaded before systemd is told that we are ready.
//! tailscaled may still be away then: requests are answered with 503 until it is there. Only the first start of all waits for
//! it, when the issuer is to be made from its DNS name.

use std::{
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tsidecar_localapi::{BackendState, Client, Status};
use tsidecar_oauth::{time::Lifetime, uri::Issuer};

use crate::{
    app::App,
    backchannel, clients,
    clock::Clock,
    command::exit::Exit,
    config::{Config, ConfigError},
    device_limits::DeviceLimits,
    documents::{self, Documents},
    identity::IdentityPolicy,
    keys::{
        Keys,
        rotation::{self, KeyError},
    },
    limiter::Limiter,
    log, notify,
    outbound::{ClientKeys, Outbound, OutboundError},
    peer::{Bound, Gate, PlaceError, Plan},
    registrations::Registrations,
    reload::{reload, remember},
    serve,
    snapshot::{Snapshot, SnapshotError, demand},
    state::{Pins, StateError, StateFolder, issuer_of},
    store::{DiskOptions, DiskStore, OpenError, Store, StoreError},
    sweep::Sweep,
    tailnet::{Boundary, Settings, Tailnet},
    withdraw,
};

/// What a daemon is started with.
#[derive(Debug)]
pub struct Start {
    /// The configuration; its files are read again at SIGHUP.
    pub config: Config,
    /// Sockets that were open before us, from systemd; the others are bound.
    pub inherited: Vec<UnixListener>,
    /// Ends the daemon.
    pub stop: CancellationToken,
}

/// Why the daemon does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state folder or a key.
    #[error(transparent)]
    State(#[from] StateError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database does not answer.
    #[error("the database does not answer: {0}")]
    Store(#[from] StoreError),
    /// A client or resource.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A socket.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The client for fetches cannot be made.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The clock went back while the daemon ran.
    #[error(
        "the clock went back by more than an hour: the daemon ends, so that its next start declares the codes of the lost time dead"
    )]
    ClockWentBack,
    /// The system refuses something.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl ServeError {
    /// The exit code.
    pub const fn exit(&self) -> Exit {
        match self {
            // These may pass, so systemd tries again.
            Self::ClockWentBack
            | Self::Io { .. }
            | Self::Place(PlaceError::Io { .. } | PlaceError::InUse(_)) => Exit::Failed,
            Self::Config(_) | Self::Outbound(_) | Self::Place(_) | Self::Snapshot(_) => Exit::Config,
            Self::State(_) | Self::Keys(_) | Self::Open(_) | Self::Store(_) => Exit::State,
        }
    }
}

/// Runs the daemon of a configuration file until SIGTERM or SIGINT.
///
/// `inherited` are the sockets that systemd passed.
pub fn run(file: &Path, inherited: Vec<UnixListener>) -> ExitCode {
    match start(file, inherited) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // On its way to the journal or the terminal: the log may not be open yet.
            eprintln!("tsidecar: {error}");
            error.exit().into()
        }
    }
}

fn start(file: &Path, inherited: Vec<UnixListener>) -> Result<(), ServeError> {
    let config = Config::load(file)?;
    log::init(config.log);
    // Whatever is made from here on is ours alone, sockets from their first moment on.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(failed("start the runtime"))?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_at_signals(stop.clone())?;
        serve(Start { config, inherited, stop }).await
    })
}

/// Cancels the token at SIGTERM or SIGINT; a second signal while the last requests are finished changes nothing.
pub(super) fn stop_at_signals(stop: CancellationToken) -> Result<(), ServeError> {
    let mut terminate = listen_for(SignalKind::terminate())?;
    let mut interrupt = listen_for(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
        stop.cancel();
    });
    Ok(())
}

fn listen_for(kind: SignalKind) -> Result<Signal, ServeError> {
    signal(kind).map_err(failed("listen for signals"))
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |source| ServeError::Io { doing, source }
}

/// Runs a daemon until its token is cancelled; must be called on a tokio runtime. The demonstration and tests call this as it
/// is, with a configuration of their own making.
///
/// # Errors
/// [`ServeError`]; once the database is open it is closed whatever happens.
pub async fn serve(start: Start) -> Result<(), ServeError> {
    let Start { config, inherited, stop } = start;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let config = Arc::new(config);
    let plan = Plan::new(&config.listen)?;
    let paths = plan.paths();
    let folder = StateFolder::open(&config.state_dir)?;
    // Before anything is awaited: a socket in a bad place or in use must not show an hour later.
    let sockets = plan.open(inherited)?;
    let client = Client::new(&config.tailscale.socket);
    let Some(pins) = pins(&folder, &config, &client, &stop).await? else { return Ok(()) };
    // The lock on the folder is held until the database is closed.
    let (_folder, opened) = open(folder, Arc::clone(&config), pins).await?;
    let closing = Arc::clone(&opened.store);
    let world = World { config, client, paths, sockets, stop };
    let ended = live(world, opened).await;
    // `serve::serve` closes it after the drain; if it never came to that, here.
    let closed = tokio::task::spawn_blocking(move || closing.close()).await;
    ended.and(closed.map_err(|error| failed("close the database")(io::Error::other(error))))
}

/// What was settled at the first start, or is settled now; `None` when the stop came before tailscaled.
async fn pins(
    folder: &StateFolder,
    config: &Config,
    client: &Client,
    stop: &CancellationToken,
) -> Result<Option<Pins>, ServeError> {
    if let Some(pins) = folder.pins()? {
        return Ok(Some(pins));
    }
    if let (Some(issuer), Some(_)) = (&config.issuer, &config.claims.local_domains) {
        return Ok(Some(Pins::first(config, issuer.clone(), "")));
    }
    let (status, own) = tokio::select! {
        found = first_status(client) => found,
        () = stop.cancelled() => return Ok(None),
    };
    let tailnet = status.current_tailnet.unwrap_or_default().name;
    let issuer = config.issuer.clone().unwrap_or(own);
    tracing::info!(%issuer, %tailnet, "first start: these names are kept in the state folder");
    Ok(Some(Pins::first(config, issuer, &tailnet)))
}

/// Waits, as long as it takes, until tailscaled is up and knows its own name.
async fn first_status(client: &Client) -> (Status, Issuer) {
    let mut told = String::new();
    loop {
        let reason = match client.status().await {
            Ok(status) if status.backend_state == BackendState::Running => {
                match issuer_of(&status.self_node.dns_name) {
                    Some(issuer) => return (status, issuer),
                    None => "it has no DNS name: turn on MagicDNS, or configure the issuer".to_owned(),
                }
            }
            Ok(status) => format!("it is in the state {:?}: run `tailscale up`", status.backend_state),
            Err(error) => error.to_string(),
        };
        let text = format!("first start: waiting for tailscaled to tell our name ({reason})");
        if told != text {
            tracing::warn!("{text}");
            told.clone_from(&text);
        }
        notify::waiting(&text, FIRST_STATUS);
        sleep(FIRST_STATUS).await;
    }
}

/// What was loaded.
struct Opened {
    store: Arc<dyn Store>,
    snapshot: Snapshot,
    clock: Clock,
}

/// Opens keys and database, and makes the first snapshot.
async fn open(
    mut folder: StateFolder,
    config: Arc<Config>,
    pins: Pins,
) -> Result<(StateFolder, Opened), ServeError> {
    let clock = Clock::system();
    let now = clock.now();
    let issuer = pins.issuer(&config);
    // Making keys and reading a database take up to seconds.
    let opening = tokio::task::spawn_blocking(move || {
        let keys = Keys::open(&folder, now)?;
        if !folder.is_known() {
            folder.complete(&pins)?;
        }
        let store: Arc<dyn Store> = Arc::new(DiskStore::open(&folder.db(), DiskOptions::default())?);
        Ok::<_, ServeError>((folder, pins, keys, store))
    });
    let opened = opening.await.map_err(|error| failed("open the state")(io::Error::other(error)))?;
    let (folder, pins, keys, store) = opened?;
    let snapshot = async {
        let epoch = store.begin_clock(now).await?;
        remember(&config, &*store, now).await?;
        let stored = store.clients()?;
        let of_registered = clients::signing_algorithms(&*store)?;
        let demand = demand(&config, &stored).with_algorithms(of_registered.iter().copied());
        let (ring, policy) = (keys.ring(&issuer, epoch), config.keys.policy(demand));
        let tended = tokio::task::spawn_blocking(move || rotation::start(&ring, &policy, now));
        let ring = tended.await.map_err(|error| failed("open the keys")(io::Error::other(error)))??;
        Ok::<_, ServeError>(
            Snapshot::build(&config, pins, ring, &stored)?.with_registered(of_registered, &stored)?,
        )
    };
    match snapshot.await {
        Ok(snapshot) => Ok((folder, Opened { store, snapshot, clock })),
        Err(error) => {
            store.close();
            Err(error)
        }
    }
}

/// Everything that the running daemon needs beside its state.
struct World {
    config: Arc<Config>,
    client: Client,
    paths: Vec<PathBuf>,
    sockets: Vec<Bound>,
    stop: CancellationToken,
}

/// Follows tailscaled, answers requests and signals, until the stop.
async fn live(world: World, opened: Opened) -> Result<(), ServeError> {
    let World { config, client, paths, sockets, stop } = world;
    let outbound = Arc::new(Outbound::new(&config.outbound)?);
    let gate = Arc::new(Gate::new(client.clone()));
    let issuer = opened.snapshot.issuer.clone();
    let tailnet = Tailnet::start(Settings {
        client: client.clone(),
        gate: Arc::clone(&gate),
        boundary: Boundary {
            sockets: paths,
            issuer: issuer.clone(),
            tailscale_ssh: config.listen.tailscale_ssh,
        },
        identity: IdentityPolicy {
            capability: config.identity.capability.clone(),
            routers: config.identity.routers,
        },
        max_stale: config.identity.max_stale.map(|life| Duration::from_secs(life.as_secs())),
    });
    let app = Arc::new(App {
        limiter: Limiter::new(&config.limits),
        devices: DeviceLimits::default(),
        registrations: Registrations::new(config.registration.limits),
        client_keys: ClientKeys::new(Arc::clone(&outbound)),
        documents: Documents::new(Arc::clone(&outbound)),
        outbound,
        snapshot: ArcSwap::from_pointee(opened.snapshot),
        store: opened.store,
        tailnet: Arc::clone(&tailnet),
        background: TaskTracker::new(),
        clock: opened.clock,
        config: Arc::clone(&config),
    });
    app.store.tell(backchannel::targets(&app.snapshot.load())).await?;
    app.background.spawn(backchannel::follow(Arc::clone(&app), stop.clone()));
    let hangup = listen_for(SignalKind::hangup())?;
    let sweep = Sweep::start(Arc::clone(&app.store), app.clock.clone());
    let sweep = sweep.map_err(failed("start a thread"))?;
    tracing::info!(%issuer, version = env!("CARGO_PKG_VERSION"), "serving");
    notify::ready("waiting for tailscaled");
    let helpers = [
        tokio::spawn(notify::watchdog(Arc::clone(&app.store))),
        tokio::spawn(reload_at(hangup, Arc::clone(&app))),
        tokio::spawn(rotation::follow(Arc::clone(&app))),
        tokio::spawn(withdraw::follow(Arc::clone(&app))),
        tokio::spawn(documents::withdrawal::follow(Arc::clone(&app))),
        tokio::spawn(async move { tailnet.on_change(notify::readiness).await }),
        tokio::spawn(report_rename(client, Arc::clone(&app))),
        tokio::spawn(stopping(stop.clone(), sweep)),
    ];
    let watched = tokio::spawn(watch_clock(app.clock.clone(), stop.clone()));
    let served = serve::serve(app, gate, sockets, stop).await;
    helpers.iter().for_each(tokio::task::JoinHandle::abort);
    tracing::info!("stopped");
    if watched.is_finished() && watched.await.unwrap_or(false) {
        return Err(ServeError::ClockWentBack);
    }
    served.map_err(failed("serve a socket"))
}

/// Stops the daemon when the clock is more than an hour behind what it was (design section 7): a start begins a new code key
/// then, and systemd starts it again. `false` when the stop came first.
async fn watch_clock(clock: Clock, stop: CancellationToken) -> bool {
    let mut highest = clock.now();
    loop {
        tokio::select! { () = stop.cancelled() => return false, () = sleep(CLOCK) => () }
        let now = clock.now();
        if now.after(Lifetime::from_minutes(60)) < highest {
            tracing::error!(alert = true, %highest, %now, "the clock went back by more than an hour");
            stop.cancel();
            return true;
        }
        highest = highest.max(now);
    }
}

/// How often the clock is compared with what it was.
const CLOCK: Duration = Duration::from_secs(10);

/// Says that the stop has begun, and ends the sweep before the store is closed.
async fn stopping(stop: CancellationToken, sweep: Sweep) {
    stop.cancelled().await;
    notify::stopping();
    // It finishes its step first. A panic in it costs nothing any more.
    let _ = tokio::task::spawn_blocking(move || drop(sweep)).await;
}

/// Takes over the configuration's files at each SIGHUP.
async fn reload_at(mut hangup: Signal, app: Arc<App>) {
    while hangup.recv().await.is_some() {
        // What came of it is in the log; either way the daemon goes on.
        let _ = reload(&app).await;
    }
}

/// Says when the node is not called what the issuer says, once for each name: a renamed node is reported, never followed.
async fn report_rename(client: Client, app: Arc<App>) {
    if app.config.issuer.is_some() {
        return;
    }
    let issuer = app.snapshot.load().issuer.clone();
    let mut told = String::new();
    loop {
        let wait = if app.tailnet.readiness().is_ok() { RENAME } else { FIRST_STATUS };
        if let Some(status) = client.status().await.ok().filter(|_| wait == RENAME) {
            let name = status.self_node.dns_name;
            if issuer_of(&name).as_ref() != Some(&issuer) && told != name {
                tracing::warn!(
                    %issuer, node = %name,
                    "this node has another name now than the issuer; the issuer stays, since relying parties know it"
                );
                told = name;
            }
        }
        sleep(wait).await;
    }
}

/// How often the node's name is looked at.
const RENAME: Duration = Duration::from_mins(5);

/// How long to wait before tailscaled is asked for our name again.
const FIRST_STATUS: Duration = Duration::from_secs(1);
