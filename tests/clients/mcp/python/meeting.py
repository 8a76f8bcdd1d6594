"""What the tests of the Python clients share: where everything is, a browser, and the front's notes of what was asked."""

import asyncio
import json
import logging
import os
import threading
import time
import unittest
import warnings
import webbrowser
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import httpx2

STAGE = json.loads(os.environ["TSIDECAR_MCP"])
ISSUER = STAGE["issuer"]
SERVERS = STAGE["servers"]
logging.getLogger("mcp").setLevel(logging.CRITICAL)  # tells of each flow that ends in an error: here many should
REDIRECT = "http://127.0.0.1:33033/callback"


async def visit(url):
    """Goes where a client sends the browser: one request, and the callback is there. Gives its parameters."""
    async with httpx2.AsyncClient(timeout=10) as browser:
        answer = await browser.get(url, follow_redirects=False)
    location = answer.headers.get("location", "")
    assert answer.status_code in (302, 303) and location.startswith(REDIRECT + "?"), f"{answer.status_code} {location} {answer.text[:600]}"
    return {name: value for name, [value] in parse_qs(urlsplit(location).query).items()}


class Case(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        warnings.filterwarnings("ignore", message="Using in-memory token storage")

    async def asyncSetUp(self):
        asyncio.get_running_loop().slow_callback_duration = 5  # unittest has debug mode on, which tells of much shorter ones

    def seen(self, facts, server, client_id, scopes=("read",)):
        """A person was seen by this server, through this client."""
        self.assertRegex(facts["sub"], r"^userid:\d+$")
        found = {name: facts[name] for name in ("iss", "aud", "client_id", "scopes")}
        self.assertEqual(found, {"iss": ISSUER, "aud": SERVERS[server], "client_id": client_id, "scopes": list(scopes)})


    def robot_seen(self, facts, server, client_id, scopes=("read",)):
        """A program was seen that acts for itself."""
        found = {name: facts[name] for name in ("iss", "sub", "aud", "client_id", "scopes")}
        expected = {"iss": ISSUER, "sub": client_id, "aud": SERVERS[server], "client_id": client_id, "scopes": list(scopes)}
        self.assertEqual(found, expected)


class Browser(webbrowser.BaseBrowser):
    """A browser for clients that open one and listen: it returns at once, follows redirects and waits for the listener."""

    def open(self, url, new=0, autoraise=True):
        threading.Thread(target=self.follow, args=(url,), daemon=True).start()
        return True

    def follow(self, url):
        location = httpx2.get(url, follow_redirects=False, timeout=10).headers["location"]
        for _ in range(100):
            try:
                return httpx2.get(location, timeout=10)
            except httpx2.ConnectError:
                time.sleep(0.05)


webbrowser.register("tests", None, Browser("tests"), preferred=True)


class Notes:
    """The requests that reached the authorization server since a moment."""

    def __init__(self):
        self.since = len(httpx2.get(STAGE["notes"], timeout=10).json())

    def all(self, path):
        notes = httpx2.get(STAGE["notes"], params={"since": self.since}, timeout=10).json()
        return [note for note in notes if note["path"] == path]

    def one(self, path):
        [note] = self.all(path)
        return note

    def grants(self):
        """The grant types in the order in which they were used."""
        return [note["parameters"]["grant_type"][0] for note in self.all("/token")]

    def scopes(self):
        """The scopes of the requests for authorization, in order."""
        return [set(note["parameters"].get("scope", [""])[0].split()) for note in self.all("/authorize")]


@asynccontextmanager
async def unwrapped():
    """An error of a client comes out of its task groups as it was raised."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
