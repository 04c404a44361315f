"""Restatements: real snapshots two and one day apart, and each kind of change by itself."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from weather_backfill.lake.row_diff import RowChanges
from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.model.partitions import days_between
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.restatements import changed_days
from weather_backfill.sources.table import RAW_WITH_SOURCE_QUALITY
from weather_backfill_tests.sources.dwd.files import DWD, member, needs_data, read_days, tree, truth

STATIONS = ["00379", "00390", "02627", "05111", "05149"]
ALL = days_between(date(2018, 9, 1), date(2020, 3, 27))
COLUMNS = {"TT_TU": "air_temperature", "RF_TU": "relative_humidity"}


def load(snapshot: str) -> pa.Table:
    """The days that the snapshot holds; where it has no history, those before its `recent` files fail as not there."""
    every = read_days(DwdConnection(base_url=tree(snapshot), stations=STATIONS), ALL)
    days = [day for day in every if isinstance(day, RawDay)]
    assert all("not on the server" in str(day.error) for day in every if isinstance(day, DayFailure))
    fields = [pa.field(f.name, pa.string()) if pa.types.is_dictionary(f.type) else f for f in RAW_WITH_SOURCE_QUALITY]
    return pa.concat_tables([d.table.cast(pa.schema(fields)) for d in days])


def independent(old: str, new: str) -> dict[date, tuple[int, int, int]]:
    """The same differences by pandas from the `recent` zips (history does not differ between snapshots)."""
    sides = []
    for snapshot in (old, new):
        folder = DWD / f"cdc-{snapshot}/hourly/air_temperature/recent"
        parts = [truth(member(folder / f"stundenwerte_TU_{s}_akt.zip"), COLUMNS, "QN_9") for s in STATIONS]
        sides.append(pd.concat(parts))
    key = ["station_id", "metric", "observed_at"]
    both = sides[0].merge(sides[1], on=key, how="outer", suffixes=("_old", "_new"), indicator=True)
    head = sides[1].groupby("station_id")["observed_at"].min()
    expired = (both["_merge"] == "left_only") & (both["observed_at"] < both["station_id"].map(head))
    values = both["value_old"].fillna(-999) != both["value_new"].fillna(-999)
    levels = both["source_quality_old"] != both["source_quality_new"]
    found = pd.DataFrame(
        {
            "day": (both["observed_at"] - pd.Timedelta(minutes=10)).dt.date,  # when it was read
            "inserted": both["_merge"] == "right_only",
            "changed": (both["_merge"] == "both") & (values | levels),
            "removed": (both["_merge"] == "left_only") & ~expired,
        }
    )
    sums = found.groupby("day").sum()
    return {d: tuple(map(int, row)) for d, row in zip(sums.index, sums.to_numpy(), strict=True) if row.any()}


def first_rows(rows: pa.Table) -> dict[str, datetime]:
    """Where each station's upstream begins, when `rows` are all that it holds."""
    firsts = rows.select(["station_id", "observed_at"]).to_pandas().groupby("station_id", observed=True).min()
    return {str(station): first.to_pydatetime() for station, first in firsts["observed_at"].items()}


def compare(old: pa.Table, new: pa.Table) -> RowChanges:
    return sum(changed_days(old, new, first_rows(new)).values(), RowChanges())


@needs_data
@pytest.mark.parametrize(("old", "new"), [("2020-03-24", "2020-03-26")])
def test_between_two_snapshots_exactly_the_restated_days_are_named(old, new) -> None:
    before, after = load(old), load(new)
    found = changed_days(before, after, first_rows(after))
    assert {d: (c.inserted, c.changed, c.removed) for d, c in found.items()} == independent(old, new)
    assert compare(before, after).changed > 0
    assert compare(after, after) == RowChanges()
    key = pd.Timestamp("2020-03-23 06:00", tz="UTC")
    values = []
    for table in (before, after):
        rows = table.to_pandas().query("station_id == '02627' and metric == 'air_temperature'")
        values.append(rows.set_index("observed_at")["value"][key])
    assert values == [-5.6, -6.1]
    assert date(2020, 3, 23) in found


