"""Zero-click login of two people through the real serve, over IPv4 and IPv6, as confidential and as public client."""

import pytest

from lab import ISSUER
from rp import oauth_error, page


def expect_alice(claims):
    assert claims["sub"] == "userid:1001"
    assert claims["name"] == "Alice Äxample"
    assert claims["preferred_username"].split("@")[0] == "alice"
    assert (claims["email"], claims["email_verified"]) == ("alice@example.com", True)
    assert claims["picture"] == "https://pics.test/a.png"
    assert claims["groups"] == ["group:eng"]
    assert claims["team"] == "eng"


def expect_bob(claims):
    assert claims["sub"] == "userid:1002"
    assert claims["name"] == "Bob"
    # no address: the suffix makes it one, and it is never verified
    assert claims["email"].startswith("bob@github.")
    assert not claims.get("email_verified")
    assert "group:eng" not in claims.get("groups", [])
    assert "team" not in claims


EXPECT = {"alice": expect_alice, "bob": expect_bob}


@pytest.mark.parametrize("client", ["app", "cli"])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_whole_login(lab, tsidecar, name, family, client):
    peer = lab.peer(name) if family == 4 else lab.peer6(name)
    rp = getattr(tsidecar, client)
    tokens = rp.login(peer)
    EXPECT[name](tokens["claims"])

    info = rp.userinfo(peer, tokens["access_token"])
    assert info.status == 200, info
    EXPECT[name](info.json)

    again = rp.tokens(peer, rp.refresh(peer, tokens["refresh_token"]))
    EXPECT[name](again["claims"])
    assert again["claims"]["auth_time"] == tokens["claims"]["auth_time"]
    assert again["refresh_token"] != tokens["refresh_token"]


def test_a_backend_elsewhere_redeems_for_a_browser(alice, ci, app):
    """The usual web application: the browser is alice's, the code is redeemed by a server on a tagged node."""
    tokens = app.login(alice, backend=ci)
    expect_alice(tokens["claims"])
    expect_alice(app.tokens(ci, app.refresh(ci, tokens["refresh_token"]))["claims"])
    assert app.userinfo(ci, tokens["access_token"]).json["sub"] == "userid:1001"


def test_two_people_over_one_pooled_connection(tsidecar, alice, bob, ci, app):
    """serve keeps one connection to us for everybody: who is calling is decided for each request anew."""
    for _ in range(3):
        codes = {}
        for peer in [alice, bob]:
            login = app.begin()
            codes[peer] = (app.code(app.authorize(peer, login), login), login)
        for peer in [bob, alice]:
            code, login = codes[peer]
            EXPECT[peer.name](app.tokens(ci, app.redeem(ci, code, login), login)["claims"])
    assert tsidecar.backend_connections() == 1


def test_documents(alice):
    openid = alice.get(f"{ISSUER}/.well-known/openid-configuration").json
    oauth = alice.get(f"{ISSUER}/.well-known/oauth-authorization-server").json
    for document in [openid, oauth]:
        assert document["issuer"] == ISSUER
        assert document["authorization_endpoint"] == f"{ISSUER}/authorize"
        assert document["token_endpoint"] == f"{ISSUER}/token"
    assert openid["userinfo_endpoint"] == f"{ISSUER}/userinfo"
    assert openid["jwks_uri"] == f"{ISSUER}/.well-known/jwks.json"


def test_a_token_for_a_resource_is_a_jwt_for_it(alice, app):
    tokens = app.login(alice, resource="https://mcp.test/mcp", scope="openid read offline_access")
    assert tokens["access_token"].count(".") == 2
    app_audience, app.client_id = app.client_id, "https://mcp.test/mcp"
    try:
        claims = app.verify(alice, tokens["access_token"])
    finally:
        app.client_id = app_audience
    assert claims["sub"] == "userid:1001" and claims["client_id"] == "app" and "read" in claims["scope"].split()


def test_a_code_works_once(alice, app):
    login = app.begin()
    code = app.code(app.authorize(alice, login), login)
    tokens = app.tokens(alice, app.redeem(alice, code, login), login)
    oauth_error(app.redeem(alice, code, login), 400, "invalid_grant")
    # and the second try took back what the first had given
    oauth_error(app.refresh(alice, tokens["refresh_token"]), 400, "invalid_grant")


def test_an_unknown_redirect_is_a_page(alice, app):
    login = app.begin(redirect_uri="https://evil.test/callback")
    page(app.authorize(alice, login), 400)


def test_commands_of_the_administrator(lab, tsidecar):
    doctor = tsidecar.command("doctor")
    assert ISSUER in doctor.stdout or "idp.tail.test" in doctor.stdout
    whois = tsidecar.command("whois", lab.addresses("alice")[0])
    assert "alice@example.com" in whois.stdout and "userid:1001" in whois.stdout
    clients = tsidecar.command("client", "list", "--json").stdout
    assert '"app"' in clients and '"cli"' in clients
    assert tsidecar.app.secret not in clients
