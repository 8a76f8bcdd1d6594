"""A gateway: an MCP server towards people, a client towards the server behind it.

A token says whom it is for, so the one that a person shows here must not be passed on, and the server behind would refuse it. The
gateway exchanges it (RFC 8693) for one that is for that server. The new token still names the person (`sub`), and the gateway as
the one who acts for them (`act`). It allows no more than both may do there, and ends when the person's own token ends.
"""

import os
import time

import httpx2
from fastmcp import Client, FastMCP
from fastmcp.client.auth import BearerAuth
from fastmcp.exceptions import ToolError
from fastmcp.server.auth import JWTVerifier, RemoteAuthProvider
from fastmcp.server.dependencies import get_access_token

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8411")
ORIGIN = "http://127.0.0.1:8422"
RESOURCE = f"{ORIGIN}/mcp"
UPSTREAM = "http://127.0.0.1:8421/mcp"
CREDENTIALS = ("gateway", os.environ.get("GATEWAY_SECRET", "a secret that everybody can read here"))

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"

verifier = JWTVerifier(
    jwks_uri=f"{ISSUER}/.well-known/jwks.json", issuer=ISSUER, audience=RESOURCE, required_scopes=["read"],
)
server = FastMCP("gateway", auth=RemoteAuthProvider(verifier, authorization_servers=[ISSUER], base_url=ORIGIN))


async def ask(**parameters):
    """Asks the token endpoint, as the client that the gateway is."""
    async with httpx2.AsyncClient(timeout=10) as http:
        answer = await http.post(f"{ISSUER}/token", data=parameters, auth=CREDENTIALS)
    found = answer.json()
    if answer.status_code != 200:
        raise ToolError(f"{found['error']}: {found.get('error_description', '')}")
    return found


class Actor:
    """The gateway's own token, which proves who acts; kept for as long as it is good."""

    token, until = None, 0

    async def get(self):
        if time.time() > self.until:
            found = await ask(grant_type="client_credentials", resource=RESOURCE)
            self.token, self.until = found["access_token"], time.time() + found["expires_in"] - 30
        return self.token


actor = Actor()


async def on_behalf_of(token):
    """Exchanges a person's token for this gateway for one for the server behind it."""
    found = await ask(
        grant_type=EXCHANGE,
        subject_token=token, subject_token_type=ACCESS_TOKEN,
        actor_token=await actor.get(), actor_token_type=ACCESS_TOKEN,
        resource=UPSTREAM, scope="read",
    )
    return found["access_token"]


@server.tool
async def whoami_upstream() -> dict:
    """Asks the server behind the gateway whom it sees."""
    token = await on_behalf_of(get_access_token().token)
    async with Client(UPSTREAM, auth=BearerAuth(token)) as upstream:
        return (await upstream.call_tool("whoami")).structured_content


if __name__ == "__main__":
    server.run(transport="http", host="127.0.0.1", port=8422, path="/mcp", show_banner=False)
