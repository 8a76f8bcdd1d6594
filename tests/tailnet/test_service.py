"""A Tailscale Service has its own socket, and on it its own capabilities (A41)."""

import pytest

from lab import CAP, ISSUER, SERVICE


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def browser(request, lab):
    return lab.peer("alice") if request.param == 4 else lab.peer6("alice")


def test_each_listener_asks_for_its_own_capabilities(browser, app):
    """The issuer is one and the same."""
    assert app.login(browser, base=ISSUER)["claims"]["team"] == "eng"
    tokens = app.login(browser, base=SERVICE)
    assert tokens["claims"]["team"] == "eng-by-service"
    assert tokens["claims"]["iss"] == ISSUER


@pytest.mark.parametrize(("began", "other", "team"), [(ISSUER, SERVICE, "eng"), (SERVICE, ISSUER, "eng-by-service")], ids=["host", "service"])
def test_a_grant_keeps_the_listener_on_which_it_began(alice, app, began, other, team):
    login = app.begin()
    code = app.code(app.authorize(alice, login, base=began), login)
    tokens = app.tokens(alice, app.redeem(alice, code, login, base=other), login)
    assert tokens["claims"]["team"] == team
    tokens = app.tokens(alice, app.refresh(alice, tokens["refresh_token"], base=other))
    assert tokens["claims"]["team"] == team
    assert app.userinfo(alice, tokens["access_token"], base=other).json["team"] == team


def test_a_grant_for_the_service_alone_shows_nothing_at_the_host(lab, bob, app):
    def change(plan):
        plan["grants"].append({"src": ["bob"], "dst": ["svc:login"], "app": {CAP: [{"extraClaims": {"team": "service only"}}]}})

    with lab.changed(change):
        assert "team" not in app.login(bob, base=ISSUER)["claims"]
        assert app.login(bob, base=SERVICE)["claims"]["team"] == "service only"
