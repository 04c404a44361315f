"""A page with cells of other types than documented: a bare NaN, a number or a boolean among texts.

Only a page that Arrow does not take as it is comes here, so clean ones pay nothing. Bare numbers and words are put
into quotes, all at once; what is odder (lists, objects, samples that are none) is read sample by sample. Each odd cell
comes out as its text, and is judged like any other text.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

TEXTS = [("name", pa.string()), ("value", pa.string()), ("time", pa.string())]
"""The fields of a sample."""

# Within a text the quotes around `value` would be escaped, so that this finds keys alone.
_BARE_CELL = (
    r'("(?:value|time)"\s*:\s*)'
    r"([+-]?(?:\.?[0-9][0-9.eE+-]*|[nN][aA][nN]|[iI]nf(?:inity)?|[tT]rue|[fF]alse|None|undefined))"
)
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def quoted(body: bytes) -> pa.Buffer:
    """The page with bare numbers and words of values and times in quotes; `null` stays."""
    whole = pa.array([body], pa.large_binary())
    return pc.replace_substring_regex(whole, _BARE_CELL, r'\1"\2"')[0].as_buffer()


def read_singly(body: bytes) -> pa.Table:
    """The page as a table of one row, as Arrow's reader gives it, each sample read for itself.

    A name that is no text is null; a sample that is none is shown in its value. Raises `ValueError` for bytes that
    are no JSON object with a list of samples.
    """
    page = json.loads(body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace"))
    if not isinstance(page, dict) or not isinstance(page.get("point_samples"), list):
        raise ValueError("no object with a list of samples")
    samples = [_cells(sample) for sample in page["point_samples"]]
    if samples and not any(isinstance(sample, dict) for sample in page["point_samples"]):
        raise ValueError("none of its samples is an object")
    columns = [pa.array(cells, kind) for cells, (_, kind) in zip(_columns(samples), TEXTS, strict=True)]
    rows = pa.StructArray.from_arrays(columns, fields=[pa.field(*field) for field in TEXTS])
    cursor, more = page.get("next_cursor"), page.get("has_more")
    if not isinstance(cursor, str | None) or not isinstance(more, bool | None):
        raise ValueError("next_cursor is no text, or has_more neither true nor false")
    return pa.table(
        {
            "point_samples": pa.ListArray.from_arrays([0, len(rows)], rows),
            "next_cursor": pa.array([cursor], pa.string()),
            "has_more": pa.array([more], pa.bool_()),
        }
    )


def _columns(samples: Sequence[tuple[str | None, ...]]) -> Sequence[Sequence[str | None]]:
    return list(zip(*samples, strict=True)) or [()] * len(TEXTS)


def _cells(sample: Any) -> tuple[str | None, str | None, str | None]:
    """Name, value and time of a sample as texts."""
    if not isinstance(sample, dict):
        return None, _shown(sample), None
    name = sample.get("name")
    return _clean(name) if isinstance(name, str) else None, _shown(sample.get("value")), _shown(sample.get("time"))


def _shown(cell: Any) -> str | None:
    if cell is None:
        return None
    return _clean(cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False))


def _clean(text: str) -> str:
    return _HALF_CHARACTER.sub("\ufffd", text)


def in_utf8(rows: pa.StructArray) -> pa.StructArray:
    """Samples whose texts are UTF-8: bytes that are none, and halves of characters, are shown as U+FFFD.

    Values that are bare numbers stay numbers.
    """
    columns = [_in_utf8(column) if pa.types.is_string(column.type) else column for column in rows.flatten()]
    return pa.StructArray.from_arrays(columns, fields=list(rows.type))


def _in_utf8(texts: pa.Array) -> pa.Array:
    cells = texts.cast(pa.binary()).to_pylist()
    return pa.array([None if cell is None else cell.decode("utf-8", "replace") for cell in cells], pa.string())
