"""The Tempest archive as a source: days, duplicates, edges, rejects and damage, on disk and on S3."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.schemas import RAW
from weather_backfill.sources.tempest import source
from weather_backfill.sources.tempest.layouts import FIELDS
from weather_backfill.sources.tempest.messages import Observations
from weather_backfill.sources.tempest.simulate import Faults, SimulatedArchive, weather, write_archive
from weather_backfill.sources.tempest.source import TempestSource
from weather_backfill.storage import read_ahead
from weather_backfill.storage.object_store import ObjectStore

DAY = date(2024, 1, 2)
MIDNIGHT = 1704153600 + 30
"""The stamp of the day's first report of a minute: the middle of its minute is midnight."""


def body(second: int, temperature: float | None = 5.0, serial: str = "ST-1", elements: int = 18) -> bytes:
    report = [second, 0.1, 2.0, 3.5, 180, 3, 1000.0, temperature, 80, 100, 0.5, 12, 0, 0, 0, 0, 2.6, 1, 0, 0, 0, 0]
    return orjson.dumps({"serial_number": serial, "type": "obs_st", "obs": [report[:elements]]})


def put(store: ObjectStore, name: str, *bodies: bytes, day: date = DAY, hour: int = 12) -> None:
    data = b"\n".join(bodies)
    key = f"year={day:%Y}/month={day:%m}/day={day:%d}/hour={hour:02d}/{name}"
    store.put(key, gzip.compress(data) if name.endswith(".gz") else data)


def read(store: ObjectStore) -> RawDay:
    return TempestSource(store).read_day(DAY)


def values(table: pa.Table, metric: str) -> dict[int, float | None]:
    frame = table.to_pandas()
    frame = frame[frame.metric == metric]
    seconds = frame.observed_at.astype("int64") // 1_000_000
    return dict(zip(seconds, frame.value.astype(object).where(frame.value.notna(), None), strict=True))


def test_rows_are_long_sorted_and_typed(store: ObjectStore) -> None:
    put(store, "b.json.gz", body(MIDNIGHT + 60, None), body(MIDNIGHT, 4.5, "ST-0", 22))
    day = read(store)
    assert day.table.schema.equals(RAW)
    assert day.table.num_rows == 17 + 21, "an 18-element message says nothing of the last fields"
    keys = list(zip(*(day.table[n].to_pylist() for n in ("station_id", "metric", "observed_at")), strict=True))
    assert keys == sorted(keys)
    assert values(day.table, "air_temperature") == {MIDNIGHT: 4.5, MIDNIGHT + 60: None}
    assert day.facts["source_objects"] == 1


def test_duplicates_collapse_to_the_last_received(store: ObjectStore) -> None:
    put(store, "a-first.json", body(MIDNIGHT, 1.0))
    put(store, "b-later.json", body(MIDNIGHT, 2.0), body(MIDNIGHT, 3.0))
    day = read(store)
    assert values(day.table, "air_temperature") == {MIDNIGHT: 3.0}
    assert day.facts["duplicates"] == 2


def report(second: int, **said: float | None) -> list[float | None]:
    """A report of 22 elements with Nearcast run, by position (`e12=0.1`) as given."""
    found: list[float | None] = [second, 0.5, 1.2, 2.9, 200, 3, 1002.1, 8.0, 70, 5000, 1.1, 40, 0.1, 1, 0, 0, 2.6, 1]
    found += [0.1, 0.12, 0.13, 1]
    for name, value in said.items():
        found[int(name[1:])] = value
    return found


def message(*reports: list[float | None], serial: str = "ST-1") -> bytes:
    return orjson.dumps({"serial_number": serial, "type": "obs_st", "obs": list(reports)})


