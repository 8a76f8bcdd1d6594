//! `tsidecar demo`: the whole thing on loopback, with stand-ins for tailscaled and `tailscale serve` around the unchanged server.
//!
//! For a first look on a machine without Tailscale: a complete login is made at once and told step by step, then a sample
//! application waits for a browser. Nothing leaves this machine, and nothing is kept.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::JoinError, time::Instant};
use tokio_util::sync::CancellationToken;
use tsidecar_oauth::secret::ClientSecret;

use crate::{
    command::serve::{self, ServeError, Start},
    config::{Config, ConfigError},
    demo::{
        HOST, LoginError, Node, Party, RelyingParty, Scheme, Script, ServeHop, Tailscaled, Tokens, User,
        Visitor,
    },
    entropy, log,
};

/// What `tsidecar demo` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Port of the identity provider on 127.0.0.1; 0 chooses a free one.
    #[arg(long, default_value_t = 8411)]
    pub port: u16,
    /// Make the login, tell what happened, and end: with status 0 only if every step was right.
    #[arg(long)]
    pub exit: bool,
    /// Print one line of JSON first: issuer, address, sample application, clients, resource. The rest goes to standard error.
    #[arg(long)]
    pub json: bool,
    /// Tables to add to its configuration, in the form of tsidecar.toml: applications, resources and rules of your own.
    #[arg(long, value_name = "FILE")]
    pub tables: Option<PathBuf>,
    /// The issuer, where a TLS proxy of your own stands in front of the port. Default: http://127.0.0.1:PORT.
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Another node of the tailnet, without a person: whoever connects to the address that is told for it is a workload with this
    /// tag. May repeat.
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub workload: Vec<String>,
}

/// A tag, as an argument.
fn tag(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("tag:").filter(|name| !name.is_empty());
    name.map(|_| text.to_owned()).ok_or_else(|| "a tag is written tag:NAME".to_owned())
}

