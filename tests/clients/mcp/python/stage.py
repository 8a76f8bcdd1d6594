"""What the MCP clients of this folder meet: the demonstration behind a front that takes notes, MCP servers, and a host of client documents.

`python stage.py FOLDER` prints one line of JSON that says where everything is, and runs until it is ended. Started by
tests/clients/run, which gives the line to the tests as TSIDECAR_MCP. Everything listens on loopback.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx2
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastmcp import FastMCP
from fastmcp.server.auth import AccessToken, JWTVerifier, RemoteAuthProvider
from fastmcp.server.auth.providers.introspection import IntrospectionTokenVerifier
from fastmcp.server.dependencies import get_access_token
from joserfc.jwk import ECKey, RSAKey
from mcp.server.auth.middleware.auth_context import get_access_token as sdk_access_token
from mcp.server.auth.provider import AccessToken as SdkAccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

SERVERS = ("jwt", "introspection", "tag", "sdk", "slash")
SCOPES = ["read", "write"]
TLS = os.environ["TSIDECAR_TLS"]  # an authority of the tests, and a certificate for rp.test
REDIRECTS = ["http://127.0.0.1/callback", "http://localhost/callback"]


def listening():
    bound = socket.create_server(("127.0.0.1", 0))
    return bound, bound.getsockname()[1]


class Server(uvicorn.Server):
    """Leaves signals to the stage: it has several servers, and a daemon to end."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


async def serve(app, bound, **tls):
    config = uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1, **tls)
    await Server(config).serve(sockets=[bound])


class Front:
    """Stands where TLS would end: forwards to the demonstration, and remembers each request with its parameters."""

    def __init__(self):
        self.address = None
        self.notes = []
        self.client = httpx2.AsyncClient(timeout=30)
        self.app = Starlette(routes=[Route("/{path:path}", self.forward, methods=["GET", "POST", "PUT", "DELETE", "OPTIONS"])])
        self.notebook = Starlette(routes=[Route("/", self.read)])

    async def forward(self, request: Request):
        body = await request.body()
        url = f"http://{self.address}{request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
        headers = [(name, value) for name, value in request.headers.raw if name != b"content-length"]
        answer = await self.client.request(request.method, url, content=body, headers=headers)
        self.note(request, body, answer)
        response = Response(answer.content, answer.status_code)
        kept = [(name, value) for name, value in answer.headers.raw if name.lower() not in (b"content-length", b"transfer-encoding")]
        response.raw_headers = kept + [(b"content-length", str(len(answer.content)).encode())]
        return response

    def note(self, request, body, answer):
        form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        parameters = parse_qs(body.decode() if form else request.url.query)
        self.notes.append({
            "method": request.method,
            "path": request.url.path,
            "parameters": parameters,
            "json": json.loads(body) if request.headers.get("content-type") == "application/json" else None,
            "authorization": request.headers.get("authorization", "").split(" ")[0],
            "status": answer.status_code,
            "answer": answer.json() if answer.headers.get("content-type", "").startswith("application/json") else None,
        })

    async def read(self, request):
        return JSONResponse(self.notes[int(request.query_params.get("since", 0)):])


class Documents:
    """A host of client documents, over TLS: what it says of a client depends on the name of the document."""

    def __init__(self, host, notes):
        self.host, self.origin, self.notes = host, f"https://{host}", notes
        self.app = Starlette(routes=[Route("/{name}.json", self.give)])

    async def give(self, request):
        self.notes.append({"method": "GET", "path": request.url.path, "parameters": {}})
        return JSONResponse({
            "client_id": self.origin + request.url.path,
            "client_name": f"Tests by document, {request.path_params['name']}",
            "redirect_uris": REDIRECTS,
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        })


def facts(token):
    """What a tool may know of whoever calls it."""
    claims = token.claims or {}
    names = ("iss", "sub", "aud", "client_id", "act", "username", "email")
    return {name: claims[name] for name in names if name in claims} | {"scopes": sorted(token.scopes)}


