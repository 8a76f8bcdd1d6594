"""A client that runs in somebody's cloud: its back channel comes from the internet, its person's browser is in the tailnet."""

import json
import re
import ssl
import threading
import time
import uuid
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from lab import ISSUER
from rp import RelyingParty, page

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Cloud:
    """`https://hosted.test:PORT`, on loopback: where a hosted client publishes what it is. Notes which paths were asked for."""

    NAME = "hosted.test"

    def __init__(self, lab):
        self.documents, self.asked = {}, []
        lab.script("cert", lab.dir, self.NAME)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certs = lab.dir / "idp/certs"
        tls.load_cert_chain(certs / f"{self.NAME}.crt", certs / f"{self.NAME}.key")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.origin = f"https://{self.NAME}:{self._server.server_address[1]}"
        self.tables = f'[outbound]\ntest_host = "{self.origin.removeprefix("https://")}"\ntest_ca = "{lab.ca}"\n'
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _handler(cloud):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                cloud.asked.append(self.path)
                document = cloud.documents.get(self.path)
                body = json.dumps(document).encode() if document else b"{}"
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler

    def stop(self):
        self._server.shutdown()


class SigningClient(RelyingParty):
    """A client that proves itself by a key."""

    def __init__(self, client_id, redirect_uri):
        super().__init__(client_id, redirect_uri)
        self.key = ec.generate_private_key(ec.SECP256R1())

    def jwks(self):
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [public | {"kid": "k1", "use": "sig", "alg": "ES256"}]}

    def token(self, peer, form, base=ISSUER, **kw):
        now = int(time.time())
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": str(uuid.uuid4())}
        assertion = jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": "k1"})
        proof = {"client_id": self.client_id, "client_assertion_type": ASSERTION, "client_assertion": assertion}
        return peer.post(f"{base}/token", form | proof, **kw)


def answer(peer, asked, decision):
    """Presses a button of a consent page, as a browser does."""
    text = page(asked, 200)
    form = {"form": unescape(re.search(r'name="form" value="([^"]*)"', text)[1]), "decision": decision}
    assert f'value="{decision}"' in text, text
    action = unescape(re.search(r'<form method="post" action="([^"]*)"', text)[1])
    headers = [
        ("Origin", ISSUER), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"),
    ]  # fmt: skip
    return peer.post(ISSUER + action if action.startswith("/") else action, form, headers)


def allowed(browser, client, login):
    """A first visit: the page, and *Allow*. Gives the code and the text of the page."""
    asked = client.authorize(browser, login)
    return client.code(answer(browser, asked, "allow"), login), asked.text


def visit(client, login):
    return f"{ISSUER}/authorize?{urlencode(login.params)}"
