//! A running tsidecar on a folder of its own, with ready keys, a clock that tests move, and its log in a file.

use std::{
    fs, io,
    os::unix::{fs::DirBuilderExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tsidecar_server::demo::{Script, Tailscaled};
use tsidecar_server::store::{DiskOptions, DiskStore, RegisteredClient, Store as _};

use super::{
    browser::App,
    tailnet::{ALICE, Who, tailnet, through_serve},
    wire::{Reply, Request, exchange},
};

/// The secret of the confidential client `web`.
pub(crate) const SECRET: &str = "correct-horse-battery-staple-correct-horse";

type Edit = Box<dyn FnOnce(&mut Script)>;

/// What a test wants to be different.
#[derive(Default)]
pub(crate) struct Setup {
    /// Lines for `[listen]`.
    listen: String,
    /// Tables at the end of the configuration; `{dir}` stands for the folder.
    tables: String,
    /// Lines for `[limits]`, in place of none at all.
    limits: Option<&'static str>,
    /// Files beside the configuration.
    files: Vec<(String, String)>,
    log: Option<&'static str>,
    edit: Option<Edit>,
    unready: bool,
    pinned_issuer: bool,
    /// Clients that registered themselves.
    registered: Vec<RegisteredClient>,
}

impl Setup {
    pub(crate) fn listen(mut self, lines: &str) -> Self {
        self.listen.push_str(lines);
        self.listen.push('\n');
        self
    }

    pub(crate) fn tables(mut self, toml: &str) -> Self {
        self.tables.push_str(toml);
        self.tables.push('\n');
        self
    }

    /// A file in the folder, for the configuration to name, or in a folder beside it.
    pub(crate) fn file(mut self, name: &str, content: &str) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    pub(crate) fn limits(mut self, lines: &'static str) -> Self {
        self.limits = Some(lines);
        self
    }

    pub(crate) fn json_log(mut self) -> Self {
        self.log = Some("json");
        self
    }

    /// Changes the tailnet before the daemon starts.
    pub(crate) fn tailnet(mut self, edit: impl FnOnce(&mut Script) + 'static) -> Self {
        self.edit = Some(Box::new(edit));
        self
    }

    /// Does not wait until the daemon is ready to sign people in.
    pub(crate) fn unready(mut self) -> Self {
        self.unready = true;
        self
    }

    /// Leaves the issuer out of the configuration: the one of the first start holds.
    pub(crate) fn pinned_issuer(mut self) -> Self {
        self.pinned_issuer = true;
        self
    }

    /// A client that registered itself in an earlier run.
    pub(crate) fn registered(mut self, client: RegisteredClient) -> Self {
        self.registered.push(client);
        self
    }

    pub(crate) fn start(self) -> Daemon {
        Daemon::start(self)
    }
}

pub(crate) struct Daemon {
    pub(crate) tailscaled: Tailscaled,
    process: Option<Child>,
    notify: UnixDatagram,
    folder: TempDir,
}

impl Daemon {
    /// The daemon of most tests.
    pub(crate) fn new() -> Self {
        Setup::default().start()
    }

    fn start(mut setup: Setup) -> Self {
        let unready = setup.unready;
        let registered = std::mem::take(&mut setup.registered);
        let mut daemon = Self::prepare(setup);
        copy(ready_state(), &daemon.path("state"));
        if !registered.is_empty() {
            daemon.put_registered(registered);
        }
        daemon.launch();
        if !unready {
            daemon.wait_until_ready();
        }
        daemon
    }

    fn prepare(setup: Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("tsidecar-it").tempdir().unwrap();
        let dir = folder.path();
        let setup_text = configuration(dir, &setup);
        let mut script = tailnet(&format!("unix:{}/serve.sock", dir.display()));
        if let Some(edit) = setup.edit {
            edit(&mut script);
        }
        let tailscaled = Tailscaled::start(dir.join("tailscaled.sock"), script).unwrap();
        fs::write(dir.join("clock"), "0").unwrap();
        for (name, content) in &setup.files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        fs::write(dir.join("tsidecar.toml"), setup_text).unwrap();
        let notify = UnixDatagram::bind(dir.join("notify.sock")).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { tailscaled, process: None, notify, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of the binary that is tested, on this daemon's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tsidecar"));
        command.args(arguments).arg("--config").arg(self.path("tsidecar.toml"));
        command
            .env("TSIDECAR_TEST_CLOCK", self.path("clock"))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    /// Starts the process and waits for systemd's ready message.
    pub(crate) fn launch(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&["serve"]);
        command.env("NOTIFY_SOCKET", self.path("notify.sock")).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            let length = self.notify.recv(&mut buffer).unwrap_or(0);
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1") {
                return;
            }
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                panic!("tsidecar ended with {status}:\n{}", self.log());
            }
        }
        panic!("tsidecar is not ready after 30 s:\n{}", self.log());
    }

    /// Waits until alice can sign in.
    pub(crate) fn wait_until_ready(&self) {
        let app = App::public(self);
        self.eventually("alice can sign in", || app.authorize(&ALICE, &[]).redirect("code").is_some());
    }

    /// Writes registered clients, as a run before would have; the daemon must not be running.
    pub(crate) fn put_registered(&self, clients: Vec<RegisteredClient>) {
        assert!(self.process.is_none(), "the daemon holds its database");
        let store = DiskStore::open(&self.path("state/db"), DiskOptions::default()).unwrap();
        for client in clients {
            let now = client.used_at;
            store.put_registered(client, now).wait().unwrap();
        }
        store.close();
    }

    /// Repeats a question until the answer is yes.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, mut yes: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !yes() {
            assert!(Instant::now() < deadline, "not within 20 s: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until what the daemon believes of somebody is newer than this call: it has asked tailscaled again.
    #[track_caller]
    pub(crate) fn settle(&self, who: &Who) {
        let before = self.tailscaled.asked_about(who.address);
        let app = App::public(self);
        self.eventually("whois is asked again", || {
            app.authorize(who, &[]);
            self.tailscaled.asked_about(who.address) > before
        });
    }

    /// Changes the tailnet and waits until the daemon knows what that means for somebody.
    #[track_caller]
    pub(crate) fn change(&self, who: &Who, edit: impl FnOnce(&mut Script)) {
        self.tailscaled.change(edit);
        self.settle(who);
    }

    /// Moves the clock: so many seconds from the start of the test.
    pub(crate) fn at(&self, seconds: i64) {
        let fresh = self.path("clock.new");
        fs::write(&fresh, seconds.to_string()).unwrap();
        fs::rename(fresh, self.path("clock")).unwrap();
    }

    /// Sends a request as serve does for somebody.
    #[track_caller]
    pub(crate) fn send(&self, who: &Who, request: Request) -> Reply {
        self.raw(&through_serve(who, request))
    }

    /// Sends a request as it is.
    #[track_caller]
    pub(crate) fn raw(&self, request: &Request) -> Reply {
        self.try_raw("serve.sock", request).unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    pub(crate) fn try_raw(&self, socket: &str, request: &Request) -> io::Result<Reply> {
        exchange(&self.path(socket), &request.bytes())
    }

    /// Everything that the daemon has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            process.wait().unwrap();
        }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end after a signal.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.process.take().unwrap().wait().unwrap()
    }

    /// Starts the process again on the same folder.
    pub(crate) fn relaunch(&mut self) {
        self.launch();
        self.wait_until_ready();
    }

    /// Runs a command of ours and returns what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of tsidecar ---\n{}", self.log());
        }
    }
}

