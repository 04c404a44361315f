"""What a new version of a day changed, and what the materialization says of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from weather_backfill.lake import layout, parquet, row_diff
from weather_backfill.lake.row_diff import RowChanges, count_changes
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.errors import LostRowsError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import RAW, SOURCE_QUALITY
from weather_backfill.storage.object_store import ObjectStore

KEY = PartitionKey(date(2024, 1, 1), "acme")
OBJECT = layout.day_key(layout.RAW_OBSERVATIONS, "dwd", KEY)


def table(rows: list[tuple[str, str, int, float | None, int | None]], with_level: bool = True) -> pa.Table:
    """Rows of (station, metric, minute, value, level)."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    station, metric, minute, value, level = (list(c) for c in zip(*rows, strict=True)) if rows else ([],) * 5
    columns = [
        pa.array([start + timedelta(minutes=m) for m in minute], RAW.field(0).type),
        pa.array(station, pa.string()).dictionary_encode().cast(RAW.field(1).type),
        pa.array(metric, pa.string()).dictionary_encode().cast(RAW.field(2).type),
        pa.array(value, pa.float64()),
        pa.array([1] * len(rows), pa.int8()),
        *[pa.array([600] * len(rows), pa.int32())] * 2,
        pa.array(level, pa.int8()),
    ]
    schema = pa.schema([*RAW, SOURCE_QUALITY])
    whole = pa.Table.from_arrays(columns, schema=schema)
    return whole if with_level else whole.drop_columns("source_quality")


OLD = [("a", "t", 0, 1.0, 1), ("a", "t", 10, None, 1), ("b", "t", 0, 2.0, None)]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (OLD, RowChanges()),
        ([*OLD, ("c", "t", 0, 1.0, 1)], RowChanges(inserted=1)),
        (OLD[1:], RowChanges(removed=1)),
        ([("a", "t", 0, 1.5, 1), *OLD[1:]], RowChanges(changed=1)),
        ([("a", "t", 0, None, 1), ("a", "t", 10, 3.0, 1), OLD[2]], RowChanges(changed=2)),
        ([("a", "t", 0, 1.0, 3), OLD[1], ("b", "t", 0, 2.0, 3)], RowChanges(changed=2)),
        ([("0", "r", 0, 1.0, 1), *OLD[:2], ("b", "u", 0, 2.0, None)], RowChanges(inserted=2, removed=1)),
        ([], RowChanges(removed=3)),
    ],
)
def test_each_kind_of_change(new, expected) -> None:
    assert count_changes(table(OLD), table(new)) == expected
    back = RowChanges(expected.removed, expected.changed, expected.inserted)
    assert count_changes(table(new), table(OLD)) == back


def test_tables_without_levels_and_in_any_order() -> None:
    assert count_changes(table(OLD, with_level=False), table(OLD[::-1], with_level=False)) == RowChanges()
    assert count_changes(table(OLD[::-1]), table([*OLD[:2], ("b", "t", 0, 9.0, None)])) == RowChanges(changed=1)


def test_random_versions_as_pandas_counts_them() -> None:
    rng = np.random.default_rng(3)

    def version() -> pa.Table:
        places = sorted(rng.choice(20_000, 9_000, replace=False))
        return table([(f"s{p // 2000}", f"m{p // 1000 % 2}", int(p % 1000), float(rng.integers(3)), 1) for p in places])

    old, new = version(), version()
    key = ["station_id", "metric", "observed_at"]
    sides = [t.to_pandas().astype({"station_id": str, "metric": str}) for t in (old, new)]
    both = pd.merge(*sides, on=key, how="outer", indicator=True)
    common = both[both["_merge"] == "both"]
    expected = RowChanges(
        int((both["_merge"] == "right_only").sum()),
        int((common["value_x"] != common["value_y"]).sum()),
        int((both["_merge"] == "left_only").sum()),
    )
    assert count_changes(old, new) == expected


