"""requests_oauth2client: signed client authentication, pushed requests, proofs of possession, devices; against a demonstration of its own."""

import json
import os
import re
import subprocess
import tempfile
import unittest
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urljoin

import requests
from jwskate import Jwk
from requests_oauth2client import (
    AccessDenied,
    AuthorizationPending,
    AuthorizationResponseError,
    BearerToken,
    DeviceAuthorizationPollingJob,
    DPoPKey,
    DPoPToken,
    EndpointError,
    InvalidClient,
    InvalidGrant,
    OAuth2Client,
    PrivateKeyJwt,
    PublicApp,
    SlowDown,
    UnauthorizedClient,
)

REDIRECT = "http://127.0.0.1:22000/callback"
KEYS = {alg: Jwk.generate(alg=alg).with_kid_thumbprint() for alg in ("ES256", "RS256")}

TABLES = """
[dpop]
nonce = "required"
[[client]]
id = "signing"
name = "Application with keys"
jwks_file = "{folder}/signing.json"
redirect_uris = ["http://127.0.0.1/callback"]
[[client]]
id = "pushing"
name = "Application that pushes its requests"
jwks_file = "{folder}/signing.json"
require_pushed_authorization_requests = true
redirect_uris = ["http://127.0.0.1/callback"]
[[client]]
id = "proving"
name = "Application that proves possession"
jwks_file = "{folder}/signing.json"
require_pushed_authorization_requests = true
dpop_bound_access_tokens = true
redirect_uris = ["http://127.0.0.1/callback"]
[[client]]
id = "proving-public"
name = "Public application that proves possession"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
[[client]]
id = "television"
name = "Television"
public = true
redirect_uris = ["http://127.0.0.1/callback"]
grant_types = ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]
"""


