"""An S3 server with faults: a real server before a real server, which spoils the answers it is told to spoil."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'

POINTS = {
    "list": ("GET", re.compile(r"^/archive/?\?.*list-type")),
    "fetch": ("GET", re.compile(r"^/archive/[^?]+\.json(\.gz)?$")),
    "write": ("PUT", re.compile(r"/lake/(raw_|refined_|rejected_)")),
    "verify": ("HEAD", re.compile(r"/lake/(raw_|refined_|rejected_)")),
    "begin": ("PUT", re.compile(r"/lake/_journal/[^?]+/begun$")),
    "record": ("PUT", re.compile(r"/lake/_journal/[^?]+\.json$")),
    "refine": ("GET", re.compile(r"/lake/raw_observations/[^?]+parquet$")),
    "audit": ("PUT", re.compile(r"/lake/_(ledger|audit)/")),
}
"""Which requests are at which point of the path."""
KINDS = ("SlowDown", "SlowDown for long", "404", "truncated body", "stale ETag", "answer lost", "time-out")
TIMES = {"SlowDown": 2, "SlowDown for long": 10_000}
"""How many answers in a row are spoilt: two are ridden out, the others last until the server is healed."""
HANG = 65
"""Seconds without an answer, longer than the client waits."""


@dataclass
class _Rule:
    point: str
    kind: str
    nth: int
    seen: int = 0
    spoilt: int = 0


class FaultyProxy:
    """The server, on a port of its own in this process; one rule at a time."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._rule: _Rule | None = None
        self._lock = threading.Lock()
        self._etags: dict[str, str] = {}
        self._healed = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @classmethod
    @contextmanager
    def running(cls, upstream: str) -> Iterator[FaultyProxy]:
        """The proxy while it serves."""
        proxy = cls(upstream)
        thread = threading.Thread(target=proxy._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.heal()
            proxy._server.shutdown()
            proxy._server.server_close()
            thread.join()

    def spoil(self, point: str, kind: str, nth: int) -> None:
        """Spoil the `nth` answer at a point, and as many after it as the kind says."""
        assert kind in KINDS
        with self._lock:
            self._healed.clear()
            self._rule = _Rule(point, kind, nth)

    def heal(self) -> int:
        """Spoil nothing any more; how many answers were spoilt."""
        with self._lock:
            rule, self._rule = self._rule, None
            self._healed.set()
            return rule.spoilt if rule else 0

    @property
    def spoilt(self) -> int:
        """How many answers were spoilt so far."""
        with self._lock:
            return self._rule.spoilt if self._rule else 0

    def verdict(self, method: str, path: str) -> str | None:
        """The kind of fault that this request meets."""
        with self._lock:
            rule = self._rule
            if rule is None:
                return None
            wanted, pattern = POINTS[rule.point]
            if method != wanted or not pattern.search(path):
                return None
            rule.seen += 1
            if not rule.nth <= rule.seen < rule.nth + TIMES.get(rule.kind, 1):
                return None
            rule.spoilt += 1
            return rule.kind

    def forward(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The real server's answer."""
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            passed = {name: value for name, value in headers.items() if name.lower() not in _HOP}
            connection.request(method, path, body or None, {**passed, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            data = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        if method != "HEAD":
            found["content-length"] = str(len(data))
        return answer.status, found, data

    def wait_until_healed(self, seconds: float) -> None:
        """Say nothing until the server is healed or the client has long given up."""
        self._healed.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyProxy
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.owner.verdict(self.command, self.path)
        if kind in ("SlowDown", "SlowDown for long"):
            self._answer(503, {"content-type": "application/xml"}, _ERROR.format(code="SlowDown").encode())
            return
        if kind == "404":
            self._answer(404, {"content-type": "application/xml"}, _ERROR.format(code="NoSuchKey").encode())
            return
        status, headers, data = self.owner.forward(self.command, self.path, self.headers, body)
        if kind == "stale ETag":
            headers["etag"] = '"00000000000000000000000000000000"'
        if kind == "time-out":
            self.owner.wait_until_healed(HANG)
        if kind in ("time-out", "answer lost"):
            self.close_connection = True
            return
        self._answer(status, headers, data, cut=kind == "truncated body")

    def _answer(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in {"content-length": str(len(data)), **headers}.items():
            if name not in ("connection", "transfer-encoding", "keep-alive"):
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: a run makes hundreds of requests."""
