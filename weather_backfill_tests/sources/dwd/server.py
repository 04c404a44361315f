"""A real HTTP server over a folder: index pages, ETags, conditional GET, and faults on demand."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

Fault = Callable[[str], tuple[int, bytes] | None]


class Mirror:
    """What the server serves, and what it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.fault: Fault = lambda path: None
        self.etags = True
        self.dated = False
        self.url = ""


@contextmanager
def serve(root: Path, dated: bool = False) -> Iterator[Mirror]:
    """Serve a folder on a free port of this machine; `dated`: its pages say when files were modified."""
    mirror = Mirror(root)
    mirror.dated = dated

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(self.path).strip("/")
            mirror.asked[path] += 1
            fault = mirror.fault(path)
            if fault is not None:
                return self.answer(*fault)
            target = mirror.root / path
            if target.is_dir():
                return self.answer(200, _index(target, mirror.dated))
            if not target.is_file():
                return self.answer(404, b"not here")
            body = target.read_bytes()
            tag = f'"{hashlib.md5(body).hexdigest()}"' if mirror.etags else ""
            if tag and self.headers.get("If-None-Match") == tag:
                return self.answer(304, b"", tag)
            mirror.sent[path] += 1
            return self.answer(200, body, tag)

        def answer(self, status: int, body: bytes, tag: str = "") -> None:
            self.send_response(status)
            if tag:
                self.send_header("ETag", tag)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _index(folder: Path, dated: bool) -> bytes:
    lines = ['<html><head><title>Index of /</title></head><body><pre><a href="../">../</a>']
    for entry in sorted(folder.iterdir()):
        name = entry.name + ("/" if entry.is_dir() else "")
        stamp = f"{datetime.fromtimestamp(entry.stat().st_mtime, UTC):%d-%b-%Y %H:%M}" if dated else "29-Mar-2020 08:55"
        lines.append(f'<a href="{name}">{name[:40]}</a>    {stamp}    {entry.stat().st_size}')
    return "\n".join([*lines, "</pre></body></html>"]).encode()
