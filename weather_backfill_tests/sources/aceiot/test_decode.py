from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weather_backfill.model.errors import SchemaError, SourceUnavailableError
from weather_backfill.model.schemas import RAW_TEXT_LIMIT, REJECTS
from weather_backfill.sources.aceiot.decode import Page, decode_page, micros
from weather_backfill.sources.aceiot.points import PointSet
from weather_backfill.sources.table import cut_texts

START = datetime(2026, 8, 7, tzinfo=UTC)
END = START + timedelta(days=1)
POINTS = PointSet("north", 3, pa.array(["a/b", 'c"},{"d', "ü"]), ("a/b", 'c"},{"d', "ü"))
NOON = "2026-08-07T12:00:00"


def decode(samples: Any, **page: Any) -> Page:
    body = {"point_samples": samples, "next_cursor": None, "has_more": False, **page}
    return decode_page(json.dumps(body).encode(), POINTS, START, END, "aceiot:north/x")


def sample(name: Any = "a/b", value: Any = "1", time: Any = NOON) -> dict[str, Any]:
    return {"name": name, "value": value, "time": time}


def test_an_empty_page_as_captured() -> None:
    page = decode_page(b'{"point_samples":[],"next_cursor":null,"has_more":false}', POINTS, START, END, "x")
    assert (page.rows, page.next_cursor, page.has_more, page.first) == (0, None, False, None)
    assert page.rejects.schema == REJECTS


def test_the_shape_that_was_reported() -> None:
    page = decode([sample(value="1.6100000143051147", time="2026-08-07T16:25:00")], next_cursor="abc", has_more=True)
    assert page.samples.values.tolist() == [1.6100000143051147]
    assert page.samples.times.tolist() == [micros(datetime(2026, 8, 7, 16, 25, tzinfo=UTC))]
    assert (page.next_cursor, page.has_more, page.last) == ("abc", True, ("a/b", page.samples.times[0]))


@pytest.mark.parametrize("text", ["n/a", "", " 1", "1,5", "nan", "inf", "-Infinity", "0x1", "true", "1e999"])
def test_a_text_that_is_no_finite_number_is_rejected_with_its_text(text: str) -> None:
    page = decode([sample(), sample("ü", text)])
    assert (page.counts.kept, page.counts.rejected) == (1, 1)
    [reject] = page.rejects.to_pylist()
    assert reject["reason"] == "value is not a finite number"
    assert reject["raw_text"] == f"ü | {text} | {NOON}"
    assert (reject["station_id"], reject["source_object"]) == ("north", "aceiot:north/x")
    assert reject["observed_at"] == datetime(2026, 8, 7, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "time",
    ["", "yesterday", "2026-08-07", "2026-02-30T00:00:00", "2025-02-29T00:00:00", "2026-08-07T24:00:00",
    "2026-13-01T00:00:00",
     "2026-08-07T12:00:00.1234567", "9999-12-31T00:00:00", None],
)  # fmt: skip
def test_a_time_that_is_none_is_rejected(time: str | None) -> None:
    page = decode([sample(), sample(time=time)])
    assert page.rejects["reason"].to_pylist() == ["time is not ISO 8601"]
    assert page.times is None
    assert page.counts.reconciled


def test_times_with_zones_microseconds_and_leap_days() -> None:
    times = [
        NOON,
        f"{NOON}Z",
        "2026-08-07T14:00:00+02:00",
        f"{NOON}.5",
        f"{NOON}.673086",
        "2026-08-07 12:00:00",
    ]
    page = decode([sample(time=t) for t in times])
    noon = micros(datetime(2026, 8, 7, 12, tzinfo=UTC))
    assert page.samples.times.tolist() == [noon, noon, noon, noon + 500_000, noon + 673_086, noon]
    assert decode([sample(time="2024-02-29T00:00:00"), sample(time="x")]).counts.outside == 1


