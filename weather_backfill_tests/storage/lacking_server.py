"""A small S3 server in this process that lacks what it is told to lack, and says so as such servers do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree

ERROR = "<Error><Code>{}</Code><Message>{}</Message></Error>"
NOT_IMPLEMENTED = ERROR.format("NotImplemented", "A header you provided implies functionality that is not implemented")


class LackingServer(ThreadingHTTPServer):
    """`lacks` names the headers that it does not know, with how it answers: `ignored`, 501, 400 or 412."""

    def __init__(self, lacks: dict[str, object]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lacks = lacks
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: LackingServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes | str = b"", **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.pop("length", str(len(data))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).split("/", 2)[2]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        for header, how in self.server.lacks.items():
            if header in self.headers and how != "ignored":
                text = ERROR.format("InvalidArgument", f"Unsupported header '{header}' received for this API call.")
                self._answer(int(str(how)), NOT_IMPLEMENTED if how == 501 else text)
                return
        with self.server.lock:
            known = self.server.objects.get(self._key)
            etag = _etag(known[0]) if known else None
            created = "If-None-Match" in self.headers and "If-None-Match" not in self.server.lacks
            matched = "If-Match" in self.headers and "If-Match" not in self.server.lacks
            if (created and known) or (matched and self.headers["If-Match"] != etag):
                self._answer(412, ERROR.format("PreconditionFailed", "no"))
                return
            self.server.objects[self._key] = body, datetime.now(UTC)
        self._answer(200, ETag=_etag(body))

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            prefix = query.get("prefix", [""])[0]
            rows = "".join(
                f"<Contents><Key>{key}</Key><LastModified>{time:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified>"
                f"<ETag>{_etag(data)}</ETag><Size>{len(data)}</Size></Contents>"
                for key, (data, time) in sorted(self.server.objects.items())
                if key.startswith(prefix)
            )
            self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>")
            return
        if self._key not in self.server.objects:
            self._answer(404, ERROR.format("NoSuchKey", "no"))
            return
        data, time = self.server.objects[self._key]
        self._answer(200, data, ETag=_etag(data), Last_Modified=f"{time:%a, %d %b %Y %H:%M:%S GMT}")

    do_HEAD = do_GET  # noqa: N815

    def do_DELETE(self) -> None:
        self.server.objects.pop(self._key, None)
        self._answer(204)

    def do_POST(self) -> None:
        asked = ElementTree.fromstring(self.rfile.read(int(self.headers["Content-Length"])))
        keys = [element.text or "" for element in asked.iter() if element.tag.endswith("Key")]
        for key in keys:
            self.server.objects.pop(key, None)
        self._answer(200, f"<DeleteResult>{''.join(f'<Deleted><Key>{k}</Key></Deleted>' for k in keys)}</DeleteResult>")


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@contextmanager
def lacking(**lacks: object) -> Iterator[str]:
    """The endpoint of such a server; headers with `_` for `-`."""
    server = LackingServer({name.replace("_", "-"): how for name, how in lacks.items()})
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
