"""How messages lie in objects, and whole days of such objects: read, weighed, or the day fails."""

from __future__ import annotations

import contextlib
import gzip
import json
from typing import Any

import orjson
import pytest

from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.sources.tempest.framing import Damage, one_a_line, unframed
from weather_backfill.sources.tempest.messages import decode
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.sources.tempest.test_source import MIDNIGHT, message, put, read, report, values

NOON = MIDNIGHT + 43_200
ONE, TWO = message(report(NOON)), message(report(NOON + 60))
BOM = b"\xef\xbb\xbf"
FRAMED = {
    "one after the other": ONE + TWO,
    "after the other with blanks": ONE + b"  \t" + TWO,
    "one a line": ONE + b"\r\n" + TWO + b"\r\n",
    "array": b"[" + ONE + b", " + TWO + b"]",
    "array over lines": b"[\n" + ONE + b",\n" + TWO + b"\n]\n",
    "arrays, one a line": b"[" + ONE + b"]\n[" + TWO + b"]",
    "arrays, one after the other": b"[" + ONE + b"][" + TWO + b"]",
    "record separators": b"\x1e" + ONE + b"\n\x1e" + TWO + b"\n",
    "byte-order mark": BOM + ONE + b"\n" + TWO,
    "byte-order marks of joined files": BOM + ONE + b"\n" + BOM + TWO,
    "pretty, two": b"\n".join(json.dumps(json.loads(text), indent=2).encode() for text in (ONE, TWO)),
    "commas at line ends": ONE + b",\n" + TWO + b",\n",
}  # fmt: skip


@pytest.mark.parametrize("body", FRAMED.values(), ids=FRAMED)
@pytest.mark.parametrize("beside", [[], [("odd", b"{")]], ids=["alone", "beside a damaged object"])
def test_every_message_is_read_however_they_are_framed(body: bytes, beside: list[tuple[str, bytes]]) -> None:
    decoded = decode([("a", body), *beside])
    assert [stamp // 1_000_000 for stamp in decoded.epoch_us.tolist()] == [NOON, NOON + 60]
    assert [reject.source_object for reject in decoded.rejects] == [key for key, _ in beside]
    assert decoded.source.tolist() == [0, 0]


def test_clean_objects_need_no_second_look() -> None:
    """Arrow reads these as they come; the others are taken apart."""
    plain = set()
    for name, body in FRAMED.items():
        framed = one_a_line([body, ONE])
        with contextlib.suppress(orjson.JSONDecodeError):
            if framed is not None and len(list(map(orjson.loads, framed[0].split(b"\n")))) == 3:
                plain.add(name)
                assert framed[1].tolist() == [0, 0, 1]
    assert plain == {
        "one after the other", "one a line", "array", "array over lines", "arrays, one a line", "record separators",
        "byte-order mark",
    }  # fmt: skip


def pieces(body: bytes) -> list[Any]:
    return [(v, t) if isinstance(v, Damage) else v["obs"][0][0] - NOON for v, t in unframed(body)]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"[" + ONE + b"," + TWO + b"," + ONE[:60], [0, 60, (Damage.NOT_JSON, ONE[:60])]),
        (b"[" + ONE + b"," + TWO[:1], [0, (Damage.NOT_JSON, b"{")]),
        (ONE + b"\n" + TWO[:70] + b"\n" + ONE, [0, (Damage.NOT_JSON, TWO[:70]), 0]),
        (ONE[:70] + TWO + ONE, [(Damage.NOT_JSON, ONE[:70]), 60, 0]),
        (b"[" + ONE + b',{"type":x},' + TWO + b"]", [0, (Damage.NOT_JSON, b'{"type":x},'), 60]),
        (ONE + b"\nnoise\nnoise\n" + TWO, [0, (Damage.NOT_JSON, b"noise\nnoise"), 60]),
        (ONE + b'{"obs":[[NaN]]}' + TWO, [0, (Damage.NOT_JSON, b'{"obs":[[NaN]]}'), 60]),
        (ONE + b'{"x":"\xff"}' + TWO, [0, (Damage.NOT_JSON, b'{"x":"\xff"}'), 60]),
        (b"", [(Damage.NOT_JSON, b"")]),
        (b"[]", []),
    ],
)
def test_what_is_damaged_costs_only_itself(body: bytes, found: list[Any]) -> None:
    assert pieces(body) == found


