"""Coarse reports of time that finer ones cover."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import orjson
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.sources.tempest.copies import drop_covered
from weather_backfill.sources.tempest.layouts import FIELDS, SAID
from weather_backfill.sources.tempest.messages import Observations
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.examples import examples
from weather_backfill_tests.sources.tempest.test_source import DAY, put, read, report, values

RAIN = "precipitation_amount"
MIDNIGHT = 1704153600


def minutes(begin: int, count: int, **said: float | None) -> list[list[float | None]]:
    return [report(begin + 60 * n, **said) for n in range(count)]


def buckets(length: int, *stamps: int, serial: str = "ST-1", **said: float | None) -> bytes:
    """A REST answer in buckets of some minutes."""
    rows = [report(stamp, e17=length, **said) for stamp in stamps]
    return orjson.dumps({"serial_number": serial, "type": "obs_st", "bucket_step_minutes": length, "obs": rows})


def message(reports: list[list[float | None]], serial: str = "ST-1") -> bytes:
    return orjson.dumps({"serial_number": serial, "type": "obs_st", "obs": reports})


def total(table: object, metric: str = RAIN) -> float:
    return round(sum(v for v in values(table, metric).values() if v is not None), 6)  # type: ignore[arg-type]


def test_buckets_over_minutes_that_are_there_add_nothing(store: ObjectStore) -> None:
    """Stamps off the full minute, as stations send them; three buckets say the rain of fifteen minutes again."""
    begin = MIDNIGHT + 6 * 3600
    put(store, "a.json", message(minutes(begin + 17, 15)), hour=6)
    put(store, "b.json", buckets(5, begin + 300, begin + 600, begin + 900, e12=0.5), hour=6)
    day = read(store)
    assert total(day.table) == 1.5
    assert set(day.table["interval_seconds"].to_pylist()) == {60}
    assert day.facts["covered_by_finer"] == 3 * len(FIELDS)
    assert day.facts["partly_covered_by_finer"] == 0


def test_buckets_fill_a_gap_and_no_more(store: ObjectStore) -> None:
    """Minutes until 6:10 and from 6:21; buckets of five minutes from 6:00 to 6:30."""
    begin = MIDNIGHT + 6 * 3600
    put(store, "a.json", message([*minutes(begin + 60, 10), *minutes(begin + 21 * 60, 10)]), hour=6)
    put(store, "b.json", buckets(5, *(begin + 300 * n for n in range(1, 7)), e12=0.5), hour=6)
    day = read(store)
    assert total(day.table) == 3.0
    kept = day.table.filter(pc.equal(day.table["interval_seconds"], 300))
    assert sorted(set(kept["observed_at"].cast("int64").to_pylist())) == [
        (begin + second) * 1_000_000 for second in (900, 1200)
    ]
    assert day.facts["partly_covered_by_finer"] == 0


def test_what_finer_reports_do_not_say_a_coarse_one_may(store: ObjectStore) -> None:
    """Rain was null for an hour, all else was there; the buckets know the rain."""
    begin = MIDNIGHT + 6 * 3600
    put(store, "a.json", message(minutes(begin + 60, 30, e12=None)), hour=6)
    put(store, "b.json", buckets(30, begin + 1800, e12=3.0, e7=None), hour=6)
    day = read(store)
    assert total(day.table) == 3.0
    assert set(values(day.table, "air_temperature").values()) == {8.0}
    assert day.facts["covered_by_finer"] == len(FIELDS) - 1


def test_the_finest_that_speaks_wins_and_stations_are_apart(store: ObjectStore) -> None:
    begin = MIDNIGHT + 6 * 3600
    put(store, "a.json", message(minutes(begin + 60, 5)), hour=6)
    put(store, "b.json", buckets(5, *(begin + 300 * n for n in range(1, 7)), e12=0.5), hour=6)
    put(store, "c.json", buckets(30, begin + 1800, e12=9.0), buckets(30, begin + 1800, e12=9.0, serial="ST-2"), hour=6)
    day = read(store)
    first = pc.equal(day.table["station_id"], "ST-1")
    assert total(day.table.filter(first)) == 0.5 + 5 * 0.5
    assert total(day.table.filter(pc.invert(first))) == 9.0


def test_a_part_that_is_covered_is_told(store: ObjectStore) -> None:
    begin = MIDNIGHT + 6 * 3600
    put(store, "a.json", message(minutes(begin + 60, 2)), hour=6)
    put(store, "b.json", buckets(5, begin + 300, e12=0.5), hour=6)
    day = read(store)
    assert total(day.table) == 0.7, "two minutes stand twice: a value is whole or not there"
    assert day.facts["partly_covered_by_finer"] == len(FIELDS)
    assert day.facts["covered_by_finer"] == 0


def test_a_bucket_across_midnight_is_covered_by_minutes_of_both_days(store: ObjectStore) -> None:
    put(store, "a.json", message(minutes(MIDNIGHT + 60, 30)), hour=0)
    put(store, "z.json", message(minutes(MIDNIGHT - 29 * 60, 30)), day=DAY - timedelta(days=1), hour=23)
    put(store, "b.json", buckets(30, MIDNIGHT + 20 * 60, e12=3.0), hour=0)
    day = read(store)
    assert total(day.table) == 3.0
    assert day.facts["covered_by_finer"] == len(FIELDS)


spans = st.lists(
    st.tuples(st.integers(0, 1), st.integers(60, 240), st.sampled_from([1, 5, 30]), st.booleans()),
    max_size=25, unique_by=lambda s: s[:3],
)  # fmt: skip


@examples(60)
@given(spans)
def test_what_is_covered_equals_a_count_of_minutes(rows: list[tuple[int, int, int, bool]]) -> None:
    rows = sorted(rows)
    kept = Observations(
        [f"ST-{station}" for station, *_ in rows],
        np.array([minute * 60_000_000 for _, minute, _, _ in rows], dtype="i8"),
        np.array([[1.0 if said else np.nan] * len(FIELDS) for *_, said in rows]).reshape(-1, len(FIELDS)),
        np.full(len(rows), SAID[1]),
        seconds=np.array([length * 60 for _, _, length, _ in rows], dtype="i4"),
    )
    expected = [False] * len(rows)
    taken: dict[int, set[int]] = {0: set(), 1: set()}
    for wanted in (1, 5, 30):
        found = []
        for n, (station, minute, length, said) in enumerate(rows):
            if length == wanted:
                time = set(range(minute - length, minute))
                expected[n] = len(time & taken[station]) * 2 >= length
                found += [(station, time)] if said and not expected[n] else []
        for station, time in found:
            taken[station] |= time
    drop_covered(kept)
    assert (kept.covered[:, 0].tolist() if kept.covered is not None else [False] * len(rows)) == expected