def test_what_a_later_copy_does_not_say_takes_nothing_away(store: ObjectStore) -> None:
    put(store, "a.json", message(report(MIDNIGHT), report(MIDNIGHT + 60)))
    put(store, "b-udp.json", message(report(MIDNIGHT, e7=9.0)[:18]))
    put(store, "c-null.json", message(report(MIDNIGHT, e7=None, e12=None, e13=None)))
    put(store, "d-other.json", message(report(MIDNIGHT, e12=None)[:18], serial="ST-2"))
    day = read(store)
    own = day.table.filter(pc.equal(day.table["station_id"], "ST-1"))
    expected = dict(zip(FIELDS, report(MIDNIGHT, e7=9.0)[1:], strict=True))
    assert {name: values(own, name)[MIDNIGHT] for name in FIELDS} == expected
    assert values(day.table, "precipitation_amount") == {MIDNIGHT: None, MIDNIGHT + 60: 0.1}, (
        "another station's null stays"
    )
    assert day.table.num_rows == 21 + 21 + 17
    assert (day.facts["duplicates"], day.facts["reports_kept"]) == (2, 3)
    assert day.facts["values_from_earlier_copies"] == 3


def test_a_later_copy_corrects_what_it_says_and_keeps_what_it_does_not(store: ObjectStore) -> None:
    put(store, "a.json", message(report(MIDNIGHT)))
    put(store, "b.json", message(report(MIDNIGHT, e7=9.0)[:18]))
    put(store, "c.json", message(report(MIDNIGHT, e7=None, e12=0.4)[:18]))
    day = read(store)
    assert values(day.table, "air_temperature") == {MIDNIGHT: 9.0}
    assert values(day.table, "precipitation_amount") == {MIDNIGHT: 0.4}
    assert values(day.table, "precipitation_amount_nearcast") == {MIDNIGHT: 0.12}
    assert day.facts["values_from_earlier_copies"] == 1 + 4, "the temperature, and elements 18 to 21"
    once = TempestSource(store).read_day(DAY + timedelta(days=1))
    assert once.facts["values_from_earlier_copies"] == 0


def test_nearcast_that_has_not_run_says_nothing_of_rain(store: ObjectStore) -> None:
    put(store, "a.json", message(
        report(MIDNIGHT, e19=0.0, e20=0.0, e21=0), report(MIDNIGHT + 60, e19=0.0, e20=1.1, e21=0),
        report(MIDNIGHT + 120, e19=0.0, e20=0.0, e21=1), report(MIDNIGHT + 180, e19=0.0, e20=0.0, e21=None),
        report(MIDNIGHT + 240, e19=None, e20=None, e21=0), report(MIDNIGHT + 300, e19=0.3, e20=0.3, e21=2),
    ))  # fmt: skip
    day = read(store)
    amounts = values(day.table, "precipitation_amount_nearcast")
    assert list(amounts.values()) == [None, None, 0.0, None, None, 0.3]
    totals = values(day.table, "precipitation_amount_of_local_day_nearcast")
    assert list(totals.values()) == [None, 1.1, 0.0, None, None, 0.3]
    assert day.facts["nearcast_not_run"] == 3
    assert list(values(day.table, "precipitation_amount").values()) == [0.1] * 6


def test_nearcast_that_ran_is_not_undone_by_a_copy_from_before(store: ObjectStore) -> None:
    put(store, "a.json", message(report(MIDNIGHT)))
    put(store, "b.json", message(report(MIDNIGHT, e19=0.0, e20=0.0, e21=0)))
    day = read(store)
    assert values(day.table, "precipitation_amount_nearcast") == {MIDNIGHT: 0.12}