def test_the_materialization_says_what_a_version_changed(store: ObjectStore) -> None:
    def write(rows: list) -> dict:
        return dict(write_day(store, "dwd", layout.RAW_OBSERVATIONS, DayTable(KEY, table(rows))).metadata)

    first = write(OLD)
    assert not {"rows_inserted", "rows_changed", "rows_removed", "previous_sha256"} & first.keys()
    again = write(OLD)
    counts = ("rows_inserted", "rows_changed", "rows_removed")
    assert [again[name] for name in counts] == [0, 0, 0]
    assert again["previous_sha256"] == again["sha256"] == first["sha256"]
    changed = write([("a", "t", 0, 1.5, 1), OLD[2], ("c", "t", 0, 2.0, 1)])
    assert [changed[name] for name in counts] == [1, 1, 1]
    assert changed["previous_sha256"] == first["sha256"]
    refined = write_day(store, "dwd", layout.REFINED_15M, DayTable(KEY, table(OLD)))
    assert "previous_sha256" not in refined.metadata


@pytest.mark.parametrize(
    ("rows", "lost"),
    [
        ([], "a (0 of 1), b (0 of 2)"),
        ([("a", "t", 0, 1.0, 1)], "b (0 of 2)"),
        ([("a", "t", 0, 1.0, 1), ("b", "t", 0, 1.0, 1)], None),  # half of b's rows: as restatements go
    ],
)
def test_a_day_that_lost_its_stations_replaces_nothing(store: ObjectStore, rows: list, lost: str | None) -> None:
    whole = [("a", "t", 0, 1.0, 1), ("b", "t", 0, 1.0, 1), ("b", "t", 60, 2.0, 1)]
    write_day(store, "dwd", layout.RAW_OBSERVATIONS, DayTable(KEY, table(whole)))
    before = store.get(OBJECT)
    day = DayTable(KEY, table(rows))
    if lost is None:
        assert write_day(store, "dwd", layout.RAW_OBSERVATIONS, day).metadata["rows_removed"] == 1
        return
    with pytest.raises(LostRowsError) as raised:
        write_day(store, "dwd", layout.RAW_OBSERVATIONS, day)
    assert lost in str(raised.value)
    assert store.get(OBJECT) == before
    assert not store.list(layout.VERSIONS)
    accepted = write_day(store, "dwd", layout.RAW_OBSERVATIONS, replace(day, accept_loss=True))
    assert accepted.metadata["rows"] == len(rows)


def test_a_partial_day_replaces_only_what_it_holds_all_of(store: ObjectStore) -> None:
    whole = [("b", "t", minute, 1.0, 1) for minute in range(0, 600, 60)]
    write_day(store, "dwd", layout.RAW_OBSERVATIONS, DayTable(KEY, table(whole)))
    with pytest.raises(LostRowsError):
        write_day(
            store, "dwd", layout.RAW_OBSERVATIONS, DayTable(KEY, table(whole[1:]), incomplete="an hour is damaged")
        )
    more = DayTable(KEY, table([*whole, ("b", "t", 600, 1.0, 1)]), incomplete="station c is damaged")
    assert write_day(store, "dwd", layout.RAW_OBSERVATIONS, more).metadata["rows_inserted"] == 1


def test_a_damaged_previous_object_is_named_and_replaced(store: ObjectStore) -> None:
    store.put(OBJECT, b"no parquet")
    record = write_day(store, "dwd", layout.RAW_OBSERVATIONS, DayTable(KEY, table(OLD)))
    assert record.metadata["previous_sha256"] == hashlib.sha256(b"no parquet").hexdigest()
    assert record.metadata["previous_unreadable"]
    assert "rows_changed" not in record.metadata


def test_no_memory_is_not_a_damaged_object_that_may_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_: bytes) -> pa.Table:
        with parquet._reading():
            raise pa.ArrowMemoryError("malloc of size 1024 failed")

    monkeypatch.setattr(parquet, "decode", no_memory)
    with pytest.raises(MemoryError):
        row_diff.against_previous(b"the fuller day", b"the smaller", pa.table({}))