class Demonstration(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        keys = {"keys": [key.public_jwk().to_dict() for key in KEYS.values()]}
        (Path(folder.name) / "signing.json").write_text(json.dumps(keys))
        tables = Path(folder.name) / "tables.toml"
        tables.write_text(TABLES.format(folder=folder.name))
        log = cls.enterClassContext(open(Path(folder.name) / "log", "w+"))
        daemon = subprocess.Popen(
            [os.environ["TSIDECAR_BINARY"], "demo", "--port", "0", "--json", "--tables", tables],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
        )
        cls.addClassCleanup(daemon.stdout.close)
        cls.addClassCleanup(daemon.wait)
        cls.addClassCleanup(daemon.terminate)
        line = daemon.stdout.readline()
        if not line:
            log.seek(0)
            raise RuntimeError(f"tsidecar demo ended:\n{log.read()}")
        cls.issuer = json.loads(line)["issuer"]

    def client(self, auth, **more):
        # `testing`: the library takes no issuer with a port otherwise.
        found = {"issuer": self.issuer, "auth": auth, "redirect_uri": REDIRECT, "testing": True}
        return OAuth2Client.from_discovery_endpoint(**found, **more)

    def signing(self, client_id="signing", alg="ES256", key=None, **more):
        """The client that signs. The audience is the issuer: the library's own default is the URL of the endpoint."""
        auth = PrivateKeyJwt(client_id, key or KEYS[alg], alg=alg, aud=self.issuer)
        return self.client(auth, **more)

    def visit(self, request):
        """Goes where the library sends the browser, and gives the callback that it comes back with."""
        answer = requests.get(request.uri, allow_redirects=False, timeout=10)
        self.assertIn(answer.status_code, (302, 303), answer.text[:300])
        return answer.headers["location"]


class Keys(Demonstration):
    def test_private_key_jwt(self):
        for alg in KEYS:
            with self.subTest(alg):
                client = self.signing(alg=alg)
                asked = client.authorization_request(scope="openid email")
                token = client.authorization_code(asked.validate_callback(self.visit(asked)))
                self.assertRegex(token.id_token.subject, r"^userid:\d+$")
                self.assertEqual(client.userinfo(token)["email"], "alice@demo.test")
                renewed = client.refresh_token(token)
                self.assertNotEqual(renewed.refresh_token, token.refresh_token)

    def test_key_of_somebody_else(self):
        client = self.signing(key=Jwk.generate(alg="ES256").with_kid_thumbprint())
        asked = client.authorization_request(scope="openid")
        back = asked.validate_callback(self.visit(asked))
        with self.assertRaises(InvalidClient):
            client.authorization_code(back)
        # The code is still good for whom it was made.
        self.assertTrue(self.signing().authorization_code(back).access_token)

    def test_audience_that_is_not_the_issuer(self):
        client = self.client(PrivateKeyJwt("signing", KEYS["ES256"], alg="ES256"))
        asked = client.authorization_request(scope="openid")
        with self.assertRaises(InvalidClient):
            client.authorization_code(asked.validate_callback(self.visit(asked)))

    def test_used_code(self):
        client = self.signing()
        asked = client.authorization_request(scope="openid")
        back = asked.validate_callback(self.visit(asked))
        token = client.authorization_code(back)
        for again in (lambda: client.authorization_code(back), lambda: client.refresh_token(token)):
            with self.assertRaises(InvalidGrant):
                again()

    def test_introspection_and_revocation(self):
        client = self.signing()
        asked = client.authorization_request(scope="openid email")
        token = client.authorization_code(asked.validate_callback(self.visit(asked)))
        seen = client.introspect_token(token)
        self.assertEqual((seen["active"], seen["client_id"], seen["sub"]), (True, "signing", token.id_token.subject))
        self.assertTrue(client.revoke_refresh_token(token))
        self.assertEqual(client.introspect_token(token), {"active": False})
        with self.assertRaises(InvalidGrant):
            client.refresh_token(token)


class Pushed(Demonstration):
    def test_request_that_nobody_else_sees(self):
        client = self.signing("pushing")
        asked = client.authorization_request(scope="openid email")
        pushed = client.pushed_authorization_request(asked)
        self.assertNotIn("scope", pushed.uri)
        token = client.authorization_code(asked.validate_callback(self.visit(pushed)))
        self.assertEqual(client.userinfo(token)["sub"], token.id_token.subject)

        # One request, one code.
        again = requests.get(pushed.uri, allow_redirects=False, timeout=10)
        self.assertEqual(again.status_code, 400)
        self.assertIn("no longer good", again.text)

    def test_request_that_was_not_pushed(self):
        asked = self.signing("pushing").authorization_request(scope="openid")
        with self.assertRaises(AuthorizationResponseError) as refused:
            asked.validate_callback(self.visit(asked))
        self.assertEqual(refused.exception.error, "invalid_request")

    def test_push_with_the_key_of_somebody_else(self):
        client = self.signing("pushing", key=Jwk.generate(alg="ES256").with_kid_thumbprint())
        with self.assertRaises(InvalidClient):
            client.pushed_authorization_request(client.authorization_request(scope="openid"))

    def test_push_of_another_redirect_uri(self):
        client = self.signing("pushing")
        with self.assertRaises(EndpointError) as refused:
            client.pushed_authorization_request(client.authorization_request(redirect_uri="https://elsewhere.test/callback"))
        self.assertEqual(refused.exception.error, "invalid_request")


class Proofs(Demonstration):
    """Every proof needs a nonce of the server: the library learns it from the first refusal, at each endpoint."""

    def sign_in(self, client, pushed):
        asked = client.authorization_request(scope="openid email", dpop=True)
        self.assertTrue(asked.dpop_jkt)
        request = client.pushed_authorization_request(asked) if pushed else asked
        back = asked.validate_callback(self.visit(request))
        token = client.authorization_code(back, validate=False)
        self.assertIsInstance(token, DPoPToken)
        # The library cannot check the ID token beside a bound token (its copy of the token loses the key): beside any other it can.
        BearerToken(token.access_token, id_token=str(token.id_token)).validate_id_token(client, back)
        self.assertTrue(token.dpop_key.as_nonce)
        return token

    def userinfo(self, client, token):
        return requests.get(client.userinfo_endpoint, auth=token, timeout=10)

    def whole_login(self, client, pushed):
        token = self.sign_in(client, pushed)
        person = self.userinfo(client, token)
        self.assertEqual(person.json()["sub"], token.id_token.subject)
        self.assertTrue(token.dpop_key.rs_nonce)

        renewed = client.refresh_token(token)
        self.assertIsInstance(renewed, DPoPToken)
        self.assertEqual(renewed.dpop_key, token.dpop_key)
        self.assertEqual(self.userinfo(client, renewed).json(), person.json())
        return renewed

    def test_confidential(self):
        self.whole_login(self.signing("proving", dpop_bound_access_tokens=True), pushed=True)

    def test_public(self):
        client = self.client(PublicApp("proving-public"))
        renewed = self.whole_login(client, pushed=False)
        # The refresh token is bound, too.
        with self.assertRaises(InvalidGrant):
            client.token_request(
                {"grant_type": "refresh_token", "refresh_token": renewed.refresh_token}, dpop_key=DPoPKey.generate()
            )
        self.assertTrue(client.refresh_token(renewed).access_token)

    def test_thief_of_an_access_token(self):
        client = self.client(PublicApp("proving-public"))
        token = self.sign_in(client, pushed=False)
        thieves = BearerToken(token.access_token), DPoPToken(token.access_token, _dpop_key=DPoPKey.generate())
        for thief in thieves:
            refused = self.userinfo(client, thief)
            self.assertEqual(refused.status_code, 401)
            self.assertIn("DPoP", refused.headers["www-authenticate"])

    def test_code_for_another_key(self):
        client = self.client(PublicApp("proving-public"))
        asked = client.authorization_request(scope="openid", dpop=True)
        back = asked.validate_callback(self.visit(asked))
        with self.assertRaises(InvalidGrant):
            client.authorization_code(back.code, code_verifier=back.code_verifier, redirect_uri=REDIRECT, dpop_key=DPoPKey.generate())
        self.assertIsInstance(client.authorization_code(back, validate=False), DPoPToken)


class Devices(Demonstration):
    """A device without a browser; alice answers for it at /device."""

    def setUp(self):
        metadata = requests.get(self.issuer + "/.well-known/openid-configuration", timeout=10).json()
        endpoint = metadata["device_authorization_endpoint"]
        # The library does not read this endpoint from the metadata.
        self.device = self.client(PublicApp("television"), device_authorization_endpoint=endpoint)
        self.person = requests.Session()

    def answer(self, asked, button):
        """Follows the link of the device, says that the codes are the same, and presses a button."""
        page = self.person.get(asked.verification_uri_complete, timeout=10)
        self.assertEqual(page.status_code, 200, page.text)
        self.assertIn(asked.user_code, page.text)
        page = self.send(page, {})
        self.assertIn("Television", page.text)
        return self.send(page, {"answer": button})

    def send(self, page, pressed):
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
        address = urljoin(page.url, re.search(r'<form method="post" action="([^"]+)"', page.text)[1])
        answer = self.person.post(address, data=fields | pressed, headers={"Origin": self.issuer}, timeout=10)
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer

    def test_allowed(self):
        asked = self.device.authorize_device(scope="openid email")
        self.assertEqual(asked.verification_uri, self.issuer + "/device")
        self.assertGreater(asked.expires_at, datetime.now(tz=timezone.utc))
        job = DeviceAuthorizationPollingJob(self.device, asked)
        self.assertIsNone(job())  # nobody has answered yet
        self.answer(asked, "allow")
        token = job()
        self.assertEqual(self.device.userinfo(token)["email"], "alice@demo.test")
        self.assertEqual(job.interval, 5)

        renewed = self.device.refresh_token(token)
        self.assertNotEqual(renewed.refresh_token, token.refresh_token)
        # One use.
        with self.assertRaises(InvalidGrant):
            self.device.device_code(asked)

    def test_denied(self):
        asked = self.device.authorize_device(scope="openid")
        self.answer(asked, "deny")
        with self.assertRaises(AccessDenied):
            self.device.device_code(asked)

    def test_asks_too_often(self):
        asked = self.device.authorize_device(scope="openid")
        with self.assertRaises(AuthorizationPending):
            self.device.device_code(asked)
        with self.assertRaises(SlowDown):
            self.device.device_code(asked)

    def test_client_without_the_grant(self):
        client = self.client(PublicApp("proving-public"), device_authorization_endpoint=self.device.device_authorization_endpoint)
        with self.assertRaises(UnauthorizedClient):
            client.authorize_device(scope="openid")


if __name__ == "__main__":
    unittest.main()
