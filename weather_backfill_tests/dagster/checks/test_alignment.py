"""The alignment check finds what was planted, and nothing where products agree."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa

from weather_backfill.dagster.checks.alignment import build_alignment_check, misaligned
from weather_backfill.lake import layout, parquet
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import FEATURES
from weather_backfill.refine.features import PRODUCTS
from weather_backfill.storage.object_store import ObjectStore

FIRST, SECOND = date(2020, 1, 1), date(2020, 4, 1)


def features(*rows: tuple[str, date, dict[str, float]]) -> pa.Table:
    nothing = {f"{product}_completeness": 0.0 for product in PRODUCTS}
    return pa.Table.from_pylist(
        [
            {"station_id": station, "quarter_start": quarter, **nothing}
            | {f"{product}_completeness": share for product, share in shares.items()}
            for station, quarter, shares in rows
        ],
        FEATURES,
    )


BOTH = {"temperature": 1.0, "wind": 0.9}
PLANTED = features(
    ("1", FIRST, BOTH),
    ("1", SECOND, {"temperature": 1.0, "wind": 0.74}),  # wind fell out for a month
    ("2", FIRST, BOTH),
    ("2", SECOND, {}),  # nothing at all: aligned
    ("3", FIRST, {"wind": 0.8}),  # never measured temperature
    ("4", SECOND, {"temperature": 0.75, "wind": 0.75}),
)


def test_planted_misalignments_are_named() -> None:
    assert misaligned("acme", PLANTED) == [
        {"tenant": "acme", "station_id": "1", "quarter": "2020-04-01",
         "covered": "temperature", "not_covered": "wind", "ever": True},
        {"tenant": "acme", "station_id": "3", "quarter": "2020-01-01",
         "covered": "wind", "not_covered": "temperature", "ever": False},
    ]  # fmt: skip


def test_products_that_agree_or_that_nobody_has() -> None:
    assert misaligned("acme", features(("1", FIRST, BOTH), ("1", SECOND, {"temperature": 0.2, "wind": 0.1}))) == []
    assert misaligned("acme", features(("1", FIRST, {"temperature": 1.0}))) == []
    assert misaligned("acme", FEATURES.empty_table()) == []


def test_the_check_warns_over_all_quarters_in_the_lake(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    for quarter in (FIRST, SECOND):
        table = PLANTED.filter(pa.compute.equal(PLANTED["quarter_start"], pa.scalar(quarter)))
        key = layout.day_key(layout.QUARTERLY_FEATURES, "dwd", PartitionKey(quarter, "acme"))
        store.put(key, parquet.encode(table, {}).data)
    result = check(store)
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert result.description.startswith("2 station quarters of 2 stations in 2 quarters")
    named = {tuple(r.data.values())[:3] for r in result.metadata["stations_and_quarters"].records}
    assert named == {("acme", "1", "2020-04-01"), ("acme", "3", "2020-01-01")}
    assert check(ObjectStore(str(tmp_path / "empty"))).passed


def check(store: ObjectStore) -> dg.AssetCheckResult:
    class Lake:
        pass

    lake = Lake()
    lake.store = store  # type: ignore[attr-defined]
    return build_alignment_check("dwd").op.compute_fn.decorated_fn(lake)  # type: ignore[union-attr, no-any-return]
