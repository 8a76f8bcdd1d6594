"""Authlib in a Flask application: the login of most small Python applications, with the application's own routes and session."""

import itertools
import json
import os
import unittest
from urllib.parse import parse_qs, urlsplit

import flask
import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from authlib.integrations.requests_client import OAuth2Session
from joserfc.errors import InvalidClaimError

DEMO = json.loads(os.environ["TSIDECAR_DEMO"])
PUBLIC = next(client for client in DEMO["clients"] if "client_secret" not in client)
CONFIDENTIAL = next(client for client in DEMO["clients"] if "client_secret" in client)
PORTS = itertools.count(21000)


class App:
    """A Flask application with /login and /callback, reached through Flask's own test client."""

    def __init__(self, client, method, secret=None):
        port = next(PORTS)
        self.app = flask.Flask(__name__)
        self.app.secret_key = os.urandom(16)
        self.provider = OAuth(self.app).register(
            "tsidecar",
            client_id=client["client_id"],
            client_secret=secret or client.get("client_secret"),
            server_metadata_url=DEMO["issuer"] + "/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile email groups offline_access",
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": method,
            },
        )
        self.origin = f"http://127.0.0.1:{port}"
        self.app.add_url_rule("/login", view_func=self.login)
        self.app.add_url_rule("/callback", view_func=self.callback)
        self.browser = self.app.test_client()

    def login(self):
        return self.provider.authorize_redirect(self.origin + "/callback")

    def callback(self):
        token = self.provider.authorize_access_token()
        return {"token": token, "userinfo": self.provider.userinfo(token=token)}

    def sign_in(self):
        """Follows /login to the provider and returns the callback URL that it answers with."""
        away = self.browser.get("/login", base_url=self.origin)
        answer = requests.get(away.location, allow_redirects=False, timeout=10)
        assert answer.status_code in (302, 303), answer.text[:300]
        assert answer.headers["location"].startswith(self.origin + "/callback?")
        return answer.headers["location"]

    def come_back(self, callback):
        self.app.testing = True  # errors of the library reach the test
        return self.browser.get(callback, base_url=self.origin).json

    def refresh(self, token):
        """Refreshes as Authlib does by itself when a token has run out: it names the whole scope that was asked for at the login."""
        with self.app.test_request_context():
            endpoint = self.provider.load_server_metadata()["token_endpoint"]
            provider = self.provider
            with OAuth2Session(provider.client_id, provider.client_secret, token=token, **provider.client_kwargs) as session:
                renewed = session.refresh_token(endpoint)
            return renewed, provider.userinfo(token=renewed)

    def judge(self, token, nonce):
        with self.app.test_request_context():
            return self.provider.parse_id_token(token, nonce=nonce)


class Login(unittest.TestCase):
    def whole_login(self, app):
        callback = app.sign_in()
        self.assertEqual(parse_qs(urlsplit(callback).query)["iss"], [DEMO["issuer"]])
        answer = app.come_back(callback)
        token, person = answer["token"], answer["userinfo"]
        # authorize_access_token has checked signature, issuer, audience, nonce and at_hash; `userinfo` are the claims it read.
        claims = token["userinfo"]
        self.assertRegex(claims["sub"], r"^userid:\d+$")
        self.assertEqual(claims["iss"], DEMO["issuer"])
        self.assertEqual(person["sub"], claims["sub"])
        self.assertTrue(person["email"])
        self.assertIn("openid", token["scope"].split())

        renewed, again = app.refresh(token)
        self.assertNotEqual(renewed["refresh_token"], token["refresh_token"])
        self.assertNotEqual(renewed["access_token"], token["access_token"])
        self.assertEqual(again, person)
        fresh = app.judge(renewed, nonce=None)
        self.assertEqual(fresh["sub"], claims["sub"])
        self.assertEqual(fresh["auth_time"], claims["auth_time"])

    def test_public(self):
        self.whole_login(App(PUBLIC, "none"))

    def test_client_secret_basic(self):
        self.whole_login(App(CONFIDENTIAL, "client_secret_basic"))

    def test_client_secret_post(self):
        self.whole_login(App(CONFIDENTIAL, "client_secret_post"))


class Refusals(unittest.TestCase):
    def test_wrong_secret(self):
        for method in ("client_secret_basic", "client_secret_post"):
            with self.subTest(method):
                app = App(CONFIDENTIAL, method, secret="x" * 43)
                with self.assertRaises(OAuthError) as refused:
                    app.come_back(app.sign_in())
                self.assertEqual(refused.exception.error, "invalid_client")

    def test_nonce_of_another_login(self):
        app = App(PUBLIC, "none")
        token = app.come_back(app.sign_in())["token"]
        with self.assertRaises(InvalidClaimError):
            app.judge(token, nonce="another")

    def test_confidential_client_without_its_secret(self):
        app = App(CONFIDENTIAL, "none")
        with self.assertRaises(OAuthError) as refused:
            app.come_back(app.sign_in())
        self.assertEqual(refused.exception.error, "invalid_client")

    def test_refresh_token_of_another_client(self):
        app = App(PUBLIC, "none")
        stolen = app.come_back(app.sign_in())["token"]
        with self.assertRaises(OAuthError) as refused:
            App(CONFIDENTIAL, "client_secret_basic").refresh(stolen)
        self.assertEqual(refused.exception.error, "invalid_grant")


if __name__ == "__main__":
    unittest.main()
