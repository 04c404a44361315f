"""The policy on tenant files: the folders, servers and secrets they may name, checked before a connection is opened.

Tenant files in a local folder are written by whoever runs the platform and may name any folder and any variable
that is not the platform's own. Files that come from a bucket may have been written by the tenants: they may name only
the folders, variables and profiles that the settings allow (`WEATHER_TENANT_FOLDERS`, `WEATHER_TENANT_SECRETS`), and
no plain-HTTP server. No tenant file may name a cloud's metadata endpoint.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from weather_backfill.model.errors import ConfigurationError, shown
from weather_backfill.security.reach import Reach
from weather_backfill.security.secrets import variable_of

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

OUR_VARIABLES = ("AWS_", "DAGSTER_", "WEATHER_")
"""Prefixes of the platform's own variables: no tenant file may name them."""

_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data",
                             "instance-data.ec2.internal"})  # fmt: skip
# Link-local addresses are refused as a kind (`check_address`); these serve credentials or machines' data elsewhere.
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.100.100.200",  # Alibaba Cloud
            "168.63.129.16",  # Azure's host
            "192.0.0.192",  # Oracle Cloud
            "fd00:ec2::/32",  # AWS: metadata (::254), credentials of containers (::23) and more
            "fd20:ce::254",  # Google Cloud
        ),
    )
)
_NAT64 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))
# URL parsers disagree about anything else (backslashes, tabs, percent signs and other scripts in a host): the host
# checked here could differ from the one that the client then asks.
_URL = re.compile(r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/[!-;=?-\[\]-~]*)?")


@dataclass(frozen=True, slots=True)
class TenantPolicy:
    """Limits that the settings put on tenant files.

    `folders` None: any; `secrets` None: any variable that is not the platform's, else the variables by tenant.
    """

    folders: tuple[Path, ...] | None = None
    secrets: Mapping[str, Collection[str]] | None = field(default=None, repr=False)
    private_addresses: bool = True
    plain_http: bool = True
    endpoint: str | None = None  # the platform's own S3 server

    def check(self, tenant: str, reach: Reach) -> None:
        """Raise `ConfigurationError` naming the resource that the connection must not reach, and the setting for it."""
        for url in reach.urls:
            check_url(url, private=self.private_addresses)
            self._check_https(tenant, url, "server", "")
        for folder in reach.folders:
            self._check_folder(tenant, folder)
        names = [variable_of(reference) for reference in reach.secrets]
        if reach.profile:
            names.append(f"profile:{reach.profile}")
        for name in names:
            self._check_secret(tenant, name)
        if reach.endpoint and reach.endpoint != self.endpoint:
            self._check_endpoint(tenant, reach.endpoint)

    def _check_folder(self, tenant: str, folder: Path) -> None:
        if self.folders is None:
            return
        resolved = folder.expanduser().resolve()
        if not any(resolved.is_relative_to(allowed) for allowed in self.folders):
            allowed_text = ", ".join(map(str, self.folders)) or "none"
            raise ConfigurationError(
                f"tenant {tenant!r} may not read the folder {folder}: allowed are the folders below "
                f"WEATHER_TENANT_FOLDERS ({allowed_text}). Use s3:// or https://, or add the folder there."
            )

    def _check_secret(self, tenant: str, name: str) -> None:
        if name.startswith(OUR_VARIABLES):
            raise ConfigurationError(
                f"tenant {tenant!r} may not use the variable {name}: names that begin with {', '.join(OUR_VARIABLES)} "
                "are the platform's own. Put the tenant's secret into a variable of its own."
            )
        if self.secrets is not None and name not in self.secrets.get(tenant, ()):
            raise ConfigurationError(
                f"tenant {tenant!r} may not use {name}: its file comes from a bucket, and WEATHER_TENANT_SECRETS does "
                f'not grant it. Add it there, as JSON: {{"{tenant}": ["{name}"]}}.'
            )

    def _check_https(self, tenant: str, url: str, what: str, instead: str) -> None:
        """Refuse plain HTTP, which sends keys in clear and lets anybody in between answer."""
        if not self.plain_http and not url.startswith("https://"):
            raise ConfigurationError(
                f"tenant {tenant!r} may not use the {what} {url}: its file comes from a bucket, and such a file may "
                f"name https:// {what}s only. Use one{instead}."
            )

    def _check_endpoint(self, tenant: str, url: str) -> None:
        check_url(url, private=self.private_addresses)
        self._check_https(tenant, url, "endpoint", ", or set the platform's own with WEATHER_S3_ENDPOINT_URL")
        host = urlsplit(url).hostname or ""
        for address in addresses_of(host):
            check_address(address, host, private=self.private_addresses)


def leads_out(folder: Path, path: Path) -> bool:
    """Return whether a path, with links followed, lies outside the folder."""
    return not path.resolve().is_relative_to(folder.resolve())


def check_url(url: str, *, private: bool = True) -> None:
    """Raise `ConfigurationError` for an invalid URL, and for one that names a metadata endpoint.

    With `private` False also for one that names a loopback or private address.
    """
    if not _URL.fullmatch(url) or "\\" in url:
        raise ConfigurationError(
            f"{shown(url)!r} is not an allowed URL: expected https://host/path in plain ASCII characters, without user "
            "and password, the host by name or number."
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise ConfigurationError(f"{shown(url)!r} is not an allowed URL: {error}.") from error
    if port == 0:
        raise ConfigurationError(f"{shown(url)!r} is not an allowed URL: port 0 cannot be connected to.")
    if host in _METADATA_NAMES:
        raise _metadata(host)
    if address := literal(host):
        check_address(address, host, private=private)


def literal(host: str) -> Address | None:
    """Parse a host that is an IP address, also in the old notations (`2852039166`, `0xa9.254.43518`); None for names.

    Raises `ConfigurationError` for a host that ends in a number and is no address.
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if not re.search(r"(^|\.)(0x[0-9a-f]*|\d+)$", host, re.IGNORECASE):
        return None  # as in browsers, a host whose last part is a number must be an address
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        raise ConfigurationError(f"{host[:100]!r} is neither a name nor an address.") from None


def addresses_of(host: str) -> list[Address]:
    """Resolve a host's name; empty where that fails, as then no request can be sent either."""
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in entries]


def check_address(address: Address, host: str, *, private: bool = True) -> None:
    """Raise `ConfigurationError` for a metadata endpoint or any link-local address, also one wrapped in IPv6.

    With `private` False also for loopback, private and all other addresses that are not global.
    """
    inner = _unwrapped(address)
    if inner.is_link_local or any(inner in network for network in _METADATA):
        raise _metadata(f"{host} ({inner})" if str(inner) != host else host)
    if inner.is_multicast:
        raise ConfigurationError(f"{host} ({inner}) is a multicast address: expected the address of a server.")
    if not private and not inner.is_global:
        raise ConfigurationError(
            f"{host} ({inner}) is a private address, which WEATHER_PRIVATE_ADDRESSES=false refuses to tenants."
        )


def _unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address that carries one (mapped, 6to4, Teredo, NAT64), else the address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    compatible = int(address) >> 32 == 0 and int(address) > 1
    if carried is None and (compatible or any(address in network for network in _NAT64)):
        carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return carried or address


def _metadata(host: str) -> ConfigurationError:
    return ConfigurationError(
        f"{host} is a metadata endpoint or link-local, where machines keep their credentials: it is never "
        "connected to. Name the service's own address."
    )
