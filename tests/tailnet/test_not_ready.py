"""While the way to our sockets is not only serve's, tsidecar serves nobody and says why (design section 4, A35)."""

from contextlib import contextmanager
from urllib.parse import urlencode

import pytest

import wire

from lab import ISSUER
from rp import oauth_error, page


@contextmanager
def tcp_forward(lab, tsidecar):
    """Raw bytes of any client straight to our socket: its own headers, no Funnel marker."""
    with lab.serving(lambda config: config["TCP"].update({"9000": {"TCPForward": f"unix:{tsidecar.serve_sock}"}})):
        lab.touch()
        yield


@contextmanager
def terminated_tcp(lab, tsidecar):
    forward = {"TCPForward": f"unix:{tsidecar.service_sock}", "TerminateTLS": "idp.tail.test"}
    with lab.serving(lambda config: config["TCP"].update({"9000": forward})):
        lab.touch()
        yield


@contextmanager
def other_mount(lab, tsidecar):
    """Another application under our origin: its scripts are ours to the browser."""
    with lab.serving(lambda config: config["Web"]["idp.tail.test:443"]["Handlers"].update({"/other": {"Text": "hello"}})):
        lab.touch()
        yield


@contextmanager
def noticed_by_itself(lab, tsidecar):
    """No event: a serve config is looked at every 30 s."""
    with lab.serving(lambda config: config["TCP"].update({"9001": {"TCPForward": f"unix:{tsidecar.ops_sock}"}})):
        yield


@contextmanager
def tailscale_ssh(lab, tsidecar):
    lab.tailscale("idp", "set", "--ssh")
    try:
        yield
    finally:
        lab.tailscale("idp", "set", "--ssh=false")


REASONS = {"a TCP forward that nothing tells of": (noticed_by_itself, "9001"), "a TCP forward": (tcp_forward, "9000"), "a TCP forward that ends TLS": (terminated_tcp, "9000"),
           "another mount": (other_mount, "/other"), "Tailscale SSH": (tailscale_ssh, "SSH")}  # fmt: skip


@pytest.mark.parametrize("what", REASONS)
def test_not_ready_and_ready_again(lab, tsidecar, alice, app, what):
    change, named = REASONS[what]
    tokens = app.login(alice)
    login = app.begin()
    code = app.code(app.authorize(alice, login), login)
    with change(lab, tsidecar):
        tsidecar.wait_not_ready(named)
        answer = app.authorize(alice, app.begin())
        assert named in page(answer, 503) and int(answer.headers["Retry-After"]) > 0
        for answer in [app.refresh(alice, tokens["refresh_token"]), app.redeem(alice, code, login), app.userinfo(alice, tokens["access_token"])]:
            assert named in oauth_error(answer, 503, "temporarily_unavailable") and int(answer.headers["Retry-After"]) > 0
        # serve must get to hand each of them on: an answer before the whole request had come would make it 502
        assert {app.refresh(alice, tokens["refresh_token"]).status for _ in range(20)} == {503}
        doctor = tsidecar.command("doctor", ok=False)
        assert doctor.returncode != 0 and named in doctor.stdout + doctor.stderr
        assert named in tsidecar.log_text()
    tsidecar.wait_ready()
    # nothing was burned meanwhile
    assert app.refresh(alice, tokens["refresh_token"]).status == 200
    assert alice.get(f"{ISSUER}/.well-known/jwks.json").status == 200


def test_bytes_of_a_tcp_forward_sign_nobody_in(lab, tsidecar, bob, app):
    """The forward itself, used at once: bob writes alice's address with his own hand."""
    request = "GET /authorize?" + urlencode(app.begin().params)
    forged = [("X-Forwarded-For", lab.addresses("alice")[0]), ("X-Forwarded-Proto", "https"), ("Tailscale-User-Login", "alice@example.com")]
    with tcp_forward(lab, tsidecar):
        tsidecar.wait_not_ready("9000")
        s = wire.socks(10803, lab.addresses("idp")[0], 9000)
        try:
            answer = wire.exchange(s, *request.split(" "), forged)
            assert answer.status == 503 and "Location" not in answer.headers
        except wire.NoAnswer:
            pass
    tsidecar.wait_ready()
