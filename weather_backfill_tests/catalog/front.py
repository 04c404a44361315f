"""An HTTP server before the AWS server: it notes every call, and refuses some as AWS does when it is busy."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

Rule = Callable[[str, dict[str, Any]], dict[str, Any] | None]
"""From operation and request to AWS's refusal (`__type`, `message`) or an answer of its own; None: pass it on."""


class Front:
    """What went through; `rule` decides what is answered here."""

    def __init__(self, behind: str) -> None:
        self.behind, self.url = behind, ""
        self.rule: Rule = lambda _operation, _request: None
        self.calls: Counter[str] = Counter()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()

    def handle(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, str]:
        operation = headers.get("X-Amz-Target", path).rsplit(".", 1)[-1]
        request = json.loads(body) if "X-Amz-Target" in headers and body else {}
        with self._lock:
            self.calls[operation] += 1
            self.requests.append((operation, request))
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            own = self.rule(operation, request)
        try:
            if own is not None:
                return 400 if "__type" in own else 200, json.dumps(own).encode(), "application/x-amz-json-1.1"
            answer = requests.post(f"{self.behind}{path}", headers=headers, data=body, timeout=60)
            return answer.status_code, answer.content, answer.headers.get("Content-Type", "application/json")
        finally:
            with self._lock:
                self._now -= 1


def throttle(operation: str, times: int) -> Rule:
    """Refuse the first calls of an operation."""
    left = [times]

    def rule(called: str, _: dict[str, Any]) -> dict[str, Any] | None:
        if called != operation or not left[0]:
            return None
        left[0] -= 1
        return {"__type": "ThrottlingException", "message": "Rate exceeded"}

    return rule


@contextmanager
def front_of(behind: str) -> Iterator[Front]:
    """A server on a free port."""
    front = Front(behind)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content, kind = front.handle(self.path, dict(self.headers), body)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    front.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
