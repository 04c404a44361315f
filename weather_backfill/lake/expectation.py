"""The entries of a raw file's footer that say what was asked for and what is lacking (`lacks`, `asked`)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from weather_backfill.model.expectation import Asked, Lack
from weather_backfill.util import json_documents


def footer_entries(lacks: tuple[Lack, ...], asked: Asked | None) -> dict[str, str]:
    """The entries for a day that lacks this and was asked for that; equal ones for equal days."""
    entries = {}
    if lacks:
        rows = sorted({(lack.station, lack.metric, lack.part, lack.cause) for lack in lacks})
        entries["lacks"] = json.dumps(rows)
    if asked:
        parts, stations = sorted(asked.parts), sorted(asked.stations)
        entries["asked"] = json.dumps({"parts": parts, "stations": stations, "whole": asked.whole})
    return entries


def lacks_in(footer: Mapping[str, str]) -> tuple[Lack, ...]:
    """What a file's day lacks; raises `UnreadableObjectError` if its entry is not of `footer_entries`."""
    if "lacks" not in footer:
        return ()
    with json_documents.reading("this file's footer has no valid lacks", "reprocess its day."):
        rows = json_documents.parsed(footer["lacks"])
        return tuple(Lack(*map(str, row)) for row in rows)


def asked_in(footer: Mapping[str, str]) -> Asked | None:
    """What was asked for when a file was written; None in files of older releases. Raises as `lacks_in`."""
    if "asked" not in footer:
        return None
    with json_documents.reading("this file's footer does not say what was asked for", "reprocess its day."):
        document = json_documents.parsed(footer["asked"])
        return Asked(frozenset(document["parts"]), frozenset(document["stations"]), str(document["whole"]))
