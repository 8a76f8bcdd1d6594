"""Only tailscaled gets a word in on the sockets of serve, only the administrator on the others, and there is nothing else."""

import os
import stat
import subprocess

import pytest

import wire
from daemon import UID

# what a local process would send to be alice; everybody who is let in gets an answer to it
FORGED = "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {alice}\r\nX-Forwarded-Proto: https\r\nTailscale-User-Login: alice@example.com\r\n\r\n"


def attempt(path, request, uid=None):
    """Connects as another process, under another uid; what came back: a number of bytes, or `denied`."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        result = b"broken"
        try:
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            s = wire.unix(path, timeout=5)
            s.sendall(request.encode())
            result = str(len(s.recv(1000))).encode()
        except PermissionError:
            result = b"denied"
        except ConnectionError:
            result = b"0"
        finally:
            os.write(writer, result)
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as answer:
        return answer.read().decode()


@pytest.fixture
def forged(lab):
    return FORGED.format(alice=lab.addresses("alice")[0])


@pytest.mark.parametrize("name", ["serve_sock", "service_sock", "admin_sock", "ops_sock"])
class TestEverySocket:
    def test_the_folder_keeps_other_users_out(self, tsidecar, forged, name):
        assert attempt(getattr(tsidecar, name), forged, uid=65534) == "denied"
        path = getattr(tsidecar, name)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0

    def test_tsidecars_own_uid_is_refused_at_accept(self, tsidecar, forged, name):
        """The folder lets it pass: what is tested is the check of the peer's credentials."""
        assert attempt(getattr(tsidecar, name), forged, uid=UID) == "0"

    def test_another_uid_that_gets_past_the_folder(self, tsidecar, forged, name):
        path = getattr(tsidecar, name)
        modes = {p: stat.S_IMODE(p.stat().st_mode) for p in [path.parent, path]}
        try:
            for p in modes:
                p.chmod(0o777)
            assert attempt(path, forged, uid=65534) == "0"
        finally:
            for p, mode in modes.items():
                p.chmod(mode)


@pytest.mark.parametrize("name", ["serve_sock", "service_sock"])
def test_root_that_is_not_tailscaled_is_refused(tsidecar, forged, name):
    """Another root daemon must not become somebody's deputy."""
    assert attempt(getattr(tsidecar, name), forged) == "0"


@pytest.mark.parametrize("name", ["admin_sock", "ops_sock"])
def test_a_serve_target_typed_wrongly(lab, tsidecar, alice, name):
    """`tailscale serve` to an administrator's socket: tailscaled's own pid is refused there (A36)."""

    def change(config):
        config["TCP"]["8443"] = {"HTTPS": True}
        config["Web"]["idp.tail.test:8443"] = {"Handlers": {"/": {"Proxy": f"unix:{getattr(tsidecar, name)}"}}}

    with lab.serving(change):
        for path in ["/", "/clients/", "/readyz", "/healthz"]:
            assert alice.get(f"https://idp.tail.test:8443{path}").status == 502
    tsidecar.wait_ready()


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Tailscale-User-Login", "Tailscale-Funnel-Request"])
@pytest.mark.parametrize("name", ["admin_sock", "ops_sock"])
def test_the_administrators_sockets_take_no_relayed_request(tsidecar, name, header):
    """A proxy of root's that is pointed there by mistake."""
    path = getattr(tsidecar, name)
    route = {"ops_sock": "/readyz", "admin_sock": "/clients/"}[name]
    assert wire.exchange(wire.unix(path), "GET", route).status == 200
    assert wire.exchange(wire.unix(path), "GET", route, [(header, "x")]).status in (400, 403)


def test_no_tcp_port_is_ours(tsidecar):
    """In userspace mode every peer of the tailnet reaches every loopback port of this machine."""
    listening = subprocess.check_output(["ss", "-Hlntup"], text=True)
    assert "tailscaled" in listening  # ss sees processes at all
    assert f"pid={tsidecar.process.pid}," not in listening
    assert "tsidecar" not in listening


def test_the_uid_is_its_own(tsidecar):
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{tsidecar.process.pid}/status") if ":\t" in line)
    assert status["Uid"].split() == [str(UID)] * 4
    assert status["Groups"].strip() == ""
    assert int(status["CapEff"], 16) == 0


def test_nothing_of_these_attempts_signed_anybody_in(tsidecar, alice, app):
    """After all of it the right way works."""
    assert app.login(alice)["claims"]["sub"] == "userid:1001"