class StepUp:
    """Answers a call of the tool `write` with a challenge, unless the token has that scope (RFC 6750, section 3.1)."""

    def __init__(self, app, metadata):
        self.app, self.metadata = app, metadata

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != "/mcp":
            return await self.app(scope, receive, send)
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        call = json.loads(body or b"{}")
        wanted = call.get("method") == "tools/call" and call["params"]["name"] == "write"
        token = getattr(scope.get("user"), "access_token", None)
        if wanted and token and "write" not in token.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="write", resource_metadata="{self.metadata}"'
            refusal = JSONResponse({"error": "insufficient_scope"}, 403, {"WWW-Authenticate": challenge})
            return await refusal(scope, receive, send)
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        return await self.app(scope, lambda: hand_out(messages, receive), send)


async def hand_out(messages, receive):
    return messages.pop() if messages else await receive()


def fastmcp(name, origin, verifier, issuer):
    """A server of FastMCP. `issuer` as it is to stand in `authorization_servers`: a plain string, or FastMCP adds a slash."""
    auth = RemoteAuthProvider(verifier, authorization_servers=[issuer], base_url=origin, scopes_supported=["read"])
    server = FastMCP(name, auth=auth)

    @server.tool
    def whoami() -> dict:
        return facts(get_access_token())

    @server.tool
    def write(text: str) -> str:
        return f"written: {text}"

    metadata = f"{origin}/.well-known/oauth-protected-resource/mcp"
    return server.http_app(path="/mcp", middleware=[Middleware(StepUp, metadata=metadata)])


class ByTag:
    """A verifier for the server of the `mcp` SDK: introspects from a node with a tag, with no secret at all."""

    def __init__(self, url, audience):
        self.url, self.audience = url, audience

    async def verify_token(self, token):
        async with httpx2.AsyncClient(timeout=10) as client:
            answer = await client.post(self.url, data={"token": token})
        found = answer.json()
        if not found.get("active") or found.get("aud") != self.audience:
            return None
        return SdkAccessToken(
            token=token, client_id=found["client_id"], scopes=found["scope"].split(), expires_at=found["exp"],
            resource=found["aud"], subject=found["sub"], claims=found,
        )


def sdk_server(origin, verifier, issuer):
    settings = AuthSettings(
        issuer_url=issuer, resource_server_url=f"{origin}/mcp", required_scopes=["read"], validate_token_resource=True,
    )
    server = MCPServer("sdk", token_verifier=verifier, auth=settings)

    @server.tool()
    def whoami() -> dict[str, Any]:
        return facts(sdk_access_token())

    return server.streamable_http_app(host="127.0.0.1")


def keys(folder):
    """A key of each kind for clients that sign: its private half for the tests, its public half for the daemon."""
    made = {"ES256": ec.generate_private_key(ec.SECP256R1()), "RS256": rsa.generate_private_key(65537, 2048)}
    public = []
    for alg, key in made.items():
        encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = key.private_bytes(*encoding)
        (folder / f"{alg}.pem").write_bytes(pem)
        kind = ECKey if alg == "ES256" else RSAKey
        public.append(kind.import_key(pem).as_dict(private=False) | {"alg": alg, "kid": alg, "use": "sig"})
    (folder / "keys.json").write_text(json.dumps({"keys": public}))
    return {alg: str(folder / f"{alg}.pem") for alg in made}


def resource(uri, servers):
    return f'[[resource]]\nuri = "{uri}"\nscopes = {json.dumps(SCOPES)}\ndefault_scopes = ["read"]\nclients = ["*", "tag:mcp"]\nservers = {json.dumps(servers)}\n'


def client(identifier, *lines):
    return "\n".join(["[[client]]", f'id = "{identifier}"', *lines]) + "\n"


def tables(folder, resources, secret, documents):
    """What the administrator of this tailnet wrote."""
    credentials = 'grant_types = ["client_credentials"]'
    digest = f'secret_sha256 = "{hashlib.sha256(secret.encode()).hexdigest()}"'
    redirects = f"redirect_uris = {json.dumps(REDIRECTS)}"
    return "".join([
        *(resource(uri, servers) for uri, servers in resources.items()),
        client("static", "public = true", redirects),
        client("static-secret", digest, redirects),
        # What one of these was granted once it keeps: each is for one test.
        *(client(f"climber-{name}", "public = true", redirects) for name in ("mcp", "fastmcp", "rust")),
        # A resource server is a client, too, so that it may introspect.
        client("server", digest, credentials),
        # Programs that act for themselves.
        client("robot", digest, credentials),
        client("robot-keys", f'jwks_file = "{folder}/keys.json"', credentials),
        '[[workload]]\ntag = "tag:mcp"\n',
        "[[rule]]\nallow_dcr = true\n",
        f'[clients]\ntrusted = ["{documents.origin}/"]\n',
        f'[outbound]\ntest_host = "{documents.host}"\ntest_ca = "{TLS}/ca.pem"\n',
    ])


