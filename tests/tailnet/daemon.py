"""tsidecar behind idp's `tailscale serve`, under a uid of its own."""

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import wire
from lab import ISSUER, eventually
from rp import RelyingParty

UID = 4711  # no passwd entry: tsidecar is a plain unprivileged stranger to tailscaled

CONFIG = """\
issuer = "{issuer}"
[tailscale]
socket = "{tailscaled}"
[listen]
socket = "{run}/serve.sock"
admin_socket = "{run}/admin.sock"
ops_socket = "{run}/ops.sock"
[[listen.service]]
name = "svc:login"
socket = "{run}/svc-login.sock"
[state]
dir = "{state}"
[[client]]
id = "app"
name = "Web application"
secret_file = "{etc}/app.secret"
redirect_uris = ["https://app.test/callback"]
[[client]]
id = "cli"
name = "Command line"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
[[resource]]
uri = "https://mcp.test/mcp"
scopes = ["read", "write"]
clients = ["*"]
servers = ["app"]
[[resource]]
uri = "https://builds.test"
scopes = ["build"]
clients = ["tag:ci"]
servers = ["app", "tag:ci"]
[[workload]]
tag = "tag:ci"
"""


class Tsidecar:
    """One installation: sockets below /run (tsidecar refuses /tmp and homes), the rest in the tailnet's folder."""

    def __init__(self, lab, binary, name, tables=""):
        self.lab, self.process, self.tables = lab, None, tables
        self.run = Path(f"/run/tsidecar-test-{os.environ.get('TAILNET_NS', 'tailnet')}-{name}")
        self.home = lab.dir / f"tsidecar-{name}"
        self.config, self.log = self.home / "etc/tsidecar.toml", self.home / "log"
        self.serve_sock, self.service_sock = self.run / "serve.sock", self.run / "svc-login.sock"
        self.admin_sock, self.ops_sock = self.run / "admin.sock", self.run / "ops.sock"
        self.app = RelyingParty("app", "https://app.test/callback", secret="".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(56)))
        self.cli = RelyingParty("cli", "http://127.0.0.1/callback")
        self._install(Path(binary))

    def _install(self, binary):
        etc, state = self.home / "etc", self.home / "state"
        for folder, mode in [(self.run, 0o700), (self.home, 0o755), (etc, 0o755), (state, 0o700)]:
            folder.mkdir(mode=mode)
            folder.chmod(mode)
        for folder in [self.run, state]:
            os.chown(folder, UID, UID)
        # the build folder may lie where uid 4711 cannot reach
        self.binary = self.home / "tsidecar"
        shutil.copy(binary, self.binary)
        self.binary.chmod(0o755)
        secret = etc / "app.secret"
        secret.write_text(self.app.secret + "\n")
        os.chown(secret, 0, UID)
        secret.chmod(0o640)
        self.config.write_text(
            CONFIG.format(issuer=ISSUER, tailscaled=self.lab.dir / "idp/s", run=self.run, etc=etc, state=state) + self.tables
        )

    def start(self, ready=True):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", self.binary, "serve", "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )
        (self.home / "pid").write_text(str(self.process.pid))
        if ready:
            self.wait_ready()

    def _alive(self):
        # not an AssertionError: waiting on cannot help
        if self.process.poll() is not None:
            raise RuntimeError(f"tsidecar ended with {self.process.returncode}:\n{self.log_text()[-4000:]}")

    def wait_ready(self, timeout=35.0):
        def check():
            self._alive()
            return self.ready().status == 200

        eventually("tsidecar ready", check, timeout)

    def wait_not_ready(self, reason, timeout=35.0):
        """Waits until /readyz is 503 and names `reason`; gives its text."""

        def check():
            self._alive()
            answer = self.ready()
            return answer.status == 503 and reason in answer.text and answer.text

        return eventually(f"tsidecar not ready because of {reason!r}", check, timeout)

    def ready(self):
        return wire.exchange(wire.unix(self.ops_sock), "GET", "/readyz")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM, and the exit code; SIGKILL if it does not go within its own deadline."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self.process.returncode

    def remove(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.run, ignore_errors=True)

    def command(self, *args, ok=True):
        done = subprocess.run([self.binary, *args, "--config", self.config], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        assert not ok or done.returncode == 0, f"tsidecar {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def log_text(self):
        return self.log.read_text(errors="replace")

    def backend_connections(self):
        """How many connections to serve.sock are open, counted at our end."""
        lines = subprocess.check_output(["ss", "-Hx", "state", "established"], text=True).splitlines()
        return sum(1 for line in lines if str(self.serve_sock) in line)


