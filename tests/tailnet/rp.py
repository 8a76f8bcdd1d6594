"""A relying party: the code flow with PKCE, refresh, userinfo, and the checks that a careful client makes on each answer."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import jwt

from lab import ISSUER

SCOPE = "openid profile email groups offline_access"


@dataclass
class Login:
    """What the relying party remembers between sending somebody away and getting the code."""

    params: dict
    verifier: str

    @property
    def state(self):
        return self.params["state"]


class RelyingParty:
    def __init__(self, client_id, redirect_uri, secret=None):
        self.client_id, self.redirect_uri, self.secret = client_id, redirect_uri, secret

    def begin(self, scope=SCOPE, **extra):
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        params = {
            "response_type": "code", "client_id": self.client_id, "redirect_uri": self.redirect_uri, "scope": scope,
            "state": secrets.token_urlsafe(8), "nonce": secrets.token_urlsafe(8),
            "code_challenge": challenge, "code_challenge_method": "S256",
        }
        return Login(params | extra, verifier)

    def authorize(self, peer, login, base=ISSUER, headers=(), **kw):
        return peer.get(f"{base}/authorize?{urlencode(login.params)}", headers, **kw)

    def code(self, answer, login):
        """The code in the redirect; everything else about it must be right."""
        back = self.redirect(answer, login)
        assert "error" not in back, back
        return back["code"]

    def redirect(self, answer, login):
        assert answer.status in (302, 303), answer
        url = urlsplit(answer.headers["Location"])
        assert f"{url.scheme}://{url.netloc}{url.path}" == self.redirect_uri
        back = dict(parse_qsl(url.query))
        assert back["state"] == login.state
        assert back["iss"] == ISSUER
        return back

    def refused(self, answer, login):
        """Checks that nobody was signed in: a redirect with access_denied, or a page that says why. Gives the reason."""
        if answer.status in (302, 303):
            back = self.redirect(answer, login)
            assert back["error"] == "access_denied" and "code" not in back, back
            return back.get("error_description", "")
        return page(answer, 403)

    def token(self, peer, form, base=ISSUER, **kw):
        headers = []
        if self.secret is None:
            form = form | {"client_id": self.client_id}
        else:
            pair = f"{quote(self.client_id, '')}:{quote(self.secret, '')}"
            headers.append(("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()))
        return peer.post(f"{base}/token", form, headers, **kw)

    def redeem(self, peer, code, login, base=ISSUER):
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri, "code_verifier": login.verifier}
        return self.token(peer, form, base)

    def refresh(self, peer, refresh_token, base=ISSUER, **extra):
        return self.token(peer, {"grant_type": "refresh_token", "refresh_token": refresh_token} | extra, base)

    def userinfo(self, peer, access_token, base=ISSUER):
        return peer.get(f"{base}/userinfo", [("Authorization", f"Bearer {access_token}")])

    def login(self, peer, backend=None, base=ISSUER, **extra):
        """A whole login: `peer` is the browser, `backend` (default: the same machine) redeems. Gives the checked tokens."""
        login = self.begin(**extra)
        code = self.code(self.authorize(peer, login, base), login)
        return self.tokens(peer, self.redeem(backend or peer, code, login, base), login)

    def tokens(self, peer, answer, login=None):
        """The token answer as a dictionary, with the verified claims of the ID token under `claims`."""
        assert answer.status == 200, answer
        assert "no-store" in answer.headers["Cache-Control"], answer
        tokens = answer.json
        assert tokens["token_type"].lower() == "bearer" and tokens["expires_in"] > 0 and tokens["scope"], tokens
        claims = self.verify(peer, tokens["id_token"])
        if login:
            assert claims["nonce"] == login.params["nonce"]
        digest = hashlib.sha256(tokens["access_token"].encode()).digest()[:16]
        assert claims["at_hash"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return tokens | {"claims": claims}

    def verify(self, peer, token):
        """Claims of an ID token whose signature, issuer, audience and times are right by the published keys."""
        jwks = jwt.PyJWKSet.from_dict(peer.get(f"{ISSUER}/.well-known/jwks.json").json)
        key = jwks[jwt.get_unverified_header(token)["kid"]]
        return jwt.decode(
            token, key, algorithms=["RS256"], audience=self.client_id, issuer=ISSUER, options={"require": ["exp", "iat", "sub", "aud", "iss"]},
        )


def oauth_error(answer, status, code):
    """Checks an error answer of a machine endpoint and gives its description."""
    assert answer.status == status, answer
    assert answer.headers.get_content_type() == "application/json", answer
    assert answer.json["error"] == code, answer
    return answer.json.get("error_description", "")


def page(answer, status):
    """Checks that the answer is a page for a person and gives its text."""
    assert answer.status == status, answer
    assert answer.headers.get_content_type() == "text/html", answer
    assert "Location" not in answer.headers
    return answer.text
