from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.model.errors import SchemaError, SourceUnavailableError
from weather_backfill.model.schemas import RAW_TEXT_LIMIT, REJECTS
from weather_backfill.sources.aceiot.decode import Page, decode_page, micros
from weather_backfill.sources.aceiot.points import PointSet
from weather_backfill.sources.table import cut_texts
from weather_backfill_tests.examples import examples

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
     "2026-08-07T12:00:00.", "9999-12-31T00:00:00", None],
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


def test_times_finer_than_microseconds_are_cut_and_kept() -> None:
    times = [f"{NOON}.000000000Z", f"{NOON}.673086999Z", f"{NOON}.6730869", "2026-08-07T14:00:00.123456789+02:00"]
    page = decode([sample(time=time) for time in times])
    noon = micros(datetime(2026, 8, 7, 12, tzinfo=UTC))
    assert [at - noon for at in page.samples.times.tolist()] == [0, 673_086, 673_086, 123_456]
    assert page.counts.rejected == 0


def odd(sample_text: str) -> Page:
    """A page of five samples, of which the middle one is as given."""
    good = [json.dumps(sample(value=f"{n}.5", time=f"2026-08-07T12:0{n}:00")) for n in range(4)]
    samples = ",".join([*good[:2], sample_text, *good[2:]])
    body = f'{{"point_samples":[{samples}],"next_cursor":"abc","has_more":true}}'
    return decode_page(body.encode("utf-8", "surrogateescape"), POINTS, START, END, "aceiot:north/x")


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("NaN", "NaN"), ("-NaN", "-NaN"), ("Infinity", "Infinity"), ("-Infinity", "-Infinity"), ("true", "true"),
        ("false", "false"), ("1e999", "1e999"), ("[1.5]", "[1.5]"), ('{"v": 1.5}', '{"v": 1.5}'),
        ('"\udcff"', "\ufffd"), ('"\\ud800"', "\ufffd"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("space", ["", " "])
def test_one_odd_value_is_one_reject_and_the_others_are_kept(cell: str, shown: str, space: str) -> None:
    page = odd(f'{{"name":"a/b","value":{space}{cell},"time":"{NOON}"}}')
    assert page.samples.values.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert (page.counts.read, page.next_cursor, page.has_more) == (5, "abc", True)
    [reject] = page.rejects.to_pylist()
    assert (reject["reason"], reject["raw_text"]) == ("value is not a finite number", f"a/b | {shown} | {NOON}")
    page.rejects.validate(full=True)


@pytest.mark.parametrize(
    ("text", "reason", "raw"),
    [
        ('{"name":"a/b","value":"1","time":1786104000}', "time is not ISO 8601", "a/b | 1 | 1786104000"),
        ('{"name":"a/b","value":"1","time":true}', "time is not ISO 8601", "a/b | 1 | true"),
        ('{"name":"a/b","value":"1","time":"\udcff"}', "time is not ISO 8601", "a/b | 1 | \ufffd"),
        ('{"name":1,"value":"1","time":"x"}', "no name", "null | 1 | x"),
        ('{"name":"a/\udcff","value":"1","time":"x"}', "name is not UTF-8", "a/\ufffd | 1 | x"),
        ('{"name":"\\ud800","value":"1","time":"x"}', "name is not UTF-8", "\ufffd | 1 | x"),
        ("null", "no name", "null | null | null"),
        ("[1, 2]", "no name", "null | [1, 2] | null"),
        ("7", "no name", "null | 7 | null"),
    ],
)
def test_an_odd_time_name_or_sample_is_one_reject(text: str, reason: str, raw: str) -> None:
    page = odd(text)
    assert page.samples.values.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert [(r["reason"], r["raw_text"]) for r in page.rejects.to_pylist()] == [(reason, raw)]
    assert page.counts.reconciled


def test_a_number_among_texts_is_read() -> None:
    numbers = ["21.5", "-3", "1e1", "0"]
    pages = [odd(f'{{"name":"a/b","value":{number},"time":"{NOON}"}}') for number in numbers]
    assert [page.samples.values[2] for page in pages] == [21.5, -3.0, 10.0, 0.0]
    assert not sum(page.counts.rejected for page in pages)


def test_what_looks_like_a_bare_cell_within_a_text_stays_as_it_is() -> None:
    name = '"value": NaN, "time":1'
    page = odd(json.dumps(sample(name, True)))
    assert page.counts.unconfigured == 1
    assert decode([sample(), sample('c"},{"d', True)]).rejects["raw_text"].to_pylist() == [f'c"}},{{"d | true | {NOON}']


def test_a_null_among_odd_cells_stays_null() -> None:
    page = decode([sample(), sample(value=True), sample(value=None), sample(value=2)])
    assert (page.counts.null, page.counts.rejected, page.samples.values.tolist()) == (1, 1, [1.0, 2.0])


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


@examples(60)
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
