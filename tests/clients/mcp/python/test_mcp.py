"""The official SDK (`mcp`): its OAuth client against servers of FastMCP and of the SDK itself."""

import unittest
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.exceptions import OAuthFlowError, OAuthTokenError
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from meeting import ISSUER, REDIRECT, SERVERS, STAGE, Case, Notes, unwrapped, visit


class Storage:
    """What a client keeps between two starts."""

    def __init__(self, client=None):
        self.client, self.tokens = client, None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def known(client_id, method="none", secret=None):
    """A client that an administrator wrote down."""
    return OAuthClientInformationFull(
        client_id=client_id, client_secret=secret, token_endpoint_auth_method=method, redirect_uris=[REDIRECT], issuer=ISSUER,
    )


class Person:
    """An application of alice's: its browser is a single request, for nothing asks for a click."""

    def __init__(self, server, storage, change=None, **more):
        self.url, self.storage, self.change = SERVERS[server], storage, change or (lambda callback: callback)
        metadata = OAuthClientMetadata(redirect_uris=[REDIRECT], client_name="Tests of the mcp SDK")
        self.provider = OAuthClientProvider(self.url, metadata, storage, self.go, self.come_back, **more)

    async def go(self, url):
        self.callback = self.change(await visit(url))

    async def come_back(self):
        return AuthorizationCodeResult(code=self.callback["code"], state=self.callback["state"], iss=self.callback.get("iss"))

    def run_out(self):
        """Lets the time of the access token be over, as far as the client can see."""
        self.provider.context.token_expiry_time = 1

    async def call(self, *tools):
        """Connects, calls these tools and gives what the last one said."""
        return await call(self.provider, self.url, *tools)


class Bearer(httpx2.Auth):
    """Shows a token that is there already."""

    def __init__(self, token):
        self.token = token

    def auth_flow(self, request):
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


async def call(auth, url, *tools):
    async with unwrapped(), httpx2.AsyncClient(auth=auth, timeout=20) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            for tool, arguments in tools or [("whoami", {})]:
                answer = await client.call_tool(tool, arguments)
                if answer.is_error:
                    raise AssertionError(answer.content[0].text)
    return answer.structured_content


class Known(Case):
    """Clients that an administrator wrote down."""

    async def test_every_kind_of_server(self):
        for server in ("jwt", "introspection", "tag", "sdk"):
            with self.subTest(server):
                notes = Notes()
                self.seen(await Person(server, Storage(known("static"))).call(), server, "static")
                self.assertEqual(notes.all("/register"), [])
                for asked in (notes.one("/authorize"), notes.one("/token")):
                    self.assertEqual(asked["parameters"]["resource"], [SERVERS[server]])

    async def test_secrets(self):
        for method in ("client_secret_basic", "client_secret_post"):
            with self.subTest(method):
                storage = Storage(known("static-secret", method, STAGE["secret"]))
                self.seen(await Person("introspection", storage).call(), "introspection", "static-secret")

    async def test_refresh(self):
        person = Person("introspection", Storage(known("static")))
        await person.call()
        first, notes = person.storage.tokens, Notes()
        person.run_out()
        self.seen(await person.call(), "introspection", "static")
        self.assertEqual(notes.grants(), ["refresh_token"])
        self.assertEqual(notes.all("/authorize"), [])
        self.assertNotEqual(person.storage.tokens.refresh_token, first.refresh_token)
        self.assertEqual(person.storage.tokens.scope, "read")

    async def test_restart(self):
        storage = Storage(known("static"))
        await Person("introspection", storage).call()
        # The token is still good: nobody is asked anything.
        notes = Notes()
        await Person("introspection", storage).call()
        self.assertEqual((notes.all("/authorize"), notes.all("/token")), ([], []))
        # It is no longer: this client does not refresh after a restart, but signs in again, with no click.
        storage.tokens = OAuthToken(access_token="gone", scope="read", refresh_token=storage.tokens.refresh_token)
        self.seen(await Person("introspection", storage).call(), "introspection", "static")
        self.assertEqual(notes.grants(), ["authorization_code"])

    async def test_step_up_asks_for_the_union_and_keeps_it(self):
        person, notes = Person("jwt", Storage(known("climber-mcp"))), Notes()
        await person.call(("whoami", {}), ("write", {"text": "hello"}))
        self.assertEqual(notes.scopes(), [{"read"}, {"read", "write"}])
        self.assertEqual(set(person.storage.tokens.scope.split()), {"read", "write"})
        person.run_out()
        self.seen(await person.call(), "jwt", "climber-mcp", ["read", "write"])
        self.assertEqual(notes.grants(), ["authorization_code", "authorization_code", "refresh_token"])

    async def test_token_of_another_server(self):
        person = Person("jwt", Storage(known("static")))
        await person.call()
        token = person.storage.tokens.access_token
        for server in ("introspection", "tag", "sdk", "slash"):
            answer = httpx2.post(SERVERS[server], headers={"Authorization": f"Bearer {token}"}, json={}, timeout=10)
            self.assertEqual(answer.status_code, 401, server)


