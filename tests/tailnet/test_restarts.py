"""kill -9 of tailscaled and of tsidecar: no restart of the other, nothing acknowledged is lost, nothing spent works again."""

import time

import pytest

from lab import eventually
from rp import oauth_error


def test_tailscaled_dies_and_comes_back(lab, tsidecar, alice, bob, app, cli):
    tokens = {rp: rp.login(alice) for rp in [app, cli]}
    pid = tsidecar.process.pid
    lab.kill("idp")
    try:
        answer = eventually("not ready without tailscaled", lambda: (a := tsidecar.ready()).status == 503 and a, timeout=5)
        assert "tailscaled" in answer.text
    finally:
        lab.start("idp")
    tsidecar.wait_ready()
    # at no point did it take the missing netmap for a removed person
    for rp, got in tokens.items():
        answer = eventually("refresh works again", lambda: _ready(rp.refresh(alice, got["refresh_token"], scope=got["scope"])))
        assert rp.tokens(alice, answer)["claims"]["sub"] == "userid:1001"
    assert app.login(bob)["claims"]["sub"] == "userid:1002"
    assert tsidecar.process.pid == pid and tsidecar.process.poll() is None


def _ready(answer):
    """Any answer but 503; what is not one must be a success, which the caller checks."""
    return answer.status != 503 and answer


def test_requests_during_the_recovery_are_503_or_right(lab, tsidecar, alice, app):
    """From the first answer after the restart on: 503 with Retry-After, or success; never invalid_grant (A48)."""
    token = app.login(alice)["refresh_token"]
    lab.kill("idp")
    lab.start("idp")
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        try:
            answer = app.refresh(alice, token)
        except OSError:
            continue  # serve is not up yet
        if answer.status == 502:
            continue  # serve's own answer
        if answer.status == 200:
            break
        oauth_error(answer, 503, "temporarily_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    tsidecar.wait_ready()


def test_tsidecar_dies_and_comes_back(tsidecar, alice, app, cli):
    login = app.begin()
    code = app.code(app.authorize(alice, login), login)
    tokens = app.tokens(alice, app.redeem(alice, code, login), login)
    device = cli.login(alice)
    rotated = app.tokens(alice, app.refresh(alice, tokens["refresh_token"]))
    waiting = app.begin()
    unused = app.code(app.authorize(alice, waiting), waiting)

    tsidecar.kill()
    answer = alice.get("https://idp.tail.test/.well-known/jwks.json")
    assert answer.status == 502, answer
    tsidecar.start()

    # a code that nobody had redeemed still works, once
    assert app.redeem(alice, unused, waiting).status == 200
    oauth_error(app.redeem(alice, unused, waiting), 400, "invalid_grant")
    # tokens from before are good, and verify by the same keys
    assert app.verify(alice, tokens["id_token"])["sub"] == "userid:1001"
    assert app.userinfo(alice, rotated["access_token"]).status == 200
    again = app.tokens(alice, app.refresh(alice, rotated["refresh_token"]))
    assert cli.refresh(alice, device["refresh_token"]).status == 200
    # a code that was redeemed before stays used, and showing it again ends its grant
    oauth_error(app.redeem(alice, code, login), 400, "invalid_grant")
    oauth_error(app.refresh(alice, again["refresh_token"]), 400, "invalid_grant")


def test_a_code_of_another_life_of_the_daemon_cannot_be_replayed(tsidecar, alice, app):
    login = app.begin()
    code = app.code(app.authorize(alice, login), login)
    assert app.redeem(alice, code, login).status == 200
    for _ in range(2):
        tsidecar.kill()
        tsidecar.start()
        oauth_error(app.redeem(alice, code, login), 400, "invalid_grant")


def test_an_orderly_stop(tsidecar, alice, app):
    tokens = app.login(alice)
    assert tsidecar.stop() == 0
    tsidecar.start()
    assert app.refresh(alice, tokens["refresh_token"]).status == 200


@pytest.mark.parametrize("what", ["secret", "codes and tokens"])
def test_logs_are_free_of_secrets(tsidecar, alice, app, what):
    login = app.begin()
    code = app.code(app.authorize(alice, login), login)
    tokens = app.tokens(alice, app.redeem(alice, code, login), login)
    log = tsidecar.log_text()
    secrets = [app.secret] if what == "secret" else [code, login.verifier, tokens["access_token"], tokens["refresh_token"], tokens["id_token"]]
    assert log and not [s for s in secrets if s in log]
