"""Alice's MCP client. It knows the address of the gateway and nothing else: all the rest it finds, and registers itself."""

import asyncio
import os
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8411")
GATEWAY, UPSTREAM = "http://127.0.0.1:8422/mcp", "http://127.0.0.1:8421/mcp"
REDIRECT = "http://127.0.0.1:8423/callback"


class Memory:
    """What this client keeps of clients and tokens: nothing, once it has ended."""

    client = tokens = None

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client
        print(f"  alice's client has registered itself: {client.client_id}, without a secret")

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens
        print(f'  and has a token for the gateway, with scope "{tokens.scope}"')


class Browser:
    """Where a real client opens a browser, one request is enough: no page appears, and nothing is clicked."""

    async def open(self, url):
        async with httpx2.AsyncClient() as http:
            answer = await http.get(url, follow_redirects=False)
        if answer.status_code != 302:
            raise SystemExit(f"/authorize answered {answer.status_code}: {answer.text}")
        self.callback = {name: value for name, [value] in parse_qs(urlsplit(answer.headers["location"]).query).items()}
        print("  alice's browser went to /authorize and came straight back with a code: no page, no click")

    async def come_back(self):
        return AuthorizationCodeResult(code=self.callback["code"], state=self.callback["state"], iss=self.callback["iss"])


async def main():
    memory, browser = Memory(), Browser()
    metadata = OAuthClientMetadata(redirect_uris=[REDIRECT], client_name="Alice's MCP client")
    auth = OAuthClientProvider(GATEWAY, metadata, memory, browser.open, browser.come_back)

    print(f"Alice connects to the gateway, {GATEWAY}:")
    async with httpx2.AsyncClient(auth=auth, timeout=20) as http:
        async with Client(streamable_http_client(GATEWAY, http_client=http)) as gateway:
            answer = await gateway.call_tool("whoami_upstream")
    if answer.is_error:
        raise SystemExit(f"the gateway answered: {answer.content[0].text}")
    seen = answer.structured_content

    async with httpx2.AsyncClient() as http:
        person = await http.post(f"{UPSTREAM}", json={}, headers={"Authorization": f"Bearer {memory.tokens.access_token}"})
    print(f"Alice's token, shown to the server behind the gateway by mistake: {person.status_code}, refused")
    print("The gateway exchanged it. Through the gateway the server behind it sees")
    print(f"  the person           sub     {seen['sub']}")
    print(f"  who acts for them    act.sub {seen['act']['sub']}")
    print(f"  for whom it is       aud     {seen['aud']}")
    print(f"  what is allowed      scope   {seen['scope']}")
    right = person.status_code == 401 and seen["sub"] == "userid:1001" and seen["act"]["sub"] == "gateway"
    print("Every step was right." if right else "Something is wrong.")
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    asyncio.run(main())
