"""Real Tempest messages, checked field by field against the vendor's field order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.sources.tempest.layouts import FIELDS, speaks_of
from weather_backfill.sources.tempest.messages import Observations, decode

# WeatherFlow's observation record format, position by position; written out anew on purpose.
ORDER = [
    (1, "wind_speed_lull"), (2, "wind_speed"), (3, "wind_speed_of_gust"), (4, "wind_from_direction"),
    (5, "wind_sample_interval"), (6, "surface_air_pressure"), (7, "air_temperature"), (8, "relative_humidity"),
    (9, "illuminance"), (10, "ultraviolet_index"), (11, "surface_downwelling_shortwave_flux_in_air"),
    (12, "precipitation_amount"), (13, "precipitation_type"), (14, "lightning_mean_distance"),
    (15, "lightning_strike_count"), (16, "battery_voltage"), (17, "reporting_interval"),
    (18, "precipitation_amount_of_local_day"), (19, "precipitation_amount_nearcast"),
    (20, "precipitation_amount_of_local_day_nearcast"), (21, "precipitation_analysis_type"),
]  # fmt: skip


def real_messages(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "tempest" / "obs_st_messages.ndjson").read_text().splitlines()
    return [json.loads(line)["message"] for line in lines]


def rows(observations: Observations) -> list[list[float | None]]:
    return [[None if np.isnan(v) else v for v in row] for row in observations.values]


def test_every_field_of_every_real_message(real_data: Path) -> None:
    assert [name for _, name in ORDER] == list(FIELDS)
    checked = unrun = 0
    for message in real_messages(real_data):
        report = message["obs"][0]
        decoded = decode([("a.json", json.dumps(message).encode())])
        if len(report) not in (18, 22):  # a REST answer in daily buckets has another layout
            assert [r.reason for r in decoded.rejects] in (["unknown_layout"], ["no_station"])
            continue
        if "serial_number" not in message and "device_id" not in message:
            assert [r.reason for r in decoded.rejects] == ["no_station"]
            continue
        assert decoded.rejects == []
        assert decoded.stations == [str(message.get("serial_number") or message["device_id"])]
        assert decoded.epoch_us[0] == report[0] * 1_000_000
        assert speaks_of(decoded.said)[0].sum() == len(report) - 1
        for position, name in ORDER:
            expected = report[position] if position < len(report) else None
            if position in (19, 20) and expected == 0 and report[21] == 0:
                expected = None  # Nearcast had not run
                unrun += position == 19
            assert rows(decoded)[0][position - 1] == expected, name
            checked += 1
    assert checked > 20 * 21
    assert unrun == 9


def test_all_real_messages_at_once_by_both_readers(real_data: Path) -> None:
    """One clean batch goes through Arrow; with one odd object beside it, message by message: same rows."""
    messages = [
        m
        for m in real_messages(real_data)
        if len(m["obs"][0]) in (18, 22) and ("device_id" in m or "serial_number" in m)
    ]
    clean = [(f"{n}.json", json.dumps(m).encode()) for n, m in enumerate(messages)]
    fast, slow = decode(clean), decode([*clean, ("odd.json", b"garbage")])
    assert fast.stations == slow.stations
    assert fast.epoch_us.tolist() == slow.epoch_us.tolist()
    assert rows(fast) == rows(slow)
    assert [r.reason for r in slow.rejects] == ["not_json"]


def test_empty_and_error_answers(real_data: Path) -> None:
    bodies = json.loads((real_data / "tempest" / "empty_and_error_bodies.json").read_text())
    decoded = decode([(f"{n}.json", json.dumps(body).encode()) for n, body in enumerate(bodies)])
    assert decoded.counts["empty_messages"] == 3
    assert [(r.reason, r.source_object) for r in decoded.rejects] == [("error_answer", f"{n}.json") for n in (3, 4, 5)]
    assert len(decoded.epoch_us) == 0


def test_other_messages_are_counted_and_not_rejected(real_data: Path) -> None:
    folder = real_data / "tempest" / "pyweatherflowudp"
    names = ("hub_status", "device_status", "rapid_wind", "evt_strike", "evt_precip")
    decoded = decode([(name, (folder / f"{name}.json").read_bytes()) for name in names])
    assert decoded.counts["other_messages"] == len(names)
    assert decoded.rejects == []


REPORT = [1704067200, 0.1, 2.0, 3.5, 180, 3, 1000.0, 5.0, 80, 100, 0.5, 12, 0, 0, 0, 0, 2.6, 1]


def message(report: list[Any], **more: Any) -> bytes:
    return orjson.dumps({"serial_number": "ST-1", "type": "obs_st", "obs": [report], **more})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "not_json"),
        (b'"text"', "not_a_message"),
        (message([None, *REPORT[1:]]), "no_time"),
        (message([-5, *REPORT[1:]]), "no_time"),
        (message(REPORT[:10]), "unknown_layout"),
        (message([*REPORT[:7], "warm", *REPORT[8:]]), "not_a_number"),
        (message([*REPORT[:7], True, *REPORT[8:]]), "not_a_number"),
        (orjson.dumps({"type": "obs_st", "obs": [REPORT]}), "no_station"),
        (message(REPORT, status={"status_code": 401}), "error_answer"),
    ],
)
def test_what_does_not_parse_is_rejected_with_reason_object_and_text(body: bytes, reason: str) -> None:
    decoded = decode([("good.json", message(REPORT)), ("bad.json", body)])
    assert len(decoded.epoch_us) == 1
    [reject] = decoded.rejects
    assert (reject.reason, reject.source_object) == (reason, "bad.json")
    assert reject.raw_text


def test_arrays_and_ndjson_and_pretty_printing() -> None:
    one, two = json.loads(message(REPORT)), json.loads(message([REPORT[0] + 60, *REPORT[1:]]))
    for body in (
        orjson.dumps([one, two]),
        orjson.dumps(one) + b"\n" + orjson.dumps(two) + b"\n",
        orjson.dumps({**one, "obs": [*one["obs"], *two["obs"]]}),
    ):
        assert decode([("a.json", body)]).epoch_us.tolist() == [1704067200_000000, 1704067260_000000]
    assert len(decode([("a.json", json.dumps(one, indent=2).encode())]).epoch_us) == 1


def test_a_cut_line_of_ndjson_costs_only_itself() -> None:
    decoded = decode([("a.json", message(REPORT) + b"\n" + message(REPORT)[:50])])
    assert len(decoded.epoch_us) == 1
    assert [r.reason for r in decoded.rejects] == ["not_json"]


@pytest.mark.parametrize("beside", [[], [b"{"]], ids=["alone", "beside a damaged object"])
def test_bytes_that_are_no_utf8_are_rejected_whatever_lies_beside(beside: list[bytes]) -> None:
    odd = message([1704067200, *[1.0] * 17], field="X").replace(b"X", b"\xcd")
    found = decode([(str(number), body) for number, body in enumerate([odd, *beside])])
    assert len(found.epoch_us) == 0
    assert [reject.reason for reject in found.rejects] == ["not_json"] * (1 + len(beside))


def test_raw_text_is_cut_at_one_kilobyte() -> None:
    [reject] = decode([("a.json", b"x" * 5000)]).rejects
    assert len(reject.raw_text) == 1000


@given(st.lists(st.binary(max_size=200) | st.sampled_from([message(REPORT), b"[]", b"{}", b"null"]), max_size=8))
def test_any_bytes_are_decoded_counted_or_rejected(bodies: list[bytes]) -> None:
    decoded = decode([(f"{n}", body) for n, body in enumerate(bodies)])
    good = sum(body == message(REPORT) for body in bodies)
    assert len(decoded.epoch_us) >= good
    for number, body in enumerate(bodies):
        if body == message(REPORT):
            assert number in decoded.source