async def demonstration(folder, issuer, text):
    """Starts the daemon with these tables and gives the line that it prints."""
    (folder / "tables.toml").write_text(text)
    arguments = ["--port", "0", "--json", "--issuer", issuer, "--tables", folder / "tables.toml", "--workload", "tag:mcp"]
    log = open(folder / "demo.log", "w")
    daemon = await asyncio.create_subprocess_exec(
        os.environ["TSIDECAR_BINARY"], "demo", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log,
    )
    line = await daemon.stdout.readline()
    if not line:
        raise SystemExit(f"tsidecar demo ended:\n{(folder / 'demo.log').read_text()}")
    return daemon, json.loads(line)


async def main():
    folder = Path(sys.argv[1])
    sockets = {name: listening() for name in ("front", "notes", "documents", *SERVERS)}
    origin = {name: f"http://127.0.0.1:{port}" for name, (_, port) in sockets.items()}
    issuer = origin["front"]
    front = Front()
    documents = Documents(f"rp.test:{sockets['documents'][1]}", front.notes)
    tls = {"ssl_keyfile": f"{TLS}/key.pem", "ssl_certfile": f"{TLS}/cert.pem"}
    tasks = [serve(front.app, sockets["front"][0]), serve(front.notebook, sockets["notes"][0])]
    tasks.append(serve(documents.app, sockets["documents"][0], **tls))
    background = [asyncio.create_task(task) for task in tasks]

    secret = secrets.token_hex(32)
    signing = keys(folder)
    uris = {name: f"{origin[name]}/mcp" for name in SERVERS}
    resources = {uri: ["server"] for uri in uris.values()} | {uris[name]: ["tag:mcp"] for name in ("tag", "sdk")}
    # The metadata that FastMCP reads at the start comes through the front: it must know the way before.
    starting = asyncio.create_task(demonstration(folder, issuer, tables(folder, resources, secret, documents)))
    daemon, demo = await starting
    front.address = demo["address"]

    jwt = lambda name: JWTVerifier(jwks_uri=f"{issuer}/.well-known/jwks.json", issuer=issuer, audience=uris[name], required_scopes=["read"])
    introspection = IntrospectionTokenVerifier(
        introspection_url=f"{issuer}/introspect", client_id="server", client_secret=secret, required_scopes=["read"],
        # `server` may introspect the tokens of other servers, too: only this line says which are for this one.
        audience=uris["introspection"],
    )
    tagged = f"http://{demo['workloads']['tag:mcp']}/introspect"
    # FastMCP always sends a secret. An empty one is none, and the tailnet's word counts.
    by_tag = IntrospectionTokenVerifier(
        introspection_url=tagged, client_id="tag:mcp", client_secret="", client_auth_method="client_secret_post",
        required_scopes=["read"], audience=uris["tag"],
    )
    servers = {
        "jwt": fastmcp("jwt", origin["jwt"], jwt("jwt"), issuer),
        "introspection": fastmcp("introspection", origin["introspection"], introspection, issuer),
        "tag": fastmcp("tag", origin["tag"], by_tag, issuer),
        "slash": fastmcp("slash", origin["slash"], jwt("slash"), AnyHttpUrl(issuer)),
        "sdk": sdk_server(origin["sdk"], ByTag(tagged, uris["sdk"]), issuer),
    }
    background += [asyncio.create_task(serve(app, sockets[name][0])) for name, app in servers.items()]
    line = {"issuer": issuer, "workload": demo["workloads"]["tag:mcp"], "notes": origin["notes"], "documents": documents.origin, "servers": uris, "secret": secret, "keys": signing}
    print(json.dumps(line), flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ends = [asyncio.create_task(end) for end in (stop.wait(), daemon.wait())]
    try:
        await asyncio.wait([*background, *ends], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if daemon.returncode is None:
            daemon.terminate()
            await daemon.wait()
        os._exit(0 if stop.is_set() else 1)  # open streams of clients would hold the servers


if __name__ == "__main__":
    asyncio.run(main())
