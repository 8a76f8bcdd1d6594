//! The server under test: the release binary as its own process, and what the kernel says of it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tsidecar_server::demo::{Node, Script, Tailscaled, User};

pub(crate) const SECRET: &str = "bench-secret-bench-secret-bench-secret-bench";

pub(crate) struct Server {
    process: Child,
    sockets: TempDir,
    _state: TempDir,
    _tailscaled: Tailscaled,
}

/// The address of the person behind a connection.
pub(crate) fn address(connection: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x6440_0100 + u32::try_from(connection).expect("few connections")).into()
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(crate) fn start() -> Self {
        let sockets = tempfile::Builder::new().prefix("tsidecar-bench").tempdir().expect("a folder");
        // On the disk of the target folder: /tmp may be memory, where a sync costs nothing.
        let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let dir = sockets.path();
        let mut script = Script::new("example.com", "tail.test");
        for connection in 0..64 {
            let number = i64::try_from(connection).expect("few connections");
            let mut user = User::new(1000 + number, &format!("user{number}@example.com"), "Alice Example");
            user.groups = vec!["group:eng".to_owned()];
            script.peers.push(Node::of(
                user,
                10 + number,
                &format!("device-{number}"),
                &[address(connection)],
            ));
        }
        script.serve(&format!("unix:{}/serve.sock", dir.display()));
        let tailscaled = Tailscaled::start(dir.join("tailscaled.sock"), script).expect("a stand-in");
        let config = dir.join("tsidecar.toml");
        fs::write(&config, configuration(&dir.display().to_string(), &state.path().display().to_string()))
            .expect("a configuration");
        let notify = UnixDatagram::bind(dir.join("notify.sock")).expect("a socket");
        let log = fs::File::create(dir.join("log")).expect("a log");
        let process = Command::new(env!("CARGO_BIN_EXE_tsidecar"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("NOTIFY_SOCKET", dir.join("notify.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let server = Self { process, sockets, _state: state, _tailscaled: tailscaled };
        server.wait(&notify);
        server
    }

    fn wait(&self, notify: &UnixDatagram) {
        notify.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            let length = notify.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("{error}: {}", fs::read_to_string(self.sockets.path().join("log")).unwrap_or_default())
            });
            if String::from_utf8_lossy(&buffer[..length]).contains("READY=1") {
                return;
            }
        }
        panic!("the server is not ready after 20 s");
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.sockets.path().join("serve.sock")
    }

    /// Seconds of CPU that the process has used, user and system.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("a live server");
        // After the name in parentheses: field 3 is the state, 14 and 15 are utime and stime.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_ascii_whitespace().collect())
            .unwrap_or_default();
        let ticks: u32 = fields[11..13].iter().map(|ticks| ticks.parse::<u32>().expect("a number")).sum();
        // USER_HZ, which is 100 on every Linux that this runs on.
        f64::from(ticks) / 100.0
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> f64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a live server");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kib: u32 = line.trim().trim_end_matches(" kB").parse().unwrap_or_default();
        f64::from(kib) * 1024.0
    }

    pub(crate) fn stop(&mut self) {
        // It is ours, and it may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn configuration(dir: &str, state: &str) -> String {
    let uid = rustix::process::getuid().as_raw();
    let digest = format!("{:x}", Sha256::digest(SECRET));
    let client = |id: &str, algorithm: &str| {
        format!(
            "[[client]]\nid = \"{id}\"\nsecret_sha256 = \"{digest}\"\nredirect_uris = [\"https://app.test/callback\"]\n\
             id_token_signed_response_alg = \"{algorithm}\"\n"
        )
    };
    format!(
        "issuer = \"https://idp.tail.test\"\n[tailscale]\nsocket = \"{dir}/tailscaled.sock\"\n\
         [listen]\nsocket = \"{dir}/serve.sock\"\nadmin_socket = \"{dir}/admin.sock\"\nops_socket = \"{dir}/ops.sock\"\n\
         allow_unsafe_path = true\ntailscaled_uid = {uid}\n[limits]\nnode_requests_per_minute = 0\n\
         [state]\ndir = \"{state}/state\"\n{}{}",
        client("rs", "RS256"),
        client("es", "ES256")
    )
}
