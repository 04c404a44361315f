"""A server that answers with fixed bytes: pages of samples and lists of points that no simulator would make."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


def page(*samples: str, cursor: str | None = None) -> bytes:
    """The bytes of a page of samples, each as text of JSON or of what poses as it."""
    more = json.dumps(cursor is not None)
    return f'{{"point_samples":[{",".join(samples)}],"next_cursor":{json.dumps(cursor)},"has_more":{more}}}'.encode()


def points(names: Sequence[str], pages: int = 1, total: int | None = None) -> dict[str, Any]:
    """A page of a list of points."""
    return {"items": [{"name": name} for name in names], "pages": pages, "total": total}


@dataclass
class FixedServer:
    """`samples` by cursor (empty: the first page); `lists` are the answers to the list of points, the last stays."""

    samples: dict[str, bytes]
    lists: list[dict[str, Any]]
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, target: str) -> bytes:
        parts = urlsplit(target)
        self.asked.append(parts.path.rsplit("/", 1)[-1])
        if parts.path.endswith("/configured_points"):
            return json.dumps(self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]).encode()
        return self.samples[parse_qs(parts.query).get("cursor", [""])[0]]


@contextmanager
def serve(samples: bytes | dict[str, bytes], *lists: dict[str, Any]) -> Iterator[FixedServer]:
    """Serve on a free port of this machine."""
    server = FixedServer({"": samples} if isinstance(samples, bytes) else samples, list(lists))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = server.answer(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        server.url = f"http://127.0.0.1:{running.server_address[1]}/api"
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        running.shutdown()
