"""The running tailnet: its plan, its nodes, and idp's `tailscale serve`."""

import copy
import itertools
import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import wire

HERE = Path(__file__).parent
NODES = ["idp", "alice", "bob", "ci", "ingress", "carol"]  # the order of the SOCKS ports, as in the script `tailnet`
CAP = "tailscale.com/cap/tsidp"
ISSUER = "https://idp.tail.test"
SERVICE = "https://login.tail.test"
ADMIN = ("127.0.0.1", 9912)


def eventually(what, check, timeout=15.0, every=0.05):
    """The first true result of `check()`; fails with what was seen last when the time is up."""
    deadline, last = time.monotonic() + timeout, None
    while True:
        try:
            last = check()
            if last:
                return last
        except (OSError, AssertionError, subprocess.SubprocessError) as e:
            last = e
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}; last seen: {last!r}"
        time.sleep(every)


class Lab:
    def __init__(self, directory):
        self.dir = Path(directory)
        self.ca = self.dir / "ca.pem"
        self.kernel = (self.dir / "tun").exists()
        self.base_plan = json.loads((HERE / "plan.json").read_text())
        self.plan = copy.deepcopy(self.base_plan)
        self._serial = itertools.count(1)

    # nodes

    def tailscale(self, node, *args, stdin=None):
        done = subprocess.run(
            [self.dir / "bin/tailscale", f"--socket={self.dir}/{node}/s", *args],
            input=stdin, capture_output=True, text=True, timeout=60,
        )
        assert done.returncode == 0, f"tailscale {args}: {done.stdout}{done.stderr}"
        return done.stdout

    def localapi(self, node, path, method="GET", body=None):
        s = wire.unix(self.dir / node / "s")
        return wire.exchange(s, method, f"/localapi/v0/{path}", body=body, host="local-tailscaled.sock")

    def status(self, node="idp"):
        return self.localapi(node, "status").json

    def addresses(self, node):
        """The node's tailnet addresses, IPv4 first."""
        return sorted(self.status(node)["TailscaleIPs"], key=lambda a: ":" in a)

    def stable_id(self, node):
        return self.status(node)["Self"]["ID"]

    def whois(self, address, **query):
        extra = "".join(f"&{k}={v}" for k, v in query.items())
        return self.localapi("idp", f"whois?addr={address}{extra}")

    def pid(self, node):
        return int((self.dir / node / "pid").read_text())

    def script(self, *args):
        subprocess.run([HERE / "tailnet", *args], check=True, timeout=60)

    def kill(self, node):
        self.script("kill", self.dir, node)

    def start(self, node):
        self.script("start", self.dir, node)

    def restart(self, node):
        """A machine that was removed and came back keys its WireGuard session anew only after 15 s; a restart does it at once."""
        self.kill(node)
        self.start(node)

    # ways to idp

    def peer(self, node):
        """Requests from a machine of the tailnet over IPv4."""
        return self._over_socks(node, node, 0)

    def peer6(self, node):
        """The same over IPv6."""
        return self._over_socks(node + " over IPv6", node, 1)

    def _over_socks(self, name, node, family):
        # by address: the netmap in which the SOCKS server looks names up lacks those of Services, and every name while it changes
        addresses = {"idp.tail.test": self.addresses("idp")[family], "login.tail.test": self.base_plan["services"]["svc:login"][family]}
        port = 10801 + NODES.index(node)
        return wire.Peer(name, lambda host, p, timeout: wire.socks(port, addresses[host], p, timeout), self.ca)

    def local(self, source=None):
        """A process on idp's own machine that connects to the tailnet address. Kernel mode only: tailscaled listens there."""
        v4 = self.addresses("idp")[0]

        def dial(_, port, timeout):
            return socket.create_connection((v4, port), timeout=timeout, source_address=(source, 0) if source else None)

        return wire.Peer(f"local process from {source or v4}", dial, self.ca)

    def internet(self):
        """A client at 203.0.113.7, relayed by Funnel's ingress."""
        idp = next(p for p in self.status("ingress")["Peer"].values() if p["HostName"] == "idp")
        api = next(u for u in idp["PeerAPIURL"] if "[" not in u).removeprefix("http://").rstrip("/")
        port = 10801 + NODES.index("ingress")
        return wire.Peer("internet", lambda host, p, _: wire.funnel(port, api, f"{host}:{p}"), self.ca)

    # the plan

    def node(self, name, **fields):
        """`changed` with other fields for one node: `lab.node("carol", jailed=True)`."""
        return self.changed(lambda plan: plan["nodes"][name].update(fields))

    def post_plan(self, plan, wait=True):
        """Tells every node of a changed plan; with `wait`, returns when idp has it."""
        self.plan = copy.deepcopy(plan)
        serial = next(self._serial)
        self.plan["nodes"]["idp"].setdefault("attrs", {})["tsidecar.test/serial"] = [serial]
        body = json.dumps(self.plan).encode()
        s = socket.create_connection(ADMIN, timeout=10)
        answer = wire.exchange(s, "POST", "/plan", body=body)
        assert answer.status == 200, answer
        if wait:
            eventually(f"plan {serial} at idp", lambda: self.plan_at("idp") == serial)

    def touch(self):
        """Makes an event on idp's bus: something about the node itself changed."""
        self.post_plan(self.plan)

    def plan_at(self, node):
        capabilities = self.localapi(node, "status?peers=false").json["Self"].get("CapMap") or {}
        return (capabilities.get("tsidecar.test/serial") or [None])[0]

    @contextmanager
    def changed(self, change, wait=True):
        """`change` edits a copy of the base plan; afterwards the base plan stands again."""
        plan = copy.deepcopy(self.base_plan)
        change(plan)
        try:
            self.post_plan(plan, wait)
            yield
        finally:
            self.post_plan(self.base_plan)

    # serve

    def serve_config(self):
        return self.localapi("idp", "serve-config").json

    def set_serve(self, config):
        self.tailscale("idp", "serve", "set-raw", stdin=json.dumps(config))

    @contextmanager
    def serving(self, change):
        """`change` edits a copy of the present serve config; afterwards the present one stands again. The bus does not tell."""
        before = self.serve_config() or {}
        config = copy.deepcopy(before)
        change(config)
        try:
            self.set_serve(config)
            yield
        finally:
            self.set_serve(before)


def base_serve(socket_path, service_socket):
    """HTTPS for the host on `socket_path` and for svc:login on `service_socket`."""

    def web(name, path):
        return {f"{name}:443": {"Handlers": {"/": {"Proxy": f"unix:{path}"}}}}

    return {
        "TCP": {"443": {"HTTPS": True}},
        "Web": web("idp.tail.test", socket_path),
        "Services": {"svc:login": {"TCP": {"443": {"HTTPS": True}}, "Web": web("login.tail.test", service_socket)}},
    }


def environment_lab():
    return Lab(os.environ["TSIDECAR_TAILNET_DIR"])
