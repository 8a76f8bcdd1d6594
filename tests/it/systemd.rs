//! What systemd sees and gives: messages of `sd_notify(3)`, the watchdog, inherited sockets, the stop.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{ALICE, App, Daemon, Request, Setup, tailnet::through_serve};

/// A process under a service manager: this test.
struct Service {
    process: Child,
    manager: UnixDatagram,
    /// What was said and not looked at yet.
    said: Vec<String>,
}

impl Service {
    /// Starts a command on the folder of a daemon that was ended before.
    fn start(daemon: &Daemon, mut command: Command) -> Self {
        let path = daemon.path("manager.sock");
        let _ = fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let log = fs::OpenOptions::new().append(true).open(daemon.path("log")).unwrap();
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { process, manager, said: Vec::new() }
    }

    /// Waits for a message that holds a text, and forgets those before it.
    #[track_caller]
    fn says(&mut self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.said.iter().position(|said| said.contains(text)) {
                return self.said.drain(..=at).next_back().unwrap();
            }
            assert!(Instant::now() < deadline, "never said {text:?}, but {:?}", self.said);
            let mut buffer = [0; 4096];
            if let Ok(length) = self.manager.recv(&mut buffer) {
                self.said.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        }
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([format!("-{name}"), id]).status().unwrap().success());
    }

    fn ends(mut self) -> i32 {
        self.process.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder with ready keys whose daemon was ended.
fn stopped() -> Daemon {
    let mut daemon = Daemon::new();
    daemon.signal("TERM");
    assert!(daemon.ended().success());
    daemon
}

#[test]
fn the_manager_is_told_of_start_life_and_stop() {
    let daemon = stopped();
    assert!(!daemon.path("serve.sock").exists(), "our sockets go with us");
    let mut service = Service::start(&daemon, daemon.command(&["serve"]));
    service.says("READY=1");
    service.says("STATUS=ready");
    service.says("WATCHDOG=1");
    service.says("WATCHDOG=1");
    daemon.tailscaled.stop();
    service.says("STATUS=not ready: tailscaled gives no answer");
    daemon.tailscaled.restart().unwrap();
    service.says("STATUS=ready");
    service.signal("TERM");
    service.says("STOPPING=1");
    assert_eq!(service.ends(), 0);
}

/// The issuer is made from tailscaled's name once, so the first start waits for it, and says so.
#[test]
fn a_first_start_waits_for_tailscaled() {
    let daemon = stopped();
    let path = daemon.path("tsidecar.toml");
    let text = fs::read_to_string(&path).unwrap().replace("issuer = \"https://idp.tail.test\"", "");
    fs::write(&path, text.replace("/state\"", "/new\"")).unwrap();
    daemon.tailscaled.stop();
    let mut service = Service::start(&daemon, daemon.command(&["serve"]));
    let waiting = service.says("STATUS=first start: waiting for tailscaled");
    assert!(waiting.contains("EXTEND_TIMEOUT_USEC="), "{waiting}");
    assert!(daemon.path("serve.sock").exists(), "sockets are opened first: whoever comes, waits");
    daemon.tailscaled.change(|script| script.state = "Starting".to_owned());
    daemon.tailscaled.restart().unwrap();
    service.says("it is in the state Starting");
    daemon.tailscaled.change(|script| script.state = "Running".to_owned());
    service.says("READY=1");
    service.says("STATUS=ready");
    let found = daemon.send(&ALICE, Request::get("/.well-known/openid-configuration"));
    assert_eq!(found.member("issuer"), "https://idp.tail.test");
    // A stop in the middle of the wait is a stop.
    service.signal("TERM");
    assert_eq!(service.ends(), 0);
    fs::remove_dir_all(daemon.path("new")).unwrap();
    daemon.tailscaled.stop();
    let mut service = Service::start(&daemon, daemon.command(&["serve"]));
    service.says("waiting for tailscaled");
    service.signal("TERM");
    assert_eq!(service.ends(), 0);
}

/// `systemd-socket-activate` with our sockets in some order, in front of `serve`.
fn activated(daemon: &Daemon, sockets: &[&str]) -> Option<Service> {
    let mut command = Command::new("systemd-socket-activate");
    if command.arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: there is no systemd-socket-activate (Debian: apt-get install systemd)");
        return None;
    }
    let mut command = Command::new("systemd-socket-activate");
    for name in ["NOTIFY_SOCKET", "TSIDECAR_TEST_CLOCK"] {
        command.args(["-E", name]);
    }
    for socket in sockets {
        command.arg("-l").arg(daemon.path(socket));
    }
    let serve = daemon.command(&["serve"]);
    command.arg(serve.get_program()).args(serve.get_args()).env("TSIDECAR_TEST_CLOCK", daemon.path("clock"));
    Some(Service::start(daemon, command))
}