def test_received_later_beats_a_later_name(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    put(store, "z-first.json", body(MIDNIGHT, 1.0))
    put(store, "a-later.json", body(MIDNIGHT, 2.0))
    folder = tmp_path / "year=2024/month=01/day=02/hour=12"
    os.utime(folder / "z-first.json", (MIDNIGHT, MIDNIGHT))
    os.utime(folder / "a-later.json", (MIDNIGHT + 1, MIDNIGHT + 1))
    assert values(read(store).table, "air_temperature") == {MIDNIGHT: 2.0}


def test_midnight_messages_in_the_neighbours_folders_are_not_lost(store: ObjectStore) -> None:
    put(
        store,
        "late.json",
        body(MIDNIGHT + 86399, 1.0),
        body(MIDNIGHT + 86400, 2.0),
        day=DAY + timedelta(days=1),
        hour=0,
    )
    put(store, "early.json", body(MIDNIGHT, 3.0), day=DAY - timedelta(days=1), hour=23)
    put(store, "own.json", body(MIDNIGHT + 5, 4.0), body(MIDNIGHT - 1, 9.0))
    day = read(store)
    assert values(day.table, "air_temperature") == {MIDNIGHT: 3.0, MIDNIGHT + 5: 4.0, MIDNIGHT + 86399: 1.0}
    assert day.facts["edge_reports"] == 2
    assert day.rejects.select(["reason", "station_id"]).to_pylist() == [{"reason": "outside_day", "station_id": "ST-1"}]


def test_an_empty_day_is_a_day_without_rows(store: ObjectStore) -> None:
    day = read(store)
    assert (day.table.num_rows, day.rejects.num_rows, day.facts["source_objects"]) == (0, 0, 0)


def test_an_object_that_cannot_be_unpacked_fails_the_day_and_is_named(store: ObjectStore) -> None:
    put(store, "good.json", body(MIDNIGHT))
    store.put("year=2024/month=01/day=02/hour=12/cut.json.gz", gzip.compress(body(MIDNIGHT) * 50)[:60])
    with pytest.raises(UnreadableObjectError, match=r"1 of 2 objects .*cut\.json\.gz.*upload them again"):
        read(store)


def test_a_bad_day_in_a_range_is_a_failure_between_good_days(store: ObjectStore) -> None:
    put(store, "good.json", body(MIDNIGHT - 86400 + 7), day=DAY - timedelta(days=1))
    store.put("year=2024/month=01/day=02/hour=12/cut.json.gz", b"\x1f\x8b")
    put(store, "good.json", body(MIDNIGHT + 86400 + 7), day=DAY + timedelta(days=1))
    first, bad, last = TempestSource(store).days([DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)])
    assert isinstance(bad, DayFailure)
    assert isinstance(bad.error, UnreadableObjectError)
    assert isinstance(first, RawDay)
    assert isinstance(last, RawDay)
    assert first.table.num_rows == last.table.num_rows == 17


