"""Hosted MCP clients (reference/oauth.md 4.1): the cloud reaches metadata, registration and token by Funnel, the person signs in from
a browser in the tailnet. One hostname, one issuer string, and nothing else is reachable from outside (A13)."""

import json
import os

import pytest

from daemon import Tsidecar
from hosted import Cloud, SigningClient, allowed, answer
from lab import ISSUER, base_serve
from rp import RelyingParty, oauth_error, page
from test_funnel import FORGED

DOCUMENTS = ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]
CALLBACK = "https://hosted.example/callback"


@pytest.fixture(scope="module")
def cloud(lab):
    cloud = Cloud(lab)
    yield cloud
    cloud.stop()


def open_daemon(lab, name, tables):
    """A tsidecar of its own behind idp's serve and Funnel; afterwards serve leads to the main one again."""
    daemon = Tsidecar(lab, os.environ["TSIDECAR_BINARY"], name, tables)

    def lead_here(config):
        config.update(base_serve(daemon.serve_sock, daemon.service_sock), AllowFunnel={"idp.tail.test:443": True})

    try:
        daemon.start(ready=False)
        with lab.serving(lead_here):
            daemon.wait_ready()
            yield daemon
        daemon.stop()
    finally:
        daemon.remove()


@pytest.fixture(scope="module")
def hosting(lab, cloud, tsidecar):
    trusted = f'[clients]\ntrusted = ["{cloud.origin}/trusted/"]\n'
    yield from open_daemon(lab, "hosting", f"[registration]\nfunnel = true\nfunnel_per_hour = 12\n{trusted}{cloud.tables}")


@pytest.fixture(scope="module")
def internet(lab, hosting):
    return lab.internet()


def register(peer, **metadata):
    return peer.request("POST", f"{ISSUER}/register", document={"client_name": "Hosted", "redirect_uris": [CALLBACK]} | metadata)


def registered(peer, **metadata):
    said = register(peer, **metadata)
    assert said.status == 201, said
    told = said.json
    return RelyingParty(told["client_id"], told["redirect_uris"][0], told.get("client_secret"))


@pytest.mark.parametrize("path", DOCUMENTS)
def test_one_issuer_and_one_document(internet, alice, bob, path):
    outside, inside = internet.get(ISSUER + path), alice.get(ISSUER + path)
    assert outside.status == 200 and inside.body == bob.get(ISSUER + path).body
    kept = {name: value for name, value in inside.json.items() if name != "device_authorization_endpoint"}
    assert outside.body.decode() == json.dumps(kept, separators=(",", ":"), ensure_ascii=False)
    assert outside.json["issuer"] == ISSUER
    assert outside.json["registration_endpoint"] == f"{ISSUER}/register"
    assert outside.json["client_id_metadata_document_supported"] is True
    assert "none" in outside.json["token_endpoint_auth_methods_supported"]
    for name, value in outside.json.items():
        if name.endswith("_endpoint") or name.endswith("_uri"):
            assert value.startswith(ISSUER + "/"), name


@pytest.mark.parametrize("method", ["none", "client_secret_basic"])
def test_a_client_registered_by_funnel(internet, alice, method):
    """The whole way of a hosted client: registered and redeemed by Funnel, allowed on a page in the tailnet, once."""
    client = registered(internet, token_endpoint_auth_method=method)
    assert (client.secret is None) == (method == "none")
    login = client.begin()
    code, text = allowed(alice, client, login)
    assert "hosted.example" in text and "Nobody has checked" in text
    tokens = client.tokens(internet, client.redeem(internet, code, login), login)
    assert tokens["claims"]["sub"] == "userid:1001" and tokens["claims"]["iss"] == ISSUER
    assert client.userinfo(internet, tokens["access_token"]).json["sub"] == "userid:1001"
    tokens = client.tokens(internet, client.refresh(internet, tokens["refresh_token"]))
    # remembered: the next time nobody is asked
    again = client.begin()
    code = client.code(client.authorize(alice, again), again)
    assert client.redeem(internet, code, again).status == 200
    if method == "none":
        oauth_error(client.refresh(alice, tokens["refresh_token"]), 400, "invalid_grant")
        assert client.refresh(internet, tokens["refresh_token"]).status == 200


def test_its_page_is_answered_in_the_tailnet_only(internet, alice, bob):
    client = registered(internet, token_endpoint_auth_method="none")
    login = client.begin()
    assert "tailnet" in page(client.authorize(internet, login, headers=FORGED), 403)
    asked = client.authorize(alice, login)
    refused = answer(internet, asked, "allow")
    assert refused.status == 403 and "Location" not in refused.headers, refused
    # nor by another person than the one who was asked
    refused = answer(bob, asked, "allow")
    assert "Location" not in refused.headers, refused
    back = client.redirect(answer(alice, asked, "deny"), login)
    assert back["error"] == "access_denied"


