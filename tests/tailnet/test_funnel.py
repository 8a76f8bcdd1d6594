"""Through Funnel, from the internet, only the public endpoints answer."""

import json

import pytest

from lab import ISSUER
from rp import oauth_error, page

# a header that the real relay never lets through unchanged; none of the forms changes anything
MARKERS = {"absent": [], "?0": [("Tailscale-Funnel-Request", "?0")], "empty": [("Tailscale-Funnel-Request", "")]}
FORGED = [("Tailscale-User-Login", "alice@example.com"), ("X-Forwarded-For", "100.64.0.2"), ("Tailscale-User-Name", "Alice")]


@pytest.fixture(scope="module")
def internet(lab, tsidecar):
    def allow(config):
        config["AllowFunnel"] = {"idp.tail.test:443": True}

    with lab.serving(allow):
        yield lab.internet()


def test_keys(internet, alice):
    answer = internet.get(ISSUER + "/.well-known/jwks.json")
    assert answer.status == 200 and answer.body == alice.get(ISSUER + "/.well-known/jwks.json").body


# what is for the tailnet only, and so is not told to the internet
INSIDE = {"device_authorization_endpoint", "registration_endpoint"}


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"])
def test_documents(internet, alice, path):
    """One issuer, and the same members byte for byte, but for what refuses the internet."""
    outside, inside = internet.get(ISSUER + path), alice.get(ISSUER + path)
    assert outside.status == inside.status == 200
    assert outside.json["issuer"] == ISSUER
    assert set(inside.json) - set(outside.json) == INSIDE
    kept = {name: value for name, value in inside.json.items() if name not in INSIDE}
    assert outside.body.decode() == json.dumps(kept, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("marker", MARKERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_authorize_is_a_page_that_says_to_open_it_from_the_tailnet(internet, app, method, marker):
    login = app.begin()
    headers = MARKERS[marker] + FORGED
    if method == "GET":
        answer = app.authorize(internet, login, headers=headers)
    else:
        answer = internet.post(f"{ISSUER}/authorize", login.params, headers)
    text = page(answer, 403)
    assert "tailnet" in text and "alice" not in text.lower()


def test_a_backend_on_the_internet(internet, alice, app):
    """Its user is in the tailnet, it is not: token, userinfo and refresh reach us by Funnel."""
    tokens = app.login(alice, backend=internet)
    assert tokens["claims"]["sub"] == "userid:1001"
    assert app.userinfo(internet, tokens["access_token"]).json["sub"] == "userid:1001"
    tokens = app.tokens(internet, app.refresh(internet, tokens["refresh_token"]))
    assert tokens["claims"]["team"] == "eng"


def test_a_public_client_redeemed_by_funnel_stays_there(internet, alice, cli):
    """Bound to the place of its redemption: `Funnel` is one place, alice's machine another."""
    tokens = cli.login(alice, backend=internet)
    oauth_error(cli.refresh(alice, tokens["refresh_token"]), 400, "invalid_grant")
    assert cli.refresh(internet, tokens["refresh_token"]).status == 200


def test_nothing_without_a_secret(internet, alice, app):
    login = app.begin()
    code = app.code(app.authorize(alice, login), login)
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": app.redirect_uri, "code_verifier": login.verifier, "client_id": "app"}
    oauth_error(internet.post(f"{ISSUER}/token", form, FORGED), 401, "invalid_client")
    # a failed authentication burns nothing
    assert app.redeem(internet, code, login).status == 200


def test_registration_is_off_by_default(internet):
    """With the switch on: test_hosted.py."""
    metadata = {"client_name": "Hosted", "redirect_uris": ["https://hosted.example/callback"]}
    for headers in [[], FORGED]:
        oauth_error(internet.request("POST", f"{ISSUER}/register", headers, document=metadata), 403, "access_denied")


@pytest.mark.parametrize(
    "path",
    ["/", "/admin", "/admin/", "/admin/clients", "/clients/", "/clients/new", "/register/", "/register/x/y", "/authorize/", "/logout/", "/device/",
     "/healthz", "/readyz", "/metrics", "/debug", "/.well-known/", "//authorize", "/Authorize", "/token/", "/nothing"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_everything_else_is_not_there(internet, method, path):
    answer = internet.request(method, ISSUER + path, FORGED)
    assert answer.status == 404, answer
    assert "alice" not in answer.text.lower()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/logout", 403), ("POST", "/logout", 403), ("DELETE", "/logout", 405), ("GET", "/device", 403), ("POST", "/device", 403),
     ("DELETE", "/device", 405), ("POST", "/device_authorization", 403), ("GET", "/device_authorization", 405),
     ("POST", "/authorize/continue", 403), ("POST", "/authorize/consent", 403), ("GET", "/consents", 403), ("POST", "/consents", 403),
     ("POST", "/register", 403), ("GET", "/register", 405), ("GET", "/register/x", 403), ("PUT", "/register/x", 403),
     ("DELETE", "/register/x", 403)],
)  # fmt: skip
def test_what_people_and_devices_do_is_for_the_tailnet_only(internet, method, path, status):
    answer = internet.request(method, ISSUER + path, FORGED)
    assert answer.status == status, answer
    assert "alice" not in answer.text.lower()
    if status == 403 and path in ("/logout", "/device", "/consents"):
        assert "tailnet" in page(answer, 403)


def test_health_is_not_there_for_the_tailnet_either(alice):
    for path in ["/healthz", "/readyz", "/metrics"]:
        assert alice.get(ISSUER + path).status == 404


def test_a_forged_marker_from_the_tailnet_is_dropped_by_serve(internet, alice, app):
    login = app.begin()
    app.code(app.authorize(alice, login, headers=[("Tailscale-Funnel-Request", "?1")]), login)
