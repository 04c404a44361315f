"""Real servers that alerts are sent to: an HTTP server that takes webhooks, an SMTP server that takes mail."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Sink:
    """What arrived; `down` makes the server fail."""

    port: int = 0
    down: bool = False
    asked: int = 0
    answered: int = 0
    answer: bytes = b""  # what a webhook answers with, until the other end has had enough
    texts: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)


@contextmanager
def serving(server: socketserver.BaseServer, sink: Sink) -> Iterator[Sink]:
    sink.port = server.server_address[1]  # type: ignore[index,assignment]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def webhook_sink() -> Iterator[Sink]:
    sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sink.asked += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not sink.down:
                sink.texts.append(json.loads(body)["text"])
            self.send_response(404 if sink.down else 200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(4096 if sink.answer else 0):
                    self.wfile.write(sink.answer)
                    sink.answered += len(sink.answer)

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), sink):
        yield sink


@contextmanager
def dripping_sink(answer: bytes) -> Iterator[Sink]:
    """A server whose answer begins with `answer` and then goes on byte by byte, without an end."""
    sink, over = Sink(), threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sink.asked += 1
            self.request.sendall(answer)
            with suppress(OSError):
                while not over.wait(0.02):
                    self.request.sendall(b"x")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with serving(Server(("127.0.0.1", 0), Handler), sink):
        try:
            yield sink
        finally:
            over.set()


@contextmanager
def smtp_sink() -> Iterator[Sink]:
    sink = Sink()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            sink.asked += 1
            self.say("554 not now" if sink.down else "220 sink")
            for line in self.rfile:
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.say("354 go on")
                    lines = iter(self.rfile.readline, b".\r\n")
                    mail = b"".join(part.removeprefix(b".") if part.startswith(b"..") else part for part in lines)
                    sink.mails.append(message_from_bytes(mail, policy=policy.default))  # type: ignore[arg-type]
                elif verb == b"QUIT":
                    self.say("221 bye")
                    return
                self.say("250 ok")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

    with serving(Server(("127.0.0.1", 0), Handler), sink):
        yield sink