class Registered(Case):
    """Clients that come with nothing. They are alice's own, and so is the browser: no page, no click."""

    async def test_every_kind_of_server(self):
        for server in ("jwt", "introspection", "tag", "sdk"):
            with self.subTest(server):
                storage, notes = Storage(), Notes()
                self.seen(await Person(server, storage).call(), server, storage.client.client_id)
                registered = notes.one("/register")
                # It names no method and gets none: nothing that it could keep secret.
                self.assertNotIn("token_endpoint_auth_method", registered["json"])
                self.assertEqual(registered["answer"]["token_endpoint_auth_method"], "none")
                self.assertNotIn("client_secret", registered["answer"])

    async def test_refresh(self):
        person = Person("introspection", Storage())
        await person.call()
        notes = Notes()
        person.run_out()
        self.seen(await person.call(), "introspection", person.storage.client.client_id)
        self.assertEqual(notes.grants(), ["refresh_token"])

    async def test_restart(self):
        storage = Storage()
        await Person("introspection", storage).call()
        storage.tokens, notes = None, Notes()
        self.seen(await Person("introspection", storage).call(), "introspection", storage.client.client_id)
        self.assertEqual(notes.all("/register"), [])

    async def test_step_up_beyond_the_registered_scope(self):
        person, notes = Person("jwt", Storage()), Notes()
        await person.call(("write", {"text": "hello"}))
        self.assertEqual(notes.one("/register")["json"]["scope"], "read")
        self.assertEqual(notes.scopes(), [{"read"}, {"read", "write"}])
        self.seen(await person.call(), "jwt", person.storage.client.client_id, ["read", "write"])

    async def test_dead_client_id(self):
        """This client cannot help itself. The person reads a page, which says how to clear it."""
        with self.assertRaisesRegex(AssertionError, "^400 "):
            await Person("jwt", Storage(known("R" + "x" * 30))).call()


class Documents(Case):
    """Clients whose id is the address of their document, on a host that the administrator trusts."""

    async def test_every_kind_of_server(self):
        document = f"{STAGE['documents']}/python.json"
        for server in ("jwt", "introspection", "tag", "sdk"):
            with self.subTest(server):
                notes = Notes()
                person = Person(server, Storage(), client_metadata_url=document)
                self.seen(await person.call(), server, document)
                self.assertEqual(notes.all("/register"), [])

    async def test_refresh(self):
        document = f"{STAGE['documents']}/python-refresh.json"
        person, notes = Person("introspection", Storage(), client_metadata_url=document), Notes()
        await person.call()
        person.run_out()
        self.seen(await person.call(), "introspection", document)
        self.assertEqual(notes.grants(), ["authorization_code", "refresh_token"])
        self.assertEqual(len(notes.all("/python-refresh.json")), 1)


