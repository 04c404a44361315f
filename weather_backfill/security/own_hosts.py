"""Hosts that a server is reached by, and the origins of its own pages, parsed from headers and settings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - recognized, not bound
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?")
_DEFAULT_PORTS = (None, 80, 443)

Authority = tuple[str, int | None]
"""Lower-case name and port; None stands for the default ports 80 and 443."""


def parse_authority(text: str) -> Authority | None:
    """Parse `name` or `name:port` (IPv6 addresses in brackets); None if it is neither."""
    found = _AUTHORITY.fullmatch(text.lower())
    if not found:
        return None
    port = int(found[2]) if found[2] else None
    return found[1], None if port in _DEFAULT_PORTS else port


def parse_origin(text: str) -> Authority | None:
    """Parse an `Origin` header's `http://name:port` or `https://...`; None for others, such as `null`."""
    scheme, separator, authority = text.partition("://")
    return parse_authority(authority) if separator and scheme in ("http", "https") else None


@dataclass(frozen=True, slots=True)
class OwnHosts:
    """Hosts that a server answers to; pages of the `named` ones may command it under each of its names."""

    hosts: frozenset[Authority]
    named: frozenset[Authority] = frozenset()

    @classmethod
    def of(cls, host: str, port: int, named: Iterable[str] = ()) -> Self:
        """Build the hosts of a server that listens on `host` and `port` and is also reached as `named`.

        A server that listens on loopback or on every address is also reached by loopback's names.
        """
        bracketed = f"[{host}]" if ":" in host else host
        names = [bracketed, *(LOOPBACK_NAMES if _includes_loopback(host) else ())]
        own = {parse_authority(f"{name}:{port}") for name in names}
        others = frozenset(filter(None, map(parse_authority, named)))
        return cls(frozenset(filter(None, own)) | others, others)

    def are_pages_of(self, origin: str, host: Authority) -> bool:
        """Return whether a page of `origin` is ours, for a request to `host`."""
        authority = parse_origin(origin)
        return authority is not None and (authority == host or authority in self.named)


def _includes_loopback(host: str) -> bool:
    return host in _EVERY_ADDRESS or host in ("localhost", "::1") or host.startswith("127.")
