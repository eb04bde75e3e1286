"""A sink on loopback for both sides: it reads each body, says yes, and counts what was in it when it is asked."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

lock = Lock()
bodies: list[bytes] = []
counted = 0


def records(body: bytes) -> int:
    """Return how many events are in a body: JSON's by their key, OTLP's by that of the attribute that each has."""
    return len(re.findall(rb'"occurred_at":' if body.startswith(b"[") else rb"\n\x08actor_id", body))


class Handler(BaseHTTPRequestHandler):
    """Takes whatever is posted."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        global counted
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            bodies.append(body)
            if len(bodies) > 1000:
                counted += sum(map(records, bodies))
                bodies.clear()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        global counted
        with lock:
            body = str(counted + sum(map(records, bodies))).encode()
            bodies.clear()
            counted = 0
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