@pytest.mark.parametrize("few", [0, 2000], ids=["crowded months, day by day", "months of few objects, at once"])
def test_inventory_counts_objects_and_bytes_of_days_that_hold_any(
    store: ObjectStore, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_FEW", few)
    put(store, "a.json", body(MIDNIGHT))
    put(store, "b.json", body(MIDNIGHT), hour=13)
    put(store, "notes.txt", b"not a message")
    december, outside = DAY - timedelta(days=3), DAY + timedelta(days=4)
    put(store, "c.json", body(MIDNIGHT), day=december)
    put(store, "d.json", body(MIDNIGHT), day=outside)
    put(store, "notes.txt", b"not a message", day=DAY + timedelta(days=1))
    put(store, "e.json", body(MIDNIGHT), day=DAY - timedelta(days=366))
    found = TempestSource(store).inventory(december, outside - timedelta(days=1))
    size = len(body(MIDNIGHT))
    assert {day: (held.objects, held.bytes) for day, held in found.items()} == {december: (1, size), DAY: (2, 2 * size)}


def test_a_simulated_day_comes_back_as_it_was_made(store: ObjectStore) -> None:
    """Nothing lost, nothing doubled: every report that the simulator kept arrives with its values."""
    archive = SimulatedArchive(
        "acme", DAY, DAY, 2, 3, 30, Faults(missing=0.1, nulls=0.05, duplicates=0.1, garbage=0.01)
    )
    write_archive(archive, store)
    day = read(store)
    made = early = 0
    for station, serial in enumerate(archive.station_ids):
        rng = np.random.default_rng([archive.seed, 0, station])
        keep = rng.random(1440) >= 0.1
        null = rng.random((1440, 21)) < 0.05
        reports = weather(archive, 0, DAY, station)
        expected = {
            int(report[0]): None if null[minute][6] else report[7]
            for minute, report in enumerate(reports)
            if keep[minute] and report[0] >= MIDNIGHT
        }
        early += sum(bool(keep[minute]) and report[0] < MIDNIGHT for minute, report in enumerate(reports))
        mine = day.table.filter(pc.equal(day.table["station_id"], serial))
        assert values(mine, "air_temperature") == expected
        made += len(expected)
    assert day.facts["reports_kept"] == made
    reasons = Counter(day.rejects["reason"].to_pylist())
    assert reasons.keys() <= {"not_json", "before_first_day"}
    opening = day.rejects.filter(pc.equal(day.rejects["reason"], "before_first_day"))
    assert len(set(zip(opening["station_id"].to_pylist(), opening["observed_at"].to_pylist(), strict=True))) == early
    assert day.facts["messages"] == made + opening.num_rows + day.facts["duplicates"]


def test_bytes_decide_how_many_objects_are_read_before_they_are_decoded(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few large objects fill a batch as many small ones do, and change nothing of the day."""
    for n in range(60):
        put(store, f"{n:03d}.json", *(body(MIDNIGHT + 60 * (5 * n + m)) for m in range(5)))
    whole = read(store).table
    one = max(stored.size for stored in store.list())
    get, decode, held, most = ObjectStore.get, source.decode, [0], [0]

    def got(self: ObjectStore, key: str) -> bytes:
        held[0] += 1
        most[0] = max(most[0], held[0])
        return get(self, key)

    def decoded(batch: list[tuple[str, bytes]]) -> Observations:
        held[0] -= len(batch)
        assert sum(len(content) for _, content in batch) <= 10 * one
        return decode(batch)

    monkeypatch.setattr(source, "_BATCH_BYTES", 10 * one)
    monkeypatch.setattr(read_ahead, "BATCH_BYTES", 200)
    monkeypatch.setattr(read_ahead, "BYTES_IN_FLIGHT", 400)
    monkeypatch.setattr(ObjectStore, "get", got)
    monkeypatch.setattr(source, "decode", decoded)
    assert read(store).table.equals(whole)
    assert (held[0], most[0] <= 20) == (0, True), most


def test_the_first_minute_belongs_to_the_day_before(store: ObjectStore) -> None:
    """Found in the day's first hour by the day before; nobody's, and said so, where the archive begins with it."""
    put(store, "first.json", body(MIDNIGHT - 1, 1.0), body(MIDNIGHT, 2.0), hour=0)
    day = read(store)
    assert values(day.table, "air_temperature") == {MIDNIGHT: 2.0}
    assert day.rejects.select(["reason", "station_id"]).to_pylist() == [
        {"reason": "before_first_day", "station_id": "ST-1"}
    ]
    put(store, "before.json", body(MIDNIGHT - 7200, 0.0), day=DAY - timedelta(days=1), hour=22)
    assert read(store).rejects.num_rows == 0
    before = TempestSource(store).read_day(DAY - timedelta(days=1))
    assert values(before.table, "air_temperature") == {MIDNIGHT - 7200: 0.0, MIDNIGHT - 1: 1.0}


def test_a_report_s_length_is_its_bucket_s_or_its_own(store: ObjectStore) -> None:
    noon = MIDNIGHT + 43_200
    report = orjson.loads(body(noon))["obs"][0]

    def sent(second: int, minutes: object, **more: object) -> bytes:
        one = [second, *report[1:17], minutes]
        return orjson.dumps({"serial_number": "ST-1", "type": "obs_st", "obs": [one], **more})

    put(store, "a.json", sent(noon, 1), sent(noon + 300, 5), sent(noon + 7200, 1, bucket_step_minutes=30))
    put(store, "b.json", sent(noon + 10_000, None), b"no message")  # read message by message
    day = read(store)
    air = day.table.to_pandas().query("metric == 'air_temperature'")
    assert air.interval_seconds.tolist() == [60, 300, 1800, 60]
    assert set(air.interval_end_offset_seconds) == {0}
    assert day.facts["reports_of_assumed_length"] == 1


def test_wind_that_is_sampled_every_five_minutes_stands_for_five(store: ObjectStore) -> None:
    noon = MIDNIGHT + 43_200
    bodies = []
    for minute in range(1, 11):
        report = orjson.loads(body(noon + minute * 60))["obs"][0]
        report[5] = 300
        if minute % 5:
            report[1:5] = [None] * 4
        bodies.append(orjson.dumps({"serial_number": "ST-1", "type": "obs_st", "obs": [report]}))
    put(store, "a.json", *bodies)
    frame = read(store).table.to_pandas()
    for metric in ("wind_speed", "wind_speed_lull", "wind_speed_of_gust", "wind_from_direction"):
        wind = frame[frame.metric == metric]
        assert len(wind) == 10
        assert wind.interval_seconds[wind.value.notna()].tolist() == [300, 300]
        assert set(wind.interval_seconds[wind.value.isna()]) == {60}
    assert set(frame.interval_seconds[frame.metric == "air_temperature"]) == {60}


def minute_message(second: int, minutes: int, rain: float | None, elements: int = 22, **more: object) -> bytes:
    report = [
        second,
        0.5,
        1.2,
        2.9,
        200,
        3,
        1002.1,
        8.0,
        70,
        5000,
        1.1,
        40,
        rain,
        1,
        0,
        0,
        2.6,
        minutes,
        0.3,
        0.4,
        0.5,
        1,
    ]
    return orjson.dumps({"serial_number": "ST-1", "type": "obs_st", "obs": [report[:elements]], **more})


def test_a_later_copy_that_says_less_takes_nothing_away(store: ObjectStore) -> None:
    """Absent as of UDP beside WebSocket, and null; what it says holds."""
    noon = MIDNIGHT + 43_200
    put(store, "a.json", minute_message(noon, 1, 0.1))
    put(store, "b.json", minute_message(noon, 1, None, elements=18))
    put(store, "c.json", minute_message(noon + 60, 1, 0.1))
    put(store, "d.json", minute_message(noon + 60, 1, 0.2), minute_message(noon + 60, 1, None))
    day = read(store)
    assert values(day.table, "precipitation_amount") == {noon: 0.1, noon + 60: 0.2}
    assert values(day.table, "precipitation_amount_nearcast") == {noon: 0.4, noon + 60: 0.4}
    assert (day.facts["duplicates"], day.facts["reports_kept"]) == (3, 2)


def test_a_bucket_adds_nothing_where_minutes_cover_it(store: ObjectStore) -> None:
    """Three buckets of five minutes: over minutes, half over none, and beside them; a bucket of 30 over all of it."""
    noon = MIDNIGHT + 43_200
    put(store, "a.json", *(minute_message(noon + 60 * n, 1, 0.1) for n in range(1, 8)))
    put(store, "b.json", *(minute_message(noon + 300 * n, 5, 0.5, bucket_step_minutes=5) for n in range(1, 5)))
    put(store, "c.json", minute_message(noon + 1800, 30, 3.0), minute_message(noon + 86_400 // 4, 30, 7.0))
    day = read(store)
    found = values(day.table, "precipitation_amount")
    buckets = {noon + 600: 0.5, noon + 900: 0.5, noon + 1200: 0.5}
    assert found == {noon + 60 * n: 0.1 for n in range(1, 8)} | buckets | {noon + 86_400 // 4: 7.0}
    assert day.facts["covered_by_finer"] == 2 * len(FIELDS)
    assert day.facts["reports_kept"] == 11


def test_what_covers_a_bucket_can_lie_in_the_day_before(store: ObjectStore) -> None:
    midnight = MIDNIGHT - 30
    put(
        store,
        "m.json",
        *(minute_message(midnight + 60 * n, 1, 0.1) for n in (-2, -1, 0)),
        day=DAY - timedelta(days=1),
        hour=23,
    )
    put(store, "b.json", minute_message(midnight + 60, 1, 0.1), minute_message(midnight + 151, 5, 0.5), hour=0)
    before, day = TempestSource(store).days([DAY - timedelta(days=1), DAY])
    assert isinstance(day, RawDay)
    assert isinstance(before, RawDay)
    assert (day.facts["reports_kept"], day.facts["covered_by_finer"]) == (1, len(FIELDS))
    assert (before.facts["reports_kept"], before.facts["covered_by_finer"]) == (3, 0)


def test_nearcast_that_has_not_run_is_no_dry_minute(store: ObjectStore) -> None:
    noon = MIDNIGHT + 43_200
    bodies = []
    for minute, (rain, kind) in enumerate([(0.0, 0), (0.0, 1), (0.4, 0), (None, 0)]):
        report = orjson.loads(minute_message(noon + 60 * minute, 1, 0.1))["obs"][0]
        report[19], report[21] = rain, kind
        bodies.append(orjson.dumps({"serial_number": "ST-1", "type": "obs_st", "obs": [report]}))
    put(store, "a.json", *bodies)
    found = values(read(store).table, "precipitation_amount_nearcast")
    assert list(found.values()) == [None, 0.0, 0.4, None]
