"""FastMCP's own client, which opens a browser and listens for the callback, against servers of FastMCP."""

import unittest
from pathlib import Path

from fastmcp import Client
from fastmcp.client.auth import ClientCredentialsOAuthProvider, OAuth, PrivateKeyJWTOAuthProvider, SignedJWTParameters
from key_value.aio.stores.memory import MemoryStore

from meeting import ISSUER, SERVERS, STAGE, Case, Notes, unwrapped



async def call(server, auth, *tools):
    """Connects, calls these tools and gives what the last one said."""
    async with unwrapped(), Client(SERVERS[server], auth=auth, timeout=20) as client:
        for tool, arguments in tools or [("whoami", {})]:
            answer = await client.call_tool(tool, arguments)
    return answer.structured_content


def oauth(store=None, **more):
    return OAuth(callback_timeout=20, token_storage=store or MemoryStore(), **more)


class Known(Case):
    async def test_every_kind_of_verification(self):
        for server in ("jwt", "introspection", "tag"):
            with self.subTest(server):
                self.seen(await call(server, oauth(client_id="static")), server, "static")

    async def test_secret(self):
        auth = oauth(client_id="static-secret", client_secret=STAGE["secret"])
        self.seen(await call("introspection", auth), "introspection", "static-secret")

    async def test_the_probe_before_the_browser_is_no_replay(self):
        """It asks for authorization twice, with one state: the code of the first is never used, that of the second must be good."""
        auth, notes = oauth(client_id="static"), Notes()
        self.seen(await call("jwt", auth), "jwt", "static")
        first, second = notes.all("/authorize")
        self.assertEqual(first["parameters"], second["parameters"])
        self.assertEqual((first["status"], second["status"]), (302, 302))
        # Nor is what came of it revoked afterwards.
        auth.context.token_expiry_time = 1
        self.seen(await call("jwt", auth), "jwt", "static")
        self.assertEqual(notes.grants(), ["authorization_code", "refresh_token"])

    async def test_step_up(self):
        auth, notes = oauth(client_id="climber-fastmcp"), Notes()
        await call("jwt", auth, ("write", {"text": "hello"}))
        self.assertEqual(notes.scopes()[-1], {"read", "write"})
        self.seen(await call("jwt", auth), "jwt", "climber-fastmcp", ["read", "write"])

    async def test_restart(self):
        store = MemoryStore()
        auth = oauth(store, client_id="static")
        await call("jwt", auth)
        notes = Notes()
        self.seen(await call("jwt", oauth(store, client_id="static")), "jwt", "static")
        self.assertEqual((notes.all("/authorize"), notes.all("/token")), ([], []))
        # With a token that has run out it tries to refresh at the MCP server, which is none of ours, and then signs in again.
        stored = auth.token_storage_adapter
        await stored.set_tokens((await stored.get_tokens()).model_copy(update={"expires_in": -60}))
        self.seen(await call("jwt", oauth(store, client_id="static")), "jwt", "static")
        self.assertEqual(notes.grants(), ["authorization_code"])


class Registered(Case):
    async def test_every_kind_of_verification(self):
        for server in ("jwt", "introspection", "tag"):
            with self.subTest(server):
                auth, notes = oauth(), Notes()
                facts = await call(server, auth)
                registered = notes.one("/register")
                self.assertEqual(registered["json"]["token_endpoint_auth_method"], "none")
                self.seen(facts, server, registered["answer"]["client_id"])

    async def test_step_up_and_refresh(self):
        auth = oauth()
        await call("jwt", auth, ("write", {"text": "hello"}))
        auth.context.token_expiry_time = 1
        notes = Notes()
        self.seen(await call("jwt", auth), "jwt", auth.context.client_info.client_id, ["read", "write"])
        self.assertEqual(notes.grants(), ["refresh_token"])

    async def test_restart(self):
        store, notes = MemoryStore(), Notes()
        await call("jwt", oauth(store))
        self.seen(await call("jwt", oauth(store)), "jwt", notes.one("/register")["answer"]["client_id"])

    async def test_dead_client_id(self):
        """On exactly 400 at /authorize it registers anew, and goes on."""
        store = MemoryStore()
        first = oauth(store)
        await call("jwt", first)
        stored = first.token_storage_adapter
        dead = (await stored.get_client_info()).model_copy(update={"client_id": "R" + "x" * 30})
        await stored.clear()
        await stored.set_client_info(dead)
        notes = Notes()
        facts = await call("jwt", oauth(store))
        self.assertEqual([note["status"] for note in notes.all("/authorize")], [400, 302, 302])
        self.seen(facts, "jwt", notes.one("/register")["answer"]["client_id"])


class Documents(Case):
    async def test_every_kind_of_verification(self):
        document = f"{STAGE['documents']}/fastmcp.json"
        for server in ("jwt", "introspection", "tag"):
            with self.subTest(server):
                notes = Notes()
                self.seen(await call(server, oauth(client_metadata_url=document)), server, document)
                self.assertEqual(notes.all("/register"), [])


class Programs(Case):
    async def test_secret(self):
        auth = ClientCredentialsOAuthProvider(
            client_id="robot", client_secret=STAGE["secret"], scopes=["read"], issuer=ISSUER,
        )
        self.robot_seen(await call("introspection", auth), "introspection", "robot")

    async def test_signed_assertion_and_step_up(self):
        signed = SignedJWTParameters(
            issuer="robot-keys", subject="robot-keys", signing_key=Path(STAGE["keys"]["ES256"]).read_text(), signing_algorithm="ES256",
        )
        auth = PrivateKeyJWTOAuthProvider(
            client_id="robot-keys", assertion_provider=signed.create_assertion_provider(), scopes=["read"], issuer=ISSUER,
        )
        await call("jwt", auth, ("write", {"text": "hello"}))
        self.robot_seen(await call("jwt", auth), "jwt", "robot-keys", ["read", "write"])


if __name__ == "__main__":
    unittest.main()