def test_an_array_that_is_cut_between_two_messages_is_told() -> None:
    decoded = decode([("a", b"[" + ONE + b"," + TWO)])
    assert len(decoded.epoch_us) == 2
    assert [(r.reason, r.stands_for) for r in decoded.rejects] == [("array_not_closed", 1)]


def test_damage_of_any_size_is_read_in_bounded_time() -> None:
    """Each bracket could begin a message that never ends: the rest is given up, as one reject."""
    found = [value for value, _ in unframed(b'{"type":[0,{},' * 20_000)]
    assert Damage.NOT_JSON in found


def test_a_reject_stands_for_as_many_reports_as_its_bytes_held(store: ObjectStore) -> None:
    """A hundred messages in one damaged object beside a hundred in good ones: half of the day, not 1 of 101."""
    for n in range(100):
        put(store, f"{n:03d}.json", message(report(NOON + 60 * n)))
    put(store, "lost.json", b"#" * len(ONE) * 100)
    day = read(store)
    [reject] = day.rejects.to_pylist()
    assert (reject["reason"], reject["raw_bytes"], len(reject["raw_text"])) == ("not_json", 100 * len(ONE), 1000)
    assert reject["stands_for"] == pytest.approx(100, abs=3)


@pytest.mark.parametrize("bodies", [[b"noise"] * 3, [b""], [b'{"status":{"status_code":401}}'], [b"[1, 2"]])
def test_a_day_of_which_nothing_can_be_read_fails(store: ObjectStore, bodies: list[bytes]) -> None:
    for n, body in enumerate(bodies):
        put(store, f"{n}.json", body)
    with pytest.raises(UnreadableObjectError, match=f"none of {len(bodies)} objects can be read") as caught:
        read(store)
    assert not caught.value.retryable
    assert "0.json" in str(caught.value)


@pytest.mark.parametrize("other", [ONE, b"[]", b'{"type":"hub_status","serial_number":"HB-1"}'])
def test_a_day_of_which_something_can_be_read_does_not(store: ObjectStore, other: bytes) -> None:
    put(store, "a.json", b"noise")
    put(store, "b.json", other)
    day = read(store)
    assert day.rejects["reason"].to_pylist() == ["not_json"]


def test_objects_are_read_by_content_and_ending_and_others_are_named(store: ObjectStore) -> None:
    names = [
        "a.json", "b.jsonl", "c.ndjson.gz", "stream-1-2024-01-02-12-00-00-abcd", "e.JSON", "f.gz",
        "said-nothing.json", "twice.json.gz", "said-wrongly.json.gz", "noted.txt", "g.json.tmp", "_SUCCESS", ".h.json",
    ]  # fmt: skip
    for n, name in enumerate(names):
        body = message(report(NOON + 60 * n))
        packed = {"c.ndjson.gz": 1, "f.gz": 1, "said-nothing.json": 1, "twice.json.gz": 2}.get(name, 0)
        for _ in range(packed):
            body = gzip.compress(body)
        store.put(f"year=2024/month=01/day=02/hour=12/{name}", body)
    day = read(store)
    assert list(values(day.table, "air_temperature")) == [NOON + 60 * n for n in range(9)]
    assert (day.facts["source_objects"], day.facts["objects_not_read"]) == (9, 4)
    for name in names[9:]:
        assert f"hour=12/{name}" in day.facts["not_read"]


def test_a_day_of_objects_with_other_endings_fails_and_markers_are_nothing(store: ObjectStore) -> None:
    put(store, "_SUCCESS", b"")
    assert read(store).table.num_rows == 0
    put(store, "a.csv", ONE)
    with pytest.raises(UnreadableObjectError, match=r"none of 1 objects can be read .*a\.csv"):
        read(store)


