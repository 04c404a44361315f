"""ASGI middleware that lets an application answer its own host and its own pages alone.

A server without a log-in trusts whoever reaches it, and every page in the operator's browser reaches it: binding to
loopback stops other machines, not other pages. So a request is refused unless its `Host` is one of ours (a name that
is made to resolve to us is another), what sent it is no page of another origin, and what it may change is asked for
by POST with a JSON body, which no page of another origin may send without being allowed to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weather_backfill.security.own_hosts import Authority, OwnHosts, parse_authority

logger = logging.getLogger(__name__)

_READING = ("GET", "HEAD", "OPTIONS")
_SHOWN = 100  # characters of a header that an error repeats


@dataclass(frozen=True, slots=True)
class Refusal:
    """Status and text of a refused request."""

    status: int
    text: str


class SameOriginOnly:
    """Middleware that refuses foreign hosts, pages of other origins, and changes other than by POST with JSON.

    `changes(scope)` says of a GET request whether it would change something; it is then refused too. Answers may not be
    shown inside pages of other origins. A refusal is 403 (host, origin), 405 (method) or 415 (body), with a text that
    says why, and a warning in the log; a websocket is refused with 403.
    """

    def __init__(self, app: ASGIApp, own: OwnHosts, changes: Callable[[Scope], bool] = lambda scope: False) -> None:
        self._app, self._own, self._changes = app, own, changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self.judge(scope)
        if refusal is None:
            await self._app(scope, receive, _unframed(send) if scope["type"] == "http" else send)
            return
        logger.warning("refused %s %.200r: %s", scope.get("method", "websocket"), scope["path"], refusal.text)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # 403 to the client; pages never see a text of it
            return
        headers = {"Allow": "POST"} if refusal.status == 405 else None
        await PlainTextResponse(f"{refusal.text}\n", refusal.status, headers)(scope, receive, send)

    def judge(self, scope: Scope) -> Refusal | None:
        """Return why a request is refused; None if it is not."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = parse_authority(hosts[0]) if len(hosts) == 1 else None
        if host is None or host not in self._own.hosts:
            return Refusal(
                403,
                f"This server does not answer to the host {_shown(hosts)}. Expected one of {self._names()}; if it is "
                "meant to be reached by this name, through a proxy for example, name it in WEATHER_ALLOWED_HOSTS.",
            )
        return self._judge_origin(scope, headers, host) or self._judge_change(scope, headers)

    def _names(self) -> str:
        return ", ".join(sorted(name if port is None else f"{name}:{port}" for name, port in self._own.hosts))

    def _judge_origin(self, scope: Scope, headers: Headers, host: Authority) -> Refusal | None:
        origins = headers.getlist("origin")
        if origins:
            foreign = not all(self._own.are_pages_of(origin, host) for origin in origins)
        else:
            foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
            foreign = foreign and not _follows_link(scope, headers)
        if not foreign:
            return None
        sender = f"a page of {_shown(origins)}" if origins else "a page of another origin"
        return Refusal(
            403,
            f"This server answers its own pages alone, and this request comes from {sender}. If that is a name of this "
            "server, through a proxy for example, name it in WEATHER_ALLOWED_HOSTS.",
        )

    def _judge_change(self, scope: Scope, headers: Headers) -> Refusal | None:
        if scope["type"] == "websocket":
            return None
        method = scope["method"]
        if method in _READING:
            if method == "GET" and self._changes(scope):
                return Refusal(405, "What changes something is asked for by POST with a JSON body, not by GET.")
            return None
        if method != "POST":
            return Refusal(405, f"{_shown([method])} is not a method of this server: expected GET or POST.")
        bodies = headers.getlist("content-type")
        if len(bodies) != 1 or bodies[0].split(";")[0].strip().lower() != "application/json":
            return Refusal(
                415, f"A POST has to say that its body is JSON (Content-Type: application/json), not {_shown(bodies)}."
            )
        return None


def _shown(values: list[str]) -> str:
    return ", ".join(repr(value[:_SHOWN]) for value in values[:2]) or "none"


def _follows_link(scope: Scope, headers: Headers) -> bool:
    """Return whether the browser opens a page of ours from a link elsewhere, in a tab and not inside another page."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _unframed(send: Send) -> Send:
    """Forbid browsers to show answers inside pages of other origins, where clicks could be led."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Frame-Options"] = "SAMEORIGIN"
            headers.append("Content-Security-Policy", "frame-ancestors 'self'")
        await send(message)

    return sending