class Programs(Case):
    """Nobody is there: a client that acts for itself."""

    async def test_secret(self):
        for method in ("client_secret_basic", "client_secret_post"):
            for server in ("jwt", "introspection", "tag", "sdk"):
                with self.subTest(method=method, server=server):
                    provider = ClientCredentialsOAuthProvider(
                        SERVERS[server], Storage(), "robot", STAGE["secret"], method, scope="read", issuer=ISSUER,
                    )
                    self.robot_seen(await call(provider, SERVERS[server]), server, "robot")

    async def test_signed_assertion(self):
        for alg, file in STAGE["keys"].items():
            with self.subTest(alg):
                signed = SignedJWTParameters(
                    issuer="robot-keys", subject="robot-keys", signing_key=Path(file).read_text(), signing_algorithm=alg,
                )
                provider = PrivateKeyJWTOAuthProvider(
                    SERVERS["jwt"], Storage(), "robot-keys", signed.create_assertion_provider(), scope="read", issuer=ISSUER,
                )
                self.robot_seen(await call(provider, SERVERS["jwt"]), "jwt", "robot-keys")

    async def test_tag(self):
        """No SDK has a name for it, and none is needed: a node with a tag gets its token by asking, and shows it."""
        for server in ("jwt", "introspection", "tag", "sdk"):
            with self.subTest(server):
                asked = {"grant_type": "client_credentials", "client_id": "tag:mcp", "resource": SERVERS[server]}
                answer = httpx2.post(f"http://{STAGE['workload']}/token", data=asked, timeout=10)
                self.assertEqual(answer.status_code, 200, answer.text)
                self.robot_seen(await call(Bearer(answer.json()["access_token"]), SERVERS[server]), server, "tag:mcp")
        # Alice's laptop has no tag.
        answer = httpx2.post(f"{ISSUER}/token", data=asked, timeout=10)
        self.assertEqual((answer.status_code, answer.json()["error"]), (401, "invalid_client"))

    async def test_nothing_to_refresh(self):
        storage, notes = Storage(), Notes()
        provider = ClientCredentialsOAuthProvider(SERVERS["jwt"], storage, "robot", STAGE["secret"], issuer=ISSUER)
        await call(provider, SERVERS["jwt"])
        self.assertIsNone(storage.tokens.refresh_token)
        self.assertNotIn("id_token", notes.one("/token")["answer"])
        provider.context.token_expiry_time = 1
        self.robot_seen(await call(provider, SERVERS["jwt"]), "jwt", "robot")
        self.assertEqual(notes.grants(), ["client_credentials", "client_credentials"])

    async def test_wrong_secret(self):
        provider = ClientCredentialsOAuthProvider(SERVERS["jwt"], Storage(), "robot", "x" * 64, issuer=ISSUER)
        with self.assertRaisesRegex(OAuthTokenError, "401.*invalid_client"):
            await call(provider, SERVERS["jwt"])


class Traps(Case):
    async def test_issuer_with_a_slash(self):
        """FastMCP makes one of an AnyHttpUrl. Plain strings stay as they are, which all other tests rely on."""
        with self.assertRaisesRegex(OAuthFlowError, "issuer mismatch"):
            await Person("slash", Storage(known("static"))).call()

    async def test_issuer_of_the_callback(self):
        changes = {"another": lambda back: back | {"iss": "https://other.test"}, "none": lambda back: {**back, "iss": None}}
        for name, change in changes.items():
            with self.subTest(name), self.assertRaisesRegex(OAuthFlowError, "iss"):
                await Person("jwt", Storage(known("static")), change).call()

    async def test_state_of_the_callback(self):
        with self.assertRaisesRegex(OAuthFlowError, "State"):
            await Person("jwt", Storage(known("static")), lambda back: back | {"state": "forged"}).call()


if __name__ == "__main__":
    unittest.main()