def test_every_row_has_one_fate() -> None:
    page = decode(
        [
            sample(),
            sample(value=None),
            sample("nobody asked"),
            sample("nobody asked", time="x"),
            sample(None),
            sample(value="x"),
            sample(time="2026-08-08T00:00:00"),
            sample(time="2026-08-06T23:59:59.999999"),
        ]
    )
    c = page.counts
    assert (c.read, c.kept, c.null, c.unconfigured, c.rejected, c.outside) == (8, 1, 1, 2, 2, 2)
    assert c.reconciled


def test_numbers_instead_of_texts_and_unknown_fields_are_read() -> None:
    page = decode([sample(value=1.5) | {"more": [1]}, sample(value=2), sample(value=None)], extra={"a": 1})
    assert page.samples.values.tolist() == [1.5, 2.0]
    assert page.counts.null == 1


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", SourceUnavailableError),
        (b"<html>", SourceUnavailableError),
        (b"null", SourceUnavailableError),
        (b"\xef\xbb\xbf null {}", SchemaError),
        (b'{"point_samples":[{"na', SourceUnavailableError),
        (b"{}", SchemaError),
        (b'{"point_samples":null,"has_more":false}', SchemaError),
        (b'{"point_samples":[1],"has_more":false}', SchemaError),
        (b'{"point_samples":[null],"has_more":false}', SchemaError),
        (b'{"point_samples":[]}', SchemaError),
        (b'{"point_samples":[{"name":1}],"has_more":false}', SchemaError),
        (b'{"point_samples":[],"has_more":false}{"point_samples":[],"has_more":false}', SchemaError),
    ],
)
def test_what_is_no_page_is_refused(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match="aceiot:north/x: "):
        decode_page(body, POINTS, START, END, "aceiot:north/x")


def test_raw_texts_are_cut_between_characters() -> None:
    [cut] = cut_texts(pa.array(["a" + "ü" * 1000])).to_pylist()
    assert cut == "a" + "ü" * ((RAW_TEXT_LIMIT - 1) // 2)


rows = st.builds(
    sample,
    name=st.one_of(st.sampled_from(POINTS.names.to_pylist()), st.none(), st.text(max_size=5)),
    value=st.one_of(st.none(), st.text(max_size=6), st.floats(allow_nan=False, allow_infinity=False).map(repr)),
    time=st.one_of(
        st.none(),
        st.text(max_size=8),
        st.datetimes(datetime(2026, 8, 6), datetime(2026, 8, 9)).map(datetime.isoformat),  # noqa: DTZ001
    ),
)


@settings(max_examples=200)
@given(st.lists(rows, max_size=30), st.booleans())
def test_any_page_is_decoded_as_plain_python_would(samples: list[dict[str, Any]], spaced: bool) -> None:
    body = {"point_samples": samples, "next_cursor": None, "has_more": False}
    text = json.dumps(body, separators=None if spaced else (",", ":"), ensure_ascii=spaced)
    page = decode_page(text.encode("utf-8", "replace"), POINTS, START, END, "x")
    assert page.counts.reconciled
    assert page.rows == len(samples)
    kept = []
    for row in samples:
        try:
            at = datetime.fromisoformat(row["time"]).replace(tzinfo=UTC) if len(row["time"]) >= 19 else None
            value = float(row["value"])
        except (ValueError, TypeError):
            continue
        if at and START <= at < END and row["name"] in POINTS.names.to_pylist():
            kept.append((row["name"], micros(at), value))
    names = POINTS.names.take(pa.array(page.samples.codes)).to_pylist()
    got = list(zip(names, page.samples.times.tolist(), page.samples.values.tolist(), strict=True))
    # Python reads a few more texts as numbers than the format has: " 1", "1_0" and digits of other scripts.
    assert [k for k in got if k not in kept] == []
    strict = [k for k in kept if k in got or _plain(samples, k)]
    assert got == strict


def _plain(samples: list[dict[str, Any]], row: tuple[str, int, float]) -> bool:
    """Whether a row's text is a number written in the usual way."""
    texts = [s["value"] for s in samples if s["name"] == row[0] and s["value"] is not None]
    return any(t.isascii() and t.strip() == t and "_" not in t and _is(t, row[2]) for t in texts)


def _is(text: str, value: float) -> bool:
    try:
        return float(text) == value and abs(value) != float("inf")
    except ValueError:
        return False