def test_a_loopback_client_that_came_by_funnel_is_nobodys_own(internet, alice):
    client = registered(internet, redirect_uris=["http://127.0.0.1/callback"], token_endpoint_auth_method="none")
    assert 'value="allow"' in page(client.authorize(alice, client.begin()), 200)


def test_a_registration_is_managed_by_funnel(internet):
    told = register(internet).json
    uri, headers = told["registration_client_uri"], [("Authorization", f"Bearer {told['registration_access_token']}")]
    assert uri.startswith(f"{ISSUER}/register/")
    assert internet.get(uri, headers).json["client_id"] == told["client_id"]
    assert internet.get(uri).status == 401
    assert internet.request("DELETE", uri, headers).status == 204
    oauth_error(RelyingParty(told["client_id"], CALLBACK).refresh(internet, "x"), 401, "invalid_client")


@pytest.mark.parametrize("method", ["none", "private_key_jwt"])
def test_a_client_known_by_its_document(cloud, internet, alice, method):
    path = f"/clients/{method}.json"
    client_id, redirect = cloud.origin + path, f"{cloud.origin}/callback"
    client = RelyingParty(client_id, redirect) if method == "none" else SigningClient(client_id, redirect)
    cloud.documents[path] = {
        "client_id": client_id, "client_name": "Cloud", "redirect_uris": [redirect], "token_endpoint_auth_method": method,
        "grant_types": ["authorization_code", "refresh_token"],
    }  # fmt: skip
    if method != "none":
        cloud.documents[path]["jwks_uri"] = f"{cloud.origin}/jwks.json"
        cloud.documents["/jwks.json"] = client.jwks()
    login = client.begin()
    code, text = allowed(alice, client, login)
    assert cloud.NAME in text
    tokens = client.tokens(internet, client.redeem(internet, code, login), login)
    assert client.refresh(internet, tokens["refresh_token"]).status == 200
    assert cloud.asked.count(path) == 1


def test_a_trusted_document_needs_no_click(cloud, internet, alice):
    path = "/trusted/client.json"
    client = RelyingParty(cloud.origin + path, f"{cloud.origin}/callback")
    cloud.documents[path] = {
        "client_id": client.client_id, "client_name": "Trusted", "redirect_uris": [client.redirect_uri],
        "token_endpoint_auth_method": "none",
    }  # fmt: skip
    tokens = client.login(alice, backend=internet)
    assert tokens["claims"]["sub"] == "userid:1001"


def test_a_document_that_is_not_there(cloud, internet, alice):
    client = RelyingParty(f"{cloud.origin}/clients/nobody.json", CALLBACK)
    page(client.authorize(alice, client.begin()), 400)
    oauth_error(client.refresh(internet, "tsrt_x"), 401, "invalid_client")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    # Each page of the provider, by each of its methods; those of the forms have no other.
    [("GET", "/authorize", 403), ("POST", "/authorize", 403), ("POST", "/authorize/continue", 403), ("GET", "/authorize/continue", 405),
     ("POST", "/authorize/consent", 403), ("GET", "/authorize/consent", 405), ("GET", "/consents", 403), ("POST", "/consents", 403),
     ("GET", "/logout", 403), ("POST", "/logout", 403), ("GET", "/device", 403), ("POST", "/device", 403),
     ("POST", "/device_authorization", 403), ("GET", "/device_authorization", 405),
     # What is not there, or on another listener.
     ("GET", "/", 404), ("GET", "/clients/", 404), ("GET", "/admin", 404), ("GET", "/apps", 404), ("GET", "/healthz", 404),
     ("GET", "/readyz", 404), ("GET", "/metrics", 404)],
)  # fmt: skip
def test_nothing_else_is_reachable(internet, method, path, status):
    reply = internet.request(method, ISSUER + path, FORGED)
    assert reply.status == status, reply
    assert "alice" not in reply.text.lower()


def test_the_internet_has_one_allowance_of_registrations(internet):
    """Last: it uses it up. One egress serves all people of a hosted client, so nothing is counted by address."""
    replies = [register(internet) for _ in range(13)]
    limited = replies[-1]
    oauth_error(limited, 429, "temporarily_unavailable")
    assert int(limited.headers["Retry-After"]) > 0
    assert internet.get(ISSUER + DOCUMENTS[0]).status == 200
