"""HTTP requests as the machines of the private tailnet send them: over a node's SOCKS port, through Funnel, or on a unix socket.

Every way gives a connected socket; the request is written by hand so that a test can send what no HTTP library would (repeated
header fields, two addresses in one field, underscore twins).
"""

import http.client
import json
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

TIMEOUT = 20.0  # seconds for one request


class NoAnswer(OSError):
    """The other side closed or refused before a byte of an answer came."""


class Refused(NoAnswer):
    """No connection was made at all."""


@dataclass
class Answer:
    """One HTTP answer, body read to the end."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes = field(repr=False)

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError as e:
            raise AssertionError(f"not JSON: {self}") from e

    def __str__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:2000]!r}"


def socks(port, host, to_port, timeout=TIMEOUT):
    """A connection that the SOCKS5 server of a tailscaled makes; names are resolved in its netmap."""
    s = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    try:
        s.sendall(b"\x05\x01\x00")
        if s.recv(2) != b"\x05\x00":
            raise NoAnswer("SOCKS greeting refused")
        try:
            kind = b"\x04" + socket.inet_pton(socket.AF_INET6, host)
        except OSError:
            name = host.encode()
            kind = b"\x03" + bytes([len(name)]) + name
        s.sendall(b"\x05\x01\x00" + kind + struct.pack(">H", to_port))
        head = _exactly(s, 4)
        if head[1] != 0:
            raise Refused(f"SOCKS connect to {host}:{to_port} refused with {head[1]}")
        _exactly(s, {1: 4, 4: 16}.get(head[3]) or _exactly(s, 1)[0])
        _exactly(s, 2)
        return s
    except BaseException:
        s.close()
        raise


def _exactly(s, n):
    got = b""
    while len(got) < n:
        part = s.recv(n - len(got))
        if not part:
            raise NoAnswer("closed in mid-message")
        got += part
    return got


def funnel(port, peerapi, target, client="203.0.113.7:5555"):
    """What Funnel's ingress relay does: POST to the PeerAPI of `target`'s node, then a raw stream for a client on the internet."""
    ip, api_port = peerapi.split(":")
    s = socks(port, ip, int(api_port))
    s.sendall(
        f"POST /v0/ingress HTTP/1.1\r\nHost: {peerapi}\r\nTailscale-Ingress-Src: {client}\r\n"
        f"Tailscale-Ingress-Target: {target}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _exactly(s, 1)
    if b" 101 " not in head:
        s.close()
        raise NoAnswer(f"the PeerAPI refused the Funnel relay: {head!r}")
    return s


def unix(path, timeout=TIMEOUT):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(timeout)
    s.connect(str(path))
    return s


def tls(s, ca, name):
    return ssl.create_default_context(cafile=str(ca)).wrap_socket(s, server_hostname=name)


def exchange(s, method, path, headers=(), body=None, host="localhost"):
    """One request and its answer on a connected socket; the socket is closed."""
    with s:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        # a test that plays with Connection sends its own
        if any(name.lower() == "connection" for name, _ in headers):
            lines.pop()
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        try:
            s.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))
            answer = http.client.HTTPResponse(s, method=method)
            answer.begin()
            return Answer(answer.status, answer.headers, answer.read())
        except (http.client.BadStatusLine, ConnectionError, BrokenPipeError) as e:
            raise NoAnswer(f"{method} {path}: {e!r}") from e


class Peer:
    """A place from which requests go to the tailnet's HTTPS. `dial(host, port, timeout)` makes the connection."""

    def __init__(self, name, dial, ca):
        self.name, self._dial, self._ca = name, dial, ca

    def __repr__(self):
        return f"Peer({self.name})"

    def _connect(self, host, port, timeout):
        """Connects; a refusal is tried again for a moment, as tailscaled closes its listeners while it takes a change over."""
        deadline = time.monotonic() + min(timeout, 10)
        while True:
            try:
                return self._dial(host, port, timeout)
            except (Refused, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def request(self, method, url, headers=(), form=None, document=None, timeout=TIMEOUT):
        """`headers` is a list of pairs, sent in this order; `form` becomes an urlencoded body, `document` one in JSON."""
        u = urlsplit(url)
        headers, body = list(headers), None
        if document is not None:
            body = json.dumps(document).encode()
            headers.append(("Content-Type", "application/json"))
        if form is not None:
            body = urlencode(form).encode()
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        path = (u.path or "/") + (f"?{u.query}" if u.query else "")
        s = tls(self._connect(u.hostname, u.port or 443, timeout), self._ca, u.hostname)
        return exchange(s, method, path, headers, body, host=u.netloc)

    def get(self, url, headers=(), **kw):
        return self.request("GET", url, headers, **kw)

    def post(self, url, form, headers=(), **kw):
        return self.request("POST", url, headers, form=form, **kw)
