"""An MCP server behind tsidecar, whole: it takes tokens that are for it, tells clients where to get them, and knows who calls."""

import os

from fastmcp import FastMCP
from fastmcp.server.auth import JWTVerifier, RemoteAuthProvider
from fastmcp.server.dependencies import get_access_token

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8411")  # as tsidecar prints it: no slash at the end
ORIGIN = "http://127.0.0.1:8421"
RESOURCE = f"{ORIGIN}/mcp"  # the uri of the [[resource]], letter for letter

verifier = JWTVerifier(
    jwks_uri=f"{ISSUER}/.well-known/jwks.json",
    issuer=ISSUER,
    audience=RESOURCE,  # without it a token for any other server would open this one
    required_scopes=["read"],
)
# A plain string: pydantic's AnyHttpUrl would add a slash, and clients would refuse the issuer.
auth = RemoteAuthProvider(verifier, authorization_servers=[ISSUER], base_url=ORIGIN)
server = FastMCP("upstream", auth=auth)


@server.tool
def whoami() -> dict:
    """Tells who this server sees: the person, and whoever acts for them."""
    claims = get_access_token().claims
    return {name: claims[name] for name in ("sub", "act", "client_id", "aud", "scope") if name in claims}


if __name__ == "__main__":
    server.run(transport="http", host="127.0.0.1", port=8421, path="/mcp", show_banner=False)
