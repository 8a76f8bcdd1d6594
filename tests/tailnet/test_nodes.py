"""Machines that may not sign anybody in: tagged, idp itself, shared, jailed, expired, routing, removed (design section 4)."""

import pytest

from lab import eventually
from rp import oauth_error, page
from wire import NoAnswer


def test_a_tagged_node_is_nobody(ci, app):
    login = app.begin()
    app.refused(app.authorize(ci, login), login)


def test_the_machine_of_tsidecar_itself(lab, app):
    """Any process there could otherwise act as the owner of the machine."""
    peer = lab.local() if lab.kernel else lab.peer("idp")
    login = app.begin()
    app.refused(app.authorize(peer, login), login)


def test_the_machine_of_tsidecar_itself_owned_by_a_person(lab, app):
    """The same when the machine is not tagged: the check is by node, not by tag."""

    def change(plan):
        idp = plan["nodes"]["idp"]
        del idp["tags"], idp["hosts"]
        idp["user"] = "alice"

    peer = lab.local() if lab.kernel else lab.peer("idp")
    with lab.changed(change):
        assert lab.whois(lab.addresses("idp")[0]).json["UserProfile"]["LoginName"] == "alice@example.com"
        login = app.begin()
        app.refused(app.authorize(peer, login), login)


@pytest.mark.parametrize(
    "fields",
    [{"sharer": "bob"}, {"sharee": True}, {"routes": ["10.9.0.0/24"]}, {"routes": ["0.0.0.0/0", "::/0"]}],
    ids=["shared in", "shared out", "subnet router", "exit node"],
)
def test_denied_while_it_is_so(lab, carol, bob, app, fields):
    """Neither a new login nor a refresh of an older one; afterwards both go on as before."""
    tokens = app.login(carol)
    with lab.node("carol", **fields):
        login = app.begin()
        app.refused(app.authorize(carol, login), login)
        oauth_error(app.refresh(bob, tokens["refresh_token"]), 400, "invalid_grant")
        assert app.userinfo(bob, tokens["access_token"]).status == 401
    assert app.login(carol)["claims"]["sub"] == "userid:1003"


@pytest.mark.parametrize("fields", [{"expired": True}, {"jailed": True}], ids=["expired", "jailed"])
def test_cut_off(lab, carol, bob, app, fields):
    """The tailnet carries nothing from it any more, and what it got before is worth nothing, whoever brings it."""
    tokens = app.login(carol)
    with lab.node("carol", **fields):
        with pytest.raises((TimeoutError, NoAnswer)):
            app.authorize(carol, app.begin(), timeout=1.0)
        oauth_error(app.refresh(bob, tokens["refresh_token"]), 400, "invalid_grant")
        assert app.userinfo(bob, tokens["access_token"]).status == 401
    eventually("carol signs in again", lambda: app.login(carol))


def test_a_removed_machine(lab, carol, bob, app):
    """Within a second, and before its code is redeemed too."""
    tokens = app.login(carol)
    login = app.begin()
    code = app.code(app.authorize(carol, login), login)
    with lab.changed(lambda plan: plan["nodes"]["carol"].update(removed=True), wait=False):
        answer = eventually(
            "carol's refresh fails", lambda: (a := app.refresh(bob, tokens["refresh_token"])).status != 200 and a or _newer(tokens, a), timeout=1.0
        )
        oauth_error(answer, 400, "invalid_grant")
        oauth_error(app.redeem(bob, code, login), 400, "invalid_grant")
        assert app.userinfo(bob, tokens["access_token"]).status == 401
    lab.restart("carol")
    eventually("carol signs in again", lambda: app.login(carol))


def _newer(tokens, answer):
    """The refresh still worked: go on with its successor."""
    tokens["refresh_token"] = answer.json["refresh_token"]


def test_a_removed_person(lab, carol, bob, app):
    """Machine and account gone together."""

    def change(plan):
        del plan["nodes"]["carol"], plan["users"]["carol"]

    tokens = app.login(carol)
    with lab.changed(change):
        oauth_error(app.refresh(bob, tokens["refresh_token"]), 400, "invalid_grant")
    lab.restart("carol")
    eventually("carol signs in again", lambda: app.login(carol))


def test_a_machine_that_changes_hands(lab, carol, bob, app):
    """The same node now belongs to bob: carol's grant is not his, and his login from it is his own."""
    tokens = app.login(carol)
    with lab.node("carol", user="bob"):
        oauth_error(app.refresh(bob, tokens["refresh_token"]), 400, "invalid_grant")
        assert app.login(carol)["claims"]["sub"] == "userid:1002"
    assert app.login(carol)["claims"]["sub"] == "userid:1003"


def test_a_machine_that_becomes_a_workload(lab, carol, bob, app):
    tokens = app.login(carol)
    with lab.node("carol", user="", tags=["tag:ci"]):
        oauth_error(app.refresh(bob, tokens["refresh_token"]), 400, "invalid_grant")
        login = app.begin()
        app.refused(app.authorize(carol, login), login)


@pytest.mark.kernel
def test_an_address_that_the_tailnet_does_not_know(lab, app):
    """A process, or in the weak host model a LAN neighbour, that reaches the tailnet address from elsewhere: Funnel's rights."""
    stranger = lab.local(source="127.0.0.1")
    assert stranger.get("https://idp.tail.test/.well-known/openid-configuration").status == 200
    text = page(app.authorize(stranger, app.begin()), 403)
    assert "tailnet" in text
