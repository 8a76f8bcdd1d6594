"""A backend on a unix socket that answers with the request it got, as JSON: what the real `tailscale serve` sends on."""

import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": self.headers.items(), "connection": self.server.number(self.connection)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path):
        self._seen = []
        super().__init__(str(path), _Handler)

    def number(self, connection):
        """A number of its own for each connection, in the order of their first requests."""
        if connection not in self._seen:
            self._seen.append(connection)
        return self._seen.index(connection)


@contextmanager
def echo(path):
    """Runs the backend on `path` while the block runs."""
    Path(path).unlink(missing_ok=True)
    server = _Server(path)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        Path(path).unlink(missing_ok=True)
