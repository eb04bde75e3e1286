"""A sink on loopback for both sides: it reads each body, says yes, and counts what was in it when it is asked."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any


def records(body: bytes) -> int:
    """Return how many events are in a body: JSON's by their key, OTLP's by that of the attribute that each has."""
    return len(re.findall(rb'"occurred_at":' if body.startswith(b"[") else rb"\n\x08actor_id", body))


class Taken:
    """What was taken since somebody asked."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._bodies: list[bytes] = []
        self._counted = 0

    def add(self, body: bytes) -> None:
        with self._lock:
            self._bodies.append(body)
            if len(self._bodies) > 1000:
                self._count()

    def count(self) -> int:
        with self._lock:
            self._count()
            counted, self._counted = self._counted, 0
            return counted

    def _count(self) -> None:
        self._counted += sum(map(records, self._bodies))
        self._bodies.clear()


taken = Taken()


class Handler(BaseHTTPRequestHandler):
    """Takes whatever is posted."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        taken.add(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        body = str(taken.count()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