AIR = [NOON, 1001.0, 9.1, 66, 2, 14, 3.46, 1]
SKY = [NOON, 9000, 1.2, 0.1, 2.6, 4.6, 7.4, 187, 3.12, 1, 130, None, 1, 3, 0.2, 0.7, 1]
AS_AIR = {
    "surface_air_pressure": 1001.0, "air_temperature": 9.1, "relative_humidity": 66, "lightning_strike_count": 2,
    "lightning_mean_distance": 14, "battery_voltage": 3.46, "reporting_interval": 1,
}  # fmt: skip
AS_SKY = {
    "illuminance": 9000, "ultraviolet_index": 1.2, "precipitation_amount": 0.1, "wind_speed_lull": 2.6,
    "wind_speed": 4.6, "wind_speed_of_gust": 7.4, "wind_from_direction": 187, "battery_voltage": 3.12,
    "reporting_interval": 1, "surface_downwelling_shortwave_flux_in_air": 130,
    "precipitation_amount_of_local_day": None, "precipitation_type": 1, "wind_sample_interval": 3,
    "precipitation_amount_nearcast": 0.2, "precipitation_amount_of_local_day_nearcast": 0.7,
    "precipitation_analysis_type": 1,
}  # fmt: skip


@pytest.mark.parametrize("beside", [b"[]", b"noise"], ids=["one by one", "beside a damaged object"])
@pytest.mark.parametrize("length", [14, 17])
def test_air_and_sky_are_read_as_what_they_are(store: ObjectStore, length: int, beside: bytes) -> None:
    rows = {"obs_air": ("AR-1", AIR, AS_AIR), "obs_sky": ("SK-1", SKY[:length], AS_SKY)}
    for kind, (serial, elements, _) in rows.items():
        put(store, f"{kind}.json", json.dumps({"serial_number": serial, "type": kind, "obs": [elements]}).encode())
    put(store, "st.json", message(report(NOON)))
    alone = read(store).table
    put(store, "z.json", beside)
    day = read(store)
    assert day.table.equals(alone), "by Arrow's reader and message by message"
    for serial, elements, expected in rows.values():
        own = day.table.to_pandas().query(f"station_id == '{serial}'").set_index("metric")
        said = dict(list(expected.items())[: len(elements) - 1])
        assert own.value.astype(object).where(own.value.notna(), None).to_dict() == said
        assert set(own.interval_seconds) == {60}
    assert day.facts["other_messages"] == 0


def test_a_report_in_another_day_s_folder_is_told_as_it_was_sent(store: ObjectStore) -> None:
    elements = [NOON + 5 * 86_400, *SKY[1:]]
    put(store, "a.json", json.dumps({"serial_number": "SK-1", "type": "obs_sky", "obs": [elements]}).encode(), ONE)
    [reject] = read(store).rejects.to_pylist()
    assert (reject["reason"], json.loads(reject["raw_text"])) == ("outside_day", elements)


def test_messages_that_are_passed_over_are_named_and_unknown_ones_are_rejects(store: ObjectStore) -> None:
    bodies = [{"type": kind, "serial_number": "X"} for kind in ("rapid_wind", "rapid_wind", "hub_status", "evt_new")]
    put(store, "a.json", ONE, *(json.dumps(body).encode() for body in bodies))
    day = read(store)
    assert (day.facts["other_messages"], day.rejects.num_rows) == (4, 0)
    assert day.facts["other_message_types"] == "evt_ 1, hub_status 1, rapid_wind 2"
    odd = {"obs_tower": [AIR, AIR], "obs_st_ext": [AIR] * 3, "news": None}
    put(store, "b.json", *(json.dumps({"type": k, "device_id": 1, "obs": obs}).encode() for k, obs in odd.items()))
    found = read(store).rejects.to_pylist()
    assert {(r["reason"], r["stands_for"]) for r in found} == {
        ("unsupported_message", 2), ("unknown_layout", 3), ("unsupported_message", 1),
    }  # fmt: skip
