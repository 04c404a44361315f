"""The calls on the wire: lists of points, pages of samples. Names are quoted, answers checked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import orjson

from weather_backfill.http.client import PoliteClient
from weather_backfill.model.errors import NotFoundError, SchemaError
from weather_backfill.sources.aceiot.connection import LIST_SIZES, check_site
from weather_backfill.sources.aceiot.pagination import IncompleteWalkError

_MOST_LIST_PAGES = 10_000
_LIST_WALKS = 3


def blames_key(status: int, body: bytes) -> bool:
    """Whether an answer may mean a wrong key: the service answers 500 to one it does not know."""
    return b"JWT" in body[:2000] or (status == 500 and b"An unhandled exception occurred" in body[:2000])


class AceiotApi:
    """ACE IoT's API over a polite client."""

    def __init__(self, client: PoliteClient) -> None:
        self._client = client

    def configured_points(self, site: str, per_page: int = LIST_SIZES[-2]) -> list[str]:
        """The distinct names of a site's configured points, over all pages.

        The list can shift while its pages are walked, so that a point comes twice and another never: where fewer
        distinct names come than the API says there are, or without its word one comes twice, it is walked again.
        Raises `IncompleteWalkError` if that does not help.
        """
        path = f"/sites/{quote(check_site(site), safe='')}/configured_points"
        for _ in range(_LIST_WALKS):
            names, total = self._listed_names(path, per_page)
            distinct = list(dict.fromkeys(names))
            if len(distinct) >= (len(names) if total is None else total):
                return distinct
        said = f"the API says {total}" if total is not None else "the API does not say of how many"
        raise IncompleteWalkError(
            f"{path}: {len(names)} points came, {len(distinct)} of them distinct, {said}: the list shifts while it is "
            f"walked, {_LIST_WALKS} times in a row. Retry the day; if it stays, the site lists a point twice."
        )

    def _listed_names(self, path: str, per_page: int) -> tuple[list[str], int | None]:
        """One walk: the names as they came, and the number of points that the last page tells."""
        items: list[Any] = []
        total = None
        for page in self._list_pages(path, per_page):
            items += page["items"]
            total = page.get("total")
        names = [item["name"] for item in items if isinstance(item, dict) and _is_name(item.get("name"))]
        if len(names) != len(items):
            first = next(item for item in items if not (isinstance(item, dict) and _is_name(item.get("name"))))
            raise SchemaError(
                f"{path}: {len(items) - len(names)} of {len(items)} points have no name, the first is "
                f"{str(first)[:200]}: expected a text each. Which points the site has cannot be known."
            )
        return names, total

    def samples(self, site: str, start: datetime, end: datetime, cursor: str | None, page_size: int) -> bytes:
        """The bytes of one page of raw samples of `[start, end)`, all points, ordered by time.

        Neither end is documented as part of the window or not: it is asked for from a microsecond earlier,
        and what lies outside is for the caller to leave out. Times are aware, UTC.
        """
        path = f"/sites/{quote(check_site(site), safe='')}/timeseries/paginated"
        params = {
            "start_time": _iso(start - timedelta(microseconds=1)),
            "end_time": _iso(end),
            "page_size": str(page_size),
            "raw_data": "true",
        }
        if cursor is not None:
            params["cursor"] = cursor
        try:
            return self._client.get(path, params).body
        except NotFoundError as error:
            if "No data for time period" in str(error):  # documented, where an empty page is what comes
                return b'{"point_samples": [], "next_cursor": null, "has_more": false}'
            raise

    def _list_pages(self, path: str, per_page: int) -> Iterator[dict[str, Any]]:
        seen = 0
        for number in range(1, _MOST_LIST_PAGES + 1):
            body = self._client.get(path, {"page": str(number), "per_page": str(per_page)}).body
            page = _document(path, body)
            seen += len(page["items"])
            yield page
            # `pages` may be null, and `total` may be missing: an empty page is the last resort.
            last = number >= page["pages"] if page.get("pages") is not None else not page["items"]
            if last or (page.get("pages") is None and page.get("total") is not None and seen >= page["total"]):
                return
        raise IncompleteWalkError(f"{path}: more than {_MOST_LIST_PAGES} pages of {per_page}: it never ends.")


def _document(path: str, body: bytes) -> dict[str, Any]:
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SchemaError(f"{path}: the list is not JSON ({error}); it starts {body[:120]!r}.") from error
    counts = [page.get("pages"), page.get("total")] if isinstance(page, dict) else []
    if not counts or not isinstance(page.get("items"), list) or not all(isinstance(n, int | None) for n in counts):
        raise SchemaError(f"{path}: expected items, page, pages, per_page and total; it starts {body[:120]!r}.")
    return page


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name != ""


def _iso(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"
