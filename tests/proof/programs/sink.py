"""A sink: takes JSON batches, and tells what it has taken. Run as ``python -m tests.proof.programs.sink``."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition
from time import monotonic
from typing import Any

LARGEST = 10_000
"""Bytes of one event's details, at most."""

PATIENCE = 60.0

received: list[tuple[str, str]] = []
seen: set[str] = set()
changed = Condition()


class Handler(BaseHTTPRequestHandler):
    """``POST /events`` takes a batch, ``GET /wait/5`` answers when 5 different ones are there, ``GET /`` tells all."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for _, _, details in events:
            if len(json.dumps(details)) > LARGEST:
                self._answer(413, "an event is larger than 10000 bytes")
                return
            if "malformed" in details:
                self._answer(422, "malformed is no field of ours")
                return
        with changed:
            received.extend((key, reading) for key, reading, _ in events)
            seen.update(key for key, _, _ in events)
            changed.notify_all()
        self._answer(200, "")

    def do_GET(self) -> None:
        with changed:
            if self.path.startswith("/wait/"):
                goal, until = int(self.path.removeprefix("/wait/")), monotonic() + PATIENCE
                while len(seen) < goal and (left := until - monotonic()) > 0:
                    changed.wait(left)
                answer: Any = len(seen)
            else:
                answer = received
            told = json.dumps(answer)
        self._answer(200, told)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, words: str) -> None:
        body = words.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