/// A36: a socket has the role that its path has in the configuration, whatever the order of the descriptors.
#[test]
fn inherited_sockets_have_the_role_of_their_path() {
    let daemon = stopped();
    for order in [["serve.sock", "admin.sock", "ops.sock"], ["ops.sock", "serve.sock", "admin.sock"]] {
        let Some(mut service) = activated(&daemon, &order) else { return };
        // The connection that starts the daemon waits in the socket and is answered.
        let authorize = Request::get(&format!("/authorize?{}", App::public(&daemon).query(&[])));
        daemon.eventually("it listens", || {
            daemon.path("ops.sock").exists() && daemon.path("admin.sock").exists()
        });
        let first = daemon.raw(&through_serve(&ALICE, authorize));
        assert!([302, 503].contains(&first.status), "{}", first.show());
        service.says("READY=1");
        service.says("STATUS=ready");
        daemon.wait_until_ready();
        // This process is tailscaled here: the sockets of administrators stay closed.
        for socket in ["admin.sock", "ops.sock"] {
            assert!(
                daemon.try_raw(socket, &Request::get("/readyz").header("Host", "x")).is_err(),
                "{socket}"
            );
        }
        service.signal("TERM");
        assert_eq!(service.ends(), 0);
        for socket in order {
            assert!(daemon.path(socket).exists(), "{socket}: what systemd made stays for the next start");
            fs::remove_file(daemon.path(socket)).unwrap();
        }
    }
}

#[test]
fn an_inherited_socket_without_a_role_ends_the_start() {
    let daemon = stopped();
    let Some(service) = activated(&daemon, &["serve.sock", "stranger.sock"]) else { return };
    daemon.eventually("it listens", || daemon.path("stranger.sock").exists());
    // Whatever comes back, the connection has started it.
    let _ = daemon.try_raw("serve.sock", &Request::get("/"));
    assert_eq!(service.ends(), 3, "the configuration is wrong");
    let log = daemon.log();
    assert!(log.contains("stranger.sock: this inherited socket has no role"), "{log}");
}

/// What is taken over by a reload needs no restart, and a bad file changes nothing.
#[test]
fn a_hangup_reloads_and_a_bad_file_does_not() {
    let daemon = Setup::default().start();
    let path = daemon.path("tsidecar.toml");
    let good = fs::read_to_string(&path).unwrap();
    let known = |id: &str| {
        let target = format!("/authorize?client_id={id}&redirect_uri=http://127.0.0.1/callback");
        let answer = daemon.send(&ALICE, Request::get(&target));
        answer.status == 302
    };
    assert!(known("cli") && !known("late"));
    let late = "[[client]]\nid = \"late\"\npublic = true\nredirect_uris = [\"http://127.0.0.1/callback\"]\n";
    fs::write(&path, format!("{good}\nnonsense = [\n{late}")).unwrap();
    daemon.signal("HUP");
    daemon.eventually("it says no", || daemon.log().contains("was not reloaded"));
    assert!(known("cli") && !known("late"));
    fs::write(&path, format!("{good}\n{late}")).unwrap();
    daemon.signal("HUP");
    daemon.eventually("the new client is known", || known("late"));
    assert!(known("cli"));
}