@needs_data
def test_the_last_snapshot_too() -> None:
    before, after = load("2020-03-26"), load("2020-03-27")
    expected = independent("2020-03-26", "2020-03-27")
    history = {s for s in STATIONS if list((DWD / "cdc-2020-03-27/hourly/air_temperature/historical").glob(f"*_{s}_*"))}
    rows_only_in_history = changed_days(before, after, first_rows(after))
    assert set(expected) <= set(rows_only_in_history)
    extra = set(rows_only_in_history) - set(expected)
    assert not extra or (history and max(extra) <= date(2018, 12, 31)), extra


def table(rows: list[tuple[str, float | None, int]], station: str = "00001") -> pa.Table:
    size = len(rows)
    return pa.table(
        [
            pa.array(
                [datetime.fromisoformat(r[0]).replace(tzinfo=UTC) for r in rows], RAW_WITH_SOURCE_QUALITY.field(0).type
            ),
            pa.array([station] * size, pa.string()).dictionary_encode(),
            pa.array(["air_temperature"] * size, pa.string()).dictionary_encode(),
            pa.array([r[1] for r in rows], pa.float64()),
            pa.array(np.ones(size), pa.int8()),
            *[pa.array(np.zeros(size), pa.int32())] * 2,
            pa.array([r[2] for r in rows], pa.int8()),
        ],
        schema=RAW_WITH_SOURCE_QUALITY,
    )


OLD = table([("2020-01-01T00:00", 1.0, 1), ("2020-01-02T00:00", None, 1), ("2020-01-03T00:00", 3.0, 1)])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("2020-01-01T00:00", 1.0, 1), ("2020-01-02T00:00", None, 1), ("2020-01-03T00:00", 3.0, 1)], {}),
        ([("2020-01-02T00:00", None, 1), ("2020-01-03T00:00", 3.0, 1)], {}),  # expired at the head
        ([("2020-01-01T00:00", 1.0, 1), ("2020-01-03T00:00", 3.0, 1)], {2: RowChanges(removed=1)}),
        ([("2020-01-01T00:00", 1.0, 3), ("2020-01-02T00:00", 2.0, 1), ("2020-01-03T00:00", None, 1)],
         {1: RowChanges(changed=1), 2: RowChanges(changed=1), 3: RowChanges(changed=1)}),
        ([("2020-01-01T00:00", 1.0, 1), ("2020-01-02T00:00", None, 1), ("2020-01-02T01:00", None, 1),
          ("2020-01-03T00:00", 3.0, 1)], {2: RowChanges(inserted=1)}),
    ],
)  # fmt: skip
def test_each_kind_of_change(rows, expected) -> None:
    new = table(rows)
    found = changed_days(OLD, new, first_rows(new))
    assert found == {date(2020, 1, day): changes for day, changes in expected.items()}


def test_the_window_can_be_given_when_tables_hold_less_than_it() -> None:
    new = table([("2020-01-02T00:00", None, 1), ("2020-01-03T00:00", 3.0, 1)])
    window = {"00001": datetime(2019, 1, 1, tzinfo=UTC)}
    assert changed_days(OLD, new, window) == {date(2020, 1, 1): RowChanges(removed=1)}


def test_a_station_that_is_gone_was_removed_and_a_new_one_inserted() -> None:
    other = table([("2020-01-01T00:00", 1.0, 1)], station="00002")
    assert compare(OLD, other) == RowChanges(inserted=1, removed=3)
    assert compare(OLD.slice(0, 0), OLD) == RowChanges(inserted=3)
    assert compare(OLD, OLD.slice(0, 0)) == RowChanges(removed=3)
    assert OLD.select(range(5)).num_columns == 5
    assert compare(OLD.select(range(5)), OLD.select(range(5))) == RowChanges()
