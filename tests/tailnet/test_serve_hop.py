"""What the real `tailscale serve` sends to a unix socket: the facts on which tsidecar's trust boundary stands (no tsidecar here).

If one of these fails with a newer tailscaled, the boundary must be thought over before anything else.
"""

import pytest

from echo import echo
from lab import eventually
from wire import NoAnswer

BASE = "https://idp.tail.test:8443"


@pytest.fixture(scope="module")
def hop(lab):
    """An echo backend on port 8443, beside whatever stands on 443."""
    path = lab.dir / "echo.sock"

    def change(config):
        config.setdefault("TCP", {})["8443"] = {"HTTPS": True}
        config.setdefault("Web", {})["idp.tail.test:8443"] = {"Handlers": {"/": {"Proxy": f"unix:{path}"}}}

    if lab.serve_config() is None:
        lab.set_serve({})
    with echo(path), lab.serving(change):
        eventually("serve on 8443", lambda: lab.peer("alice").get(BASE + "/").status == 200)
        yield


def seen(peer, *headers, url=BASE + "/"):
    """The header fields that reach the backend, by lower-case name, each as a list."""
    answer = peer.get(url, headers)
    assert answer.status == 200, answer
    got = {}
    for name, value in answer.json["headers"]:
        got.setdefault(name.lower(), []).append(value)
    return got


def test_what_every_request_carries(hop, lab, alice):
    got = seen(alice)
    assert got["host"] == ["localhost"]
    assert got["x-forwarded-for"] == [lab.addresses("alice")[0]]
    assert got["x-forwarded-host"] == ["idp.tail.test:8443"]
    assert got["x-forwarded-proto"] == ["https"]
    assert got["tailscale-user-login"] == ["alice@example.com"]
    assert got["tailscale-user-name"] == ["=?utf-8?q?Alice_=C3=84xample?="]
    assert "tailscale-funnel-request" not in got


@pytest.mark.parametrize(
    "forged",
    [
        [("X-Forwarded-For", "100.64.0.1")],
        [("X-Forwarded-For", "100.64.0.1, 100.64.0.2")],
        [("X-Forwarded-For", "100.64.0.1"), ("X-Forwarded-For", "100.64.0.2")],
        [("Connection", "close, X-Forwarded-For"), ("X-Forwarded-For", "100.64.0.1")],
        [("Connection", "close, Tailscale-User-Login, X-Forwarded-Proto")],
        [("Tailscale-User-Login", "bob@github"), ("Tailscale-User-Name", "Bob")],
        [("Tailscale-Funnel-Request", "?1")],
        [("Tailscale-App-Capabilities", "{}")],
        [("Forwarded", "for=100.64.0.1;proto=http")],
        [("X-Forwarded-Proto", "http")],
    ],
    ids=lambda headers: " ".join(f"{n}={v}" for n, v in headers),
)
def test_forged_headers_are_dropped_or_replaced(hop, lab, alice, forged):
    got = seen(alice, *forged)
    assert got["x-forwarded-for"] == [lab.addresses("alice")[0]]
    assert got["x-forwarded-proto"] == ["https"]
    assert got["tailscale-user-login"] == ["alice@example.com"]
    for name in ["tailscale-funnel-request", "tailscale-app-capabilities", "forwarded"]:
        assert name not in got


def test_other_headers_are_passed_on_as_sent(hop, alice):
    got = seen(alice, ("X-Real-IP", "1.2.3.4"), ("X_Forwarded_For", "1.2.3.4"), ("Tailscale_User_Login", "bob@github"))
    assert got["x-real-ip"] == ["1.2.3.4"]
    assert got["x_forwarded_for"] == ["1.2.3.4"]
    assert got["tailscale_user_login"] == ["bob@github"]


def test_the_host_is_the_clients_choice(hop, alice):
    # SNI is idp.tail.test, Host is not: serve does not compare them
    got = seen(alice, ("X-Forwarded-Host", "forged.test"))
    assert got["x-forwarded-host"] == ["idp.tail.test:8443"]


def test_ipv6_source(hop, lab):
    got = seen(lab.peer6("alice"))
    assert got["x-forwarded-for"] == [lab.addresses("alice")[1]]
    assert got["tailscale-user-login"] == ["alice@example.com"]


def test_a_tagged_node_has_no_identity_headers(hop, lab, ci):
    got = seen(ci, ("Tailscale-User-Login", "alice@example.com"))
    assert got["x-forwarded-for"] == [lab.addresses("ci")[0]]
    assert not [name for name in got if name.startswith("tailscale-user")]


def test_the_node_itself(hop, lab):
    """A process on idp's own machine: its address is idp's, in both modes."""
    peer = lab.local() if lab.kernel else lab.peer("idp")
    got = seen(peer)
    assert got["x-forwarded-for"] == [lab.addresses("idp")[0]]
    assert not [name for name in got if name.startswith("tailscale-user")]


def test_one_pooled_connection_for_everybody(hop, alice, bob, ci):
    numbers = {peer.get(BASE + "/").json["connection"] for peer in [alice, bob, ci, alice, bob]}
    assert len(numbers) == 1


def test_funnel(hop, lab):
    internet = lab.internet()
    with pytest.raises(NoAnswer, match="403"):
        internet.get(BASE + "/")

    def funnel(config):
        config["AllowFunnel"] = {"idp.tail.test:8443": True}

    with lab.serving(funnel):
        for value in [None, "?0", "", "?1"]:
            forged = [] if value is None else [("Tailscale-Funnel-Request", value)]
            got = seen(internet, ("Tailscale-User-Login", "alice@example.com"), ("X-Forwarded-For", "100.64.0.2"), *forged)
            assert got["tailscale-funnel-request"] == ["?1"]
            assert got["x-forwarded-for"] == ["203.0.113.7"]
            assert not [name for name in got if name.startswith("tailscale-user")]
