"""Versions of a station's history that lie side by side: the newer one is the history, the older one adds nothing.

At the turn of a year DWD's folders hold `..._20221231_hist` beside `..._20231231_hist` for days. Rows that the newer
one no longer has were withdrawn; what the older one says of them must not come back. Files of sub-hourly history are
chunks of months or decades that follow one another, and only those of the same chunk are versions of each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from weather_backfill.sources.dwd.directory_index import DirectoryEntry
from weather_backfill.sources.dwd.products import Period, ProductFile

Listed = tuple[ProductFile, DirectoryEntry]


def newest_first(file: ProductFile, entry: DirectoryEntry) -> tuple[int, float]:
    """Sorts versions: the later end in the name first, then the later time in the listing."""
    end = file.end or date.min
    return -end.toordinal(), -(entry.modified.timestamp() if entry.modified else 0.0)


def superseded(files: Iterable[Listed], chunked: bool) -> set[str]:
    """The names of one station's and product's historical files that a newer version replaces.

    Where history comes in chunks, a file is another's version if they share at least half of its days; else there is
    one history, and any shared day will do. A file whose name gives no days is never replaced: nobody knows what it
    holds.
    """
    historical = [item for item in files if item[0].period is Period.HISTORICAL]
    kept: list[range] = []
    gone: set[str] = set()
    for file, _ in sorted(historical, key=lambda item: (*newest_first(*item), item[0].name)):
        if file.start is None or file.end is None:
            continue
        days = range(file.start.toordinal(), file.end.toordinal() + 1)
        if any(_is_version(days, newer, chunked) for newer in kept):
            gone.add(file.name)
        else:
            kept.append(days)
    return gone


def _is_version(older: range, newer: range, chunked: bool) -> bool:
    shared = min(older.stop, newer.stop) - max(older.start, newer.start)
    return 2 * shared >= len(older) if chunked else shared > 0
