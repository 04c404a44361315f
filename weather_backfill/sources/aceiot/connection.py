"""What a tenant configures to use ACE IoT.

aceiot:
  base_url: https://flightdeck.aceiot.cloud/api
  api_key: ${ACME_ACEIOT_KEY}
  sites: [acme_north_campus]
  points: ["*/weather/*", "*/analogInput/*"]          # optional: only these
  metrics: {"*/weather/temp": air_temperature}        # optional: CF names for points
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from weather_backfill.model.errors import some
from weather_backfill.model.expectation import ALL, Asked, Lack
from weather_backfill.model.metrics import METRICS
from weather_backfill.security.reach import Label, ServerUrl
from weather_backfill.security.secrets import SecretReference
from weather_backfill.security.tenant_policy import check_url
from weather_backfill.sources.connection import Connection, Narrowed, plainly

_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

PAGE_SIZES = (3, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 300_000, 500_000)
"""Samples a page of `timeseries/paginated` may have."""
LIST_SIZES = (2, 10, 20, 30, 40, 50, 100, 500, 1_000, 5_000, 10_000, 100_000)
"""Items a page of a list may have."""


def check_site(name: str) -> str:
    """The site's name; raises `ValueError` if it cannot be a path segment and a station id."""
    if not _SITE.fullmatch(name):
        raise ValueError(
            f"site {name[:80]!r} is not allowed: expected 1 to 128 characters of letters, digits, '_', '.' "
            "and '-', starting with a letter or digit, as the API's list of sites has it"
        )
    return name


def _check_sites(sites: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted(site for site, times in Counter(sites).items() if times > 1)
    if twice:
        raise ValueError(f"sites stand twice: {some(twice)}; name each once")
    return sites


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address such as https://flightdeck.aceiot.cloud/api")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("expected an address without user, password, query or fragment; the key goes to api_key")
    return plainly(check_url, url).rstrip("/")


def _check_page_size(size: int | None) -> int | None:
    if size is not None and size not in PAGE_SIZES:
        raise ValueError(f"the API knows the page sizes {', '.join(map(str, PAGE_SIZES))}; leave it out for the best")
    return size


def _check_metrics(metrics: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(metrics.values()) - METRICS.keys())
    if unknown:
        raise ValueError(f"metrics {some(unknown)} are not known; expected names such as air_temperature")
    return metrics


class AceiotConnection(Connection):
    """One tenant's use of ACE IoT. Patterns are as in a shell (`*`, `?`, `[...]`), upper and lower case
    differ.
    """

    service: Literal["aceiot"] = "aceiot"
    base_url: Annotated[ServerUrl, AfterValidator(_check_url)] = Field(description="The API, up to and with /api")
    api_key: SecretReference = Field(description="${NAME} of the variable with the key")
    sites: Annotated[tuple[Annotated[str, AfterValidator(check_site)], ...], AfterValidator(_check_sites)] = Field(
        min_length=1, max_length=5000, description="Sites to read; a site becomes a station"
    )
    points: tuple[Label, ...] | None = Field(
        None, min_length=1, max_length=2000, description="Patterns of points to keep; without it all configured points"
    )
    metrics: Annotated[dict[Label, Label], AfterValidator(_check_metrics)] = Field(
        default_factory=dict,
        max_length=2000,
        description="CF metric by pattern of point; the first that matches counts",
    )
    cadence_seconds: int = Field(60, ge=1, le=86_400, description="Seconds between the samples of a point")
    requests_per_minute: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="An allowance of this tenant alone; without it the service's is shared",
    )
    page_size: Annotated[int | None, AfterValidator(_check_page_size)] = Field(
        None, description="Samples a page; without it the largest that a window can fill"
    )
    window_minutes: int | None = Field(
        None, ge=1, le=1440, description="Length of a window inside a day; without it by volume"
    )
    parallel_requests: int = Field(4, ge=1, le=32, description="Windows fetched at once, over all sites")
    lookback_days: int = Field(365, ge=1, le=36_500)

    def asked(self) -> Asked:
        """The points of the sites, by their patterns; what points are called makes every row another one."""
        names = json.dumps([list(self.metrics.items()), self.cadence_seconds]) if self.metrics else ""
        return Asked(frozenset(self.points or (ALL,)), frozenset(self.sites), names)

    def narrowed(self, lacks: Collection[Lack]) -> Narrowed | None:
        """The lacking sites alone; the API gives all points of a site or none."""
        sites = {lack.station for lack in lacks}
        if not sites or not sites <= set(self.sites):
            return None
        chosen = tuple(site for site in self.sites if site in sites)
        return Narrowed(self.model_copy(update={"sites": chosen}), frozenset(chosen))