/// The digest of [`SECRET`], as a configuration has it.
pub(crate) fn secret_digest() -> String {
    format!("{:x}", Sha256::digest(SECRET))
}

fn configuration(dir: &Path, setup: &Setup) -> String {
    let dir = dir.display();
    let uid = rustix::process::getuid().as_raw();
    let digest = secret_digest();
    let issuer = if setup.pinned_issuer { "" } else { "issuer = \"https://idp.tail.test\"" };
    let format = setup.log.unwrap_or("text");
    let limits = setup.limits.unwrap_or("node_requests_per_minute = 0");
    let tables = setup.tables.replace("{dir}", &dir.to_string());
    let listen = setup.listen.replace("{dir}", &dir.to_string());
    format!(
        r#"{issuer}
[tailscale]
socket = "{dir}/tailscaled.sock"
[listen]
socket = "{dir}/serve.sock"
admin_socket = "{dir}/admin.sock"
ops_socket = "{dir}/ops.sock"
allow_unsafe_path = true
tailscaled_uid = {uid}
{listen}
[limits]
{limits}
[state]
dir = "{dir}/state"
[log]
format = "{format}"
level = "trace"
[[client]]
id = "cli"
name = "Command line"
public = true
redirect_uris = ["http://127.0.0.1/callback", "com.example.app:/callback"]
[[client]]
id = "web"
name = "Web application"
secret_sha256 = "{digest}"
redirect_uris = ["https://app.test/callback", "https://app.test/other?keep=1"]
[[client]]
id = "nobodys"
name = "For nobody"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
allow = {{ users = ["nobody@example.com"] }}
[[resource]]
uri = "https://mcp.test/mcp"
scopes = ["read", "write"]
clients = ["cli", "web"]
[[resource]]
uri = "https://api.test"
scopes = ["admin"]
clients = ["web"]
{tables}"#
    )
}

/// A state folder with keys, made once per run by the daemon itself: an RSA key takes a quarter of a second.
fn ready_state() -> &'static Path {
    static STATE: OnceLock<PathBuf> = OnceLock::new();
    STATE.get_or_init(|| {
        let mut daemon = Daemon::prepare(Setup::default());
        daemon.launch();
        daemon.signal("TERM");
        assert!(daemon.ended().success(), "{}", daemon.log());
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("it-state");
        // Of an earlier run.
        let _ = fs::remove_dir_all(&kept);
        copy(&daemon.path("state"), &kept);
        kept
    })
}

/// Copies a folder with the modes of its files.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