/// Runs the demonstration until it ends or is interrupted.
pub fn run(options: &Options) -> ExitCode {
    match start(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tsidecar demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(io_error("cannot start the runtime"))?.block_on(async {
        let stage = Stage::set(options).await?;
        let config = Config::load(&stage.configuration())?;
        log::init(config.log);
        let stop = CancellationToken::new();
        serve::stop_at_signals(stop.clone())?;
        let mut server =
            tokio::spawn(serve::serve(Start { config, inherited: Vec::new(), stop: stop.clone() }));
        let played = tokio::select! {
            played = stage.play(options) => played,
            () = stop.cancelled() => if options.exit { Err(DemoError::Interrupted) } else { Ok(()) },
            ended = &mut server => return outcome(ended),
        };
        stop.cancel();
        played.and(outcome(server.await))
    })
}

fn outcome(ended: Result<Result<(), ServeError>, JoinError>) -> Result<(), DemoError> {
    ended
        .map_err(|error| io_error("the server broke down")(io::Error::other(error)))?
        .map_err(DemoError::from)
}

/// Why the demonstration does not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A folder, socket or port cannot be had.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A step of the login went wrong.
    #[error("{0}")]
    Login(#[from] LoginError),
    /// The configuration of the demonstration is not accepted.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The server does not start, or did not end well.
    #[error("{0}")]
    Serve(#[from] ServeError),
    /// A signal came before the login was complete.
    #[error("interrupted before the login was complete")]
    Interrupted,
    /// The server was not ready in time.
    #[error("the server was not ready within {} s", START.as_secs())]
    NotReady,
}

/// How long the server may take to start; a first RSA key takes a second on a slow machine.
const START: Duration = Duration::from_secs(30);

/// The resource for which the demonstration gives tokens.
const RESOURCE: &str = "https://mcp.demo.test/mcp";
/// The registered redirect URI of both clients; its port is free.
const REDIRECT: &str = "http://127.0.0.1/callback";

/// The stand-ins, the configuration between them, and the folder of it all. Dropping it takes everything away.
pub struct Stage {
    issuer: String,
    address: SocketAddr,
    secret: String,
    application: TcpListener,
    workloads: Vec<(String, SocketAddr)>,
    folder: Folder,
    _tailscaled: Tailscaled,
    _hop: ServeHop,
}

impl Stage {
    /// Sets everything up but the server itself.
    ///
    /// # Errors
    /// [`DemoError::Io`].
    pub async fn set(options: &Options) -> Result<Self, DemoError> {
        let port = options.port;
        let tables = options.tables.as_deref().map_or(Ok(String::new()), |file| {
            fs::read_to_string(file).map_err(io_error(&format!("cannot read {}", file.display())))
        })?;
        let folder = Folder::new().map_err(io_error("cannot make a folder for the demonstration"))?;
        let dir = folder.0.as_path();
        let socket = dir.join("serve.sock");
        let alice = alice();
        let visitor = Visitor::on(&alice).ok_or_else(no_address)?;
        let mut script = Script::new("demo.test", "demo.test");
        script.peers.push(alice);
        let workloads = workloads(&options.workload);
        script.peers.extend(workloads.iter().cloned());
        script.serve(&format!("unix:{}", socket.display()));
        let tailscaled = Tailscaled::start(dir.join("tailscaled.sock"), script)
            .map_err(io_error("cannot stand in for tailscaled"))?;
        let tls = options.issuer.as_ref().is_some_and(|issuer| issuer.starts_with("https:"));
        let hop = ServeHop::new(&socket, if tls { Scheme::Https } else { Scheme::Http })
            .map_err(io_error("cannot stand in for tailscale serve"))?;
        let address = hop
            .listen(SocketAddr::new(LOOPBACK, port), visitor)
            .map_err(io_error(&format!("cannot listen on 127.0.0.1:{port} (another port: --port N)")))?;
        let workloads = open_to(&hop, &workloads)?;
        let application = TcpListener::bind(SocketAddr::new(LOOPBACK, 0))
            .await
            .map_err(io_error("cannot listen on 127.0.0.1"))?;
        let issuer = options.issuer.clone().unwrap_or_else(|| format!("http://{address}"));
        let secret = ClientSecret::generate(entropy::secret()).expose().to_owned();
        let configuration = configuration(dir, &issuer, &secret) + &tables;
        fs::write(dir.join("tsidecar.toml"), configuration)
            .map_err(io_error("cannot write the configuration of the demonstration"))?;
        Ok(Self {
            issuer,
            address,
            secret,
            application,
            workloads,
            folder,
            _tailscaled: tailscaled,
            _hop: hop,
        })
    }

    /// The configuration for the server.
    pub fn configuration(&self) -> PathBuf {
        self.folder.0.join("tsidecar.toml")
    }

    /// Plays: waits for the server, makes the logins, and serves the sample application unless it is to end.
    ///
    /// # Errors
    /// [`DemoError`] with the first thing that went wrong.
    pub async fn play(&self, options: &Options) -> Result<(), DemoError> {
        let application = self.application.local_addr().map_err(io_error("no address"))?;
        let party = self.party(application);
        self.wait(&party).await?;
        if options.json {
            println!("{}", self.line(application));
        }
        let tell = |text: &str| if options.json { eprintln!("{text}") } else { println!("{text}") };
        tell(&format!(
            "This is a demonstration on 127.0.0.1 only. tailscaled and `tailscale serve` are stand-ins; whoever opens a page\n\
             here is alice@demo.test on her laptop. Nothing leaves this machine and nothing is kept.\n\n  \
             identity provider   {}\n  sample application  http://{application}\n",
            self.issuer
        ));
        for (tag, address) in &self.workloads {
            tell(&format!("  a node with {tag:<9}  http://{address}\n"));
        }
        login(&party, "a public client", &tell).await?;
        login(&self.confidential(), "a confidential client", &tell).await?;
        login(
            &Party { resource: Some(RESOURCE.to_owned()), ..self.confidential() },
            "a client of an MCP server",
            &tell,
        )
        .await?;
        if options.exit {
            tell("Every step was right.");
            return Ok(());
        }
        tell(&format!(
            "Open http://{application} in a browser and click \"Sign in\". Ctrl-C ends the demonstration."
        ));
        RelyingParty::serve(party, &self.application).await.map_err(io_error("the sample application ended"))
    }

    fn party(&self, application: SocketAddr) -> Party {
        Party {
            issuer: self.issuer.clone(),
            address: self.address,
            client_id: "demo-public".to_owned(),
            client_secret: None,
            redirect_uri: RelyingParty::redirect_uri(application),
            resource: None,
        }
    }

    fn confidential(&self) -> Party {
        Party {
            issuer: self.issuer.clone(),
            address: self.address,
            client_id: "demo-confidential".to_owned(),
            client_secret: Some(self.secret.clone()),
            redirect_uri: REDIRECT.to_owned(),
            resource: None,
        }
    }

    /// Waits until alice can sign in.
    async fn wait(&self, party: &Party) -> Result<(), DemoError> {
        let deadline = Instant::now() + START;
        while party.visit(&party.begin()).await.is_err() {
            if Instant::now() > deadline {
                return Err(DemoError::NotReady);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The line that programs read.
    fn line(&self, application: SocketAddr) -> String {
        let (public, confidential) = ("demo-public", "demo-confidential");
        json!({
            "issuer": self.issuer,
            "address": self.address,
            "relying_party": format!("http://{application}"),
            "clients": [
                { "client_id": public, "redirect_uri": REDIRECT },
                { "client_id": confidential, "client_secret": self.secret, "redirect_uri": REDIRECT },
            ],
            "resource": RESOURCE,
            "workloads": self.workloads.iter().cloned().collect::<BTreeMap<_, _>>(),
        })
        .to_string()
    }
}

/// A complete login, told step by step.
async fn login(party: &Party, what: &str, tell: &impl Fn(&str)) -> Result<(), DemoError> {
    tell(&format!("{what} ({}):", party.client_id));
    let keys = party.discover().await?;
    tell(&format!("  metadata read, issuer as expected, {keys} signing keys"));
    let login = party.begin();
    let callback = party.visit(&login).await?;
    tell("  alice's browser went to /authorize and came straight back with a code: no page, no click");
    let tokens = party.finish(&login, &callback).await?;
    tell(&format!(
        "  the code became tokens: {} <{}>, scope \"{}\", for {} s",
        text(&tokens, "name"),
        text(&tokens, "email"),
        tokens.scope,
        tokens.expires_in
    ));
    if party.resource.is_none() {
        let userinfo = party.userinfo(&tokens).await?;
        let claims = userinfo.as_object().map_or(0, serde_json::Map::len);
        tell(&format!("  userinfo says the same of {}: {claims} claims", text(&tokens, "sub")));
    }
    let renewed = party.refresh(&tokens).await?;
    tell("  the refresh token was renewed; the tailnet was asked again whether alice's device is still hers");
    if party.resource.is_none() {
        party.userinfo(&renewed).await?;
    }
    refused(party.finish(&login, &callback).await, "the used code was accepted")?;
    tell("  the used code was shown once more, as a thief would: refused");
    refused(party.refresh(&renewed).await, "a revoked refresh token was accepted")?;
    tell("  and everything that came of it was revoked at once\n");
    Ok(())
}

/// What must be refused with `invalid_grant`.
fn refused(answer: Result<Tokens, LoginError>, otherwise: &'static str) -> Result<(), LoginError> {
    match answer {
        Err(LoginError::Refused { said, .. }) if said.starts_with("invalid_grant") => Ok(()),
        Err(other) => Err(other),
        Ok(_) => Err(LoginError::Wrong(otherwise)),
    }
}

fn text<'a>(tokens: &'a Tokens, name: &str) -> &'a str {
    tokens.claims.get(name).and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn alice() -> Node {
    let mut user = User::new(1001, "alice@demo.test", "Alice Example");
    user.groups = vec!["group:demo".to_owned()];
    let mut laptop = Node::of(user, 2, "alice-laptop", &[IpAddr::V4(Ipv4Addr::new(100, 64, 0, 2))]);
    laptop.grant(
        HOST,
        "tailscale.com/cap/tsidp",
        json!({ "extraClaims": { "team": "demo" }, "includeInUserInfo": true }),
    );
    laptop
}

/// A node without a person for each tag.
fn workloads(tags: &[String]) -> Vec<Node> {
    let node = |(tag, number): (&String, u8)| {
        let name = tag.trim_start_matches("tag:");
        Node::tagged(tag, i64::from(number), name, &[IpAddr::V4(Ipv4Addr::new(100, 64, 0, number))])
    };
    tags.iter().zip(FIRST_WORKLOAD..).map(node).collect()
}

/// Node number and last byte of the address of the first workload.
const FIRST_WORKLOAD: u8 = 10;

/// Opens an address of its own to the programs on each of these nodes.
fn open_to(hop: &ServeHop, nodes: &[Node]) -> Result<Vec<(String, SocketAddr)>, DemoError> {
    let open = |node: &Node| {
        let visitor = Visitor::on(node).ok_or_else(no_address)?;
        let address = hop.listen(SocketAddr::new(LOOPBACK, 0), visitor);
        Ok((node.tags.concat(), address.map_err(io_error("cannot listen on 127.0.0.1"))?))
    };
    nodes.iter().map(open).collect()
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn configuration(dir: &Path, issuer: &str, secret: &str) -> String {
    let (dir, uid) = (dir.display(), rustix::process::getuid().as_raw());
    let digest = Sha256::digest(secret);
    format!(
        r#"issuer = "{issuer}"
[tailscale]
socket = "{dir}/tailscaled.sock"
[listen]
socket = "{dir}/serve.sock"
admin_socket = "{dir}/admin.sock"
ops_socket = "{dir}/ops.sock"
allow_unsafe_path = true # the folder of the demonstration is this user's alone
tailscaled_uid = {uid}
[state]
dir = "{dir}/state"
[limits]
node_requests_per_minute = 0 # everybody is alice
[log]
level = "error"
[[client]]
id = "demo-public"
name = "Sample application"
public = true
redirect_uris = ["{REDIRECT}"]
[[client]]
id = "demo-confidential"
name = "Sample application with a secret"
secret_sha256 = "{digest:x}"
redirect_uris = ["{REDIRECT}"]
# MCP clients register themselves.
[[rule]]
allow_dcr = true
[[resource]]
uri = "{RESOURCE}"
scopes = ["read", "write"]
clients = ["*"]
"#
    )
}

/// A folder that only this user may enter, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let name = u64::from_be_bytes(entropy::bytes());
        let path = std::env::temp_dir().join(format!("tsidecar-demo-{name:016x}"));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed lies in the system's folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> DemoError {
    let what = what.to_owned();
    move |source| DemoError::Io { what, source }
}

fn no_address() -> DemoError {
    DemoError::Io { what: "alice has no address".to_owned(), source: io::ErrorKind::InvalidInput.into() }
}
