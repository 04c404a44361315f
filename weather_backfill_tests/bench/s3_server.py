"""A small read-only S3 server over a folder, in its own process: lists, heads and gets, all from memory.

moto's server needs two milliseconds of its own for every object, more than some clients: with it the benchmark
would measure the server. This one answers in some 30 microseconds. Anonymous, one bucket, no writes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 1000
MODIFIED = "2024-01-16T00:00:00.000Z"
_HEADERS = (
    b"HTTP/1.1 %d %b\r\nContent-Length: %d\r\nContent-Type: %b\r\nAccept-Ranges: bytes\r\n"
    b'Last-Modified: Tue, 16 Jan 2024 00:00:00 GMT\r\nETag: "0"\r\n%b\r\n'
)
_REASONS = {200: b"OK", 206: b"Partial Content", 404: b"Not Found", 405: b"Method Not Allowed"}


class Bucket:
    """The objects of a folder, in memory."""

    def __init__(self, folder: Path) -> None:
        self.objects = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        self.keys = sorted(self.objects)

    def listing(self, query: dict[str, list[str]]) -> bytes:
        """ListObjectsV2, with or without a delimiter."""
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        most = int(query.get("max-keys", [PAGE])[0])
        number = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after) if after else 0)
        found: list[str] = []
        folders, last = dict[str, None](), ""
        while number < len(self.keys) and self.keys[number].startswith(prefix) and len(found) + len(folders) < most:
            key = self.keys[number]
            rest, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if cut:
                folders[prefix + rest + cut] = None
                number = bisect_left(self.keys, prefix + rest + chr(ord(cut) + 1))
                last = self.keys[number - 1]
                continue
            found.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>{MODIFIED}</LastModified>"
                f"<ETag>&quot;0&quot;</ETag><Size>{len(self.objects[key])}</Size></Contents>"
            )
            number, last = number + 1, key
        more = number < len(self.keys) and self.keys[number].startswith(prefix)
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<KeyCount>{len(found) + len(folders)}</KeyCount><MaxKeys>{most}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>"
            + (f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else "")
            + "".join(found)
            + "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders)
            + "</ListBucketResult>"
        ).encode()


class Connection(asyncio.Protocol):
    """One client's connection; requests have no bodies."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self.pending += data
        while (end := self.pending.find(b"\r\n\r\n")) >= 0:
            request, self.pending = self.pending[:end], self.pending[end + 4 :]
            self.transport.write(self._answer(request))  # type: ignore[attr-defined]

    def _answer(self, request: bytes) -> bytes:
        line, _, headers = request.partition(b"\r\n")
        method, target, _ = line.decode().split(" ")
        parts = urlsplit(target)
        _, _, key = unquote(parts.path).lstrip("/").partition("/")
        if method not in ("GET", "HEAD"):
            return _response(405, b"")
        if not key:
            return _response(200, self.bucket.listing(parse_qs(parts.query)), b"application/xml")
        body = self.bucket.objects.get(key)
        if body is None:
            return _response(404, b"<Error><Code>NoSuchKey</Code></Error>" * (method == "GET"), b"application/xml")
        if method == "HEAD":
            return _response(200, b"", length=len(body))
        at = headers.lower().find(b"\r\nrange: bytes=")
        if at < 0:
            return _response(200, body)
        first, _, last = headers[at + 15 :].partition(b"\r\n")[0].partition(b"-")
        start, stop = int(first), min(int(last or len(body)), len(body) - 1)
        extra = b"Content-Range: bytes %d-%d/%d\r\n" % (start, stop, len(body))
        return _response(206, body[start : stop + 1], extra=extra)


def _response(
    status: int, body: bytes, kind: bytes = b"application/json", extra: bytes = b"", length: int | None = None
) -> bytes:
    size = len(body) if length is None else length
    return _HEADERS % (status, _REASONS[status], size, kind, extra) + body


async def serve(folder: Path) -> None:
    """Serve a folder on a free port, printed on the first line, until stopped."""
    bucket = Bucket(folder)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(bucket), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """A server process over a folder; gives the AWS variables that lead to it. Any bucket name will do."""
    process = subprocess.Popen([sys.executable, "-m", __name__, str(folder)], stdout=subprocess.PIPE, env=os.environ)
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(serve(Path(sys.argv[1])))
    except ImportError:
        asyncio.run(serve(Path(sys.argv[1])))
