"""Whatever a client sends, it is signed in as the owner of the machine that it really calls from."""

from urllib.parse import urlencode

import pytest

import wire

FORGED = {
    "one X-Forwarded-For": [("X-Forwarded-For", "{bob}")],
    "two in one field": [("X-Forwarded-For", "{bob}, {alice}")],
    "two fields": [("X-Forwarded-For", "{bob}"), ("X-Forwarded-For", "{alice}")],
    "X-Forwarded-For named in Connection": [("Connection", "close, X-Forwarded-For"), ("X-Forwarded-For", "{bob}")],
    "identity headers named in Connection": [("Connection", "close, Tailscale-User-Login, X-Forwarded-Proto, Tailscale-User-Name")],
    "Tailscale-User-Login": [("Tailscale-User-Login", "bob@github"), ("Tailscale-User-Name", "Bob")],
    "Tailscale-User-Login twice": [("Tailscale-User-Login", "bob@github"), ("tailscale-user-login", "bob@github")],
    "Tailscale-Funnel-Request": [("Tailscale-Funnel-Request", "?1")],
    "Tailscale-App-Capabilities": [("Tailscale-App-Capabilities", '{{"tailscale.com/cap/tsidp":[{{"extraClaims":{{"team":"root"}}}}]}}')],
    "Forwarded": [("Forwarded", "for={bob};host=evil.test;proto=https")],
    "X-Real-IP and relatives": [("X-Real-IP", "{bob}"), ("True-Client-IP", "{bob}"), ("X-Client-IP", "{bob}"), ("CF-Connecting-IP", "{bob}")],
    "X-Forwarded-Host and Port": [("X-Forwarded-Host", "evil.test"), ("X-Forwarded-Port", "8443"), ("X-Forwarded-Prefix", "/evil")],
    "X-Forwarded-Proto": [("X-Forwarded-Proto", "http")],
    "underscore twins": [("X_Forwarded_For", "{bob}"), ("Tailscale_User_Login", "bob@github"), ("Tailscale_Funnel_Request", "?1")],
    "unknown Tailscale headers": [("Tailscale-Admin", "true"), ("Tailscale-Node", "{bob}")],
}


@pytest.mark.parametrize("what", FORGED)
def test_the_true_caller_is_signed_in(lab, alice, bob, app, what):
    addresses = {"alice": lab.addresses("alice")[0], "bob": lab.addresses("bob")[0]}
    headers = [(name, value.format(**addresses)) for name, value in FORGED[what]]
    login = app.begin()
    answer = app.authorize(alice, login, headers=headers)
    tokens = app.tokens(bob, app.redeem(bob, app.code(answer, login), login), login)
    assert tokens["claims"]["sub"] == "userid:1001"
    assert tokens["claims"]["team"] == "eng"


def test_a_host_of_the_clients_choice_changes_no_address(lab, alice, app):
    """serve picks its site by SNI and does not compare Host: the issuer, the metadata and the redirect are configuration."""
    login = app.begin()
    path = "/authorize?" + urlencode(login.params)
    s = wire.tls(wire.socks(10802, lab.addresses("idp")[0], 443), lab.ca, "idp.tail.test")
    app.code(wire.exchange(s, "GET", path, host="evil.test"), login)
    s = wire.tls(wire.socks(10802, lab.addresses("idp")[0], 443), lab.ca, "idp.tail.test")
    answer = wire.exchange(s, "GET", "/.well-known/openid-configuration", host="evil.test")
    assert answer.json["issuer"] == "https://idp.tail.test" and "evil" not in answer.text


def test_a_forged_address_of_a_tagged_node(lab, ci, app):
    """A workload that names alice is still a workload."""
    login = app.begin()
    headers = [("X-Forwarded-For", lab.addresses("alice")[0]), ("Tailscale-User-Login", "alice@example.com")]
    app.refused(app.authorize(ci, login, headers=headers), login)
