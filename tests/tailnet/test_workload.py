"""A tagged machine is its own credential: it gets tokens for itself with no secret, and nobody else gets them (design section 11)."""

import jwt
import pytest

from lab import ISSUER, eventually
from rp import oauth_error

RESOURCE = "https://builds.test"
FORM = {"grant_type": "client_credentials", "client_id": "tag:ci", "resource": RESOURCE}


def ask(peer, headers=(), **changes):
    return peer.post(f"{ISSUER}/token", FORM | changes, headers)


def told(peer, app, token):
    """What the resource server `app` is told of a token."""
    form = {"token": token, "client_id": "app", "client_secret": app.secret}
    return peer.post(f"{ISSUER}/introspect", form).json


@pytest.fixture
def token(ci):
    answer = ask(ci)
    assert answer.status == 200, answer
    return answer.json["access_token"]


def test_a_tagged_machine_needs_no_secret(ci, bob, app):
    answer = ask(ci, scope="openid build")
    assert answer.status == 200, answer
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json
    assert {name: body[name] for name in body if name != "access_token"} == {"token_type": "Bearer", "expires_in": 600, "scope": "build"}
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert claims["sub"] == claims["client_id"] == "tag:ci" and claims["aud"] == RESOURCE
    assert "auth_time" not in claims and "acr" not in claims
    facts = told(bob, app, body["access_token"])
    assert facts["active"] and facts["sub"] == "tag:ci" and "username" not in facts
    # the machine with the tag introspects as the resource, with no secret either
    assert ci.post(f"{ISSUER}/introspect", {"token": body["access_token"], "client_id": "tag:ci"}).json == facts


def test_nobody_else_does(lab, alice, app):
    oauth_error(ask(alice), 401, "invalid_client")
    oauth_error(ask(lab.peer("ingress")), 401, "invalid_client")
    oauth_error(ask(lab.local() if lab.kernel else lab.peer("idp")), 401, "invalid_client")


def test_not_through_funnel(lab, tsidecar):
    def allow(config):
        config["AllowFunnel"] = {"idp.tail.test:443": True}

    with lab.serving(allow):
        internet = lab.internet()
        address = lab.addresses("ci")[0]
        for headers in [[], [("X-Forwarded-For", address)], [("Tailscale-Funnel-Request", "?0")]]:
            oauth_error(ask(internet, headers), 401, "invalid_client")


@pytest.mark.parametrize("header", [("Origin", "https://evil.test"), ("Sec-Fetch-Site", "cross-site")])
def test_a_page_in_a_browser_on_it_is_not_the_machine(ci, header):
    oauth_error(ask(ci, [header]), 401, "invalid_client")


@pytest.mark.parametrize(
    "fields",
    [{"routes": ["10.9.0.0/24"]}, {"sharer": "bob"}, {"tags": ["tag:other"]}],
    ids=["router", "shared in", "another tag"],
)
def test_while_it_is_no_workload_its_token_is_worth_nothing(lab, ci, bob, app, token, fields):
    assert told(bob, app, token)["active"]
    with lab.node("ci", **fields):
        oauth_error(ask(ci), 401, "invalid_client")
        assert told(bob, app, token) == {"active": False}
    eventually("the machine is a workload again", lambda: ask(ci).status == 200)
    assert told(bob, app, token)["active"]
