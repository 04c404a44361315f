"""Raw days of schema 1 become days of today's schema, from the lake alone; expectations are counted here."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weather_backfill.backfill import upgrade as upgrading
from weather_backfill.backfill.commands import BackfillContext
from weather_backfill.backfill.coverage import held_days
from weather_backfill.backfill.upgrade import Upgraded, plan_upgrade, upgrade
from weather_backfill.lake import layout, parquet, versions
from weather_backfill.lake.carried import holds_own_days_end
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import Cadence, DayTable
from weather_backfill.model.errors import StorageUnavailableError
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill.model.schemas import RAW, REJECTS
from weather_backfill.settings import Settings
from weather_backfill.storage.places import open_tenant_files

FIRST = date(2021, 3, 1)
DAYS = days_between(FIRST, date(2021, 3, 4))
STEP = {"10_minutes": timedelta(minutes=10), "hourly": timedelta(hours=1)}
METRICS = {"10_minutes": ("precipitation_amount",), "hourly": ("air_temperature", "precipitation_amount")}
OLD_RAW = pa.schema(
    [
        ("observed_at", pa.timestamp("us", tz="UTC")), ("station_id", pa.string()), ("metric", pa.string()),
        ("value", pa.float64()), ("quality", pa.int8()),
    ]
)  # fmt: skip


@pytest.fixture
def context(tmp_path: Path) -> Iterator[BackfillContext]:
    settings = Settings(storage_url=str(tmp_path / "lake"), tenants_url=str(tmp_path / "tenants"))
    connection = {"stations": ["00001", "00002"], "resolution": "10_minutes", "products": ["precipitation"]}
    document = {"id": "acme", "services": {"dwd": connection}}
    open_tenant_files(settings).put("acme.yaml", json.dumps(document).encode())
    with dg.DagsterInstance.ephemeral() as instance:
        yield BackfillContext(instance, dg.Definitions(), settings)


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def number(moment: datetime) -> float:
    """The value of a stamp: the minutes since the first midnight, so that every value is another one."""
    return (moment - midnight(FIRST)).total_seconds() / 60


def key_of(day: date, dataset: str = layout.RAW_OBSERVATIONS) -> str:
    return layout.day_key(dataset, "dwd", PartitionKey(day, "acme"))


def write_old(context: BackfillContext, day: date, resolution: str = "10_minutes") -> None:
    """A day as schema 1 had it: by its stamps, two stations."""
    step = STEP[resolution]
    stamps = [midnight(day) + n * step for n in range(timedelta(days=1) // step)]
    rows = [
        {"observed_at": stamp, "station_id": station, "metric": metric, "value": number(stamp), "quality": 1}
        for station in ("00001", "00002") for metric in METRICS[resolution] for stamp in stamps
    ]  # fmt: skip
    footer = {
        "schema_version": "1", "cadence": json.dumps({"seconds": int(step.total_seconds()), "by_metric": {}}),
        "rejects": "0", "completeness": "1.000000", "rows": f"{day}-old", "source_objects": '{"a.zip": "0123"}',
        "service": "dwd", "tenant": "acme", "date": str(day),
    }  # fmt: skip
    schema = pa.schema([f.with_nullable(f.name == "value") for f in OLD_RAW])
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, write_page_checksum=True, store_schema=False) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        writer.add_key_value_metadata({f"weather.{name}": text for name, text in footer.items()})
    context.store.put(key_of(day), sink.getvalue())


def run(context: BackfillContext) -> Upgraded | None:
    plans = plan_upgrade(context, "acme")
    return upgrade(context, plans[0]) if plans else None


def held(context: BackfillContext, day: date, metric: str = "precipitation_amount") -> list[float]:
    """The values of one of the stations, which are alike."""
    table = parquet.decode(context.store.get(key_of(day)))
    found: list[list[float]] = [
        [r["value"] for r in table.to_pylist() if (r["station_id"], r["metric"]) == (station, metric)]
        for station in ("00001", "00002")
    ]
    assert found[0] == found[1]
    return found[0]


def minutes(day: date, first: int, last: int, step: int = 10) -> list[float]:
    """The values of the stamps from `first` to `last` minutes after a day's midnight, both included."""
    start = number(midnight(day))
    return [start + n for n in range(first, last + 1, step)]


def test_every_value_lies_in_the_day_of_its_ten_minutes(context: BackfillContext) -> None:
    for day in DAYS:
        write_old(context, day)
    [plan] = plan_upgrade(context, "acme")
    assert (plan.days, plan.bytes) == (tuple(DAYS), sum(len(context.store.get(key_of(d))) for d in DAYS))
    assert (plan.rows, plan.row()["expected_seconds"]) == (4 * 2 * 144, 1)
    done = upgrade(context, plan)
    assert (done.days, done.refined, done.rejects, done.failed) == (4, 4, 2, {})
    for day in DAYS[:-1]:
        assert held(context, day) == minutes(day, 10, 1440)
    assert held(context, DAYS[-1]) == minutes(DAYS[-1], 10, 1430), "the next day is not in the lake"
    table = parquet.decode(context.store.get(key_of(DAYS[1])))
    assert set(table["interval_seconds"].to_pylist()) == {600}
    assert set(table["interval_end_offset_seconds"].to_pylist()) == {0}
    footer = parquet.our_pairs(table.schema.metadata)
    assert (footer["schema_version"], footer["source_objects"]) == ("2", '{"a.zip": "0123"}')


def test_the_first_stamp_of_the_history_is_a_reject_once(context: BackfillContext) -> None:
    for day in DAYS[:2]:
        write_old(context, day)
    run(context)
    rejects = parquet.decode(context.store.get(key_of(FIRST, layout.REJECTED_OBSERVATIONS))).to_pylist()
    assert [(r["reason"], r["observed_at"], r["raw_text"]) for r in rejects] == [
        ("before_first_day", midnight(FIRST), f"{station};precipitation_amount;0") for station in ("00001", "00002")
    ]
    assert held_days(context.store, "dwd", "acme")[FIRST].rejects == 2


OLD_REJECTS = pa.schema(
    [
        ("reason", pa.string()), ("source_object", pa.string()), ("station_id", pa.string()),
        ("observed_at", pa.timestamp("us", tz="UTC")), ("raw_text", pa.string()),
    ]
)  # fmt: skip


def test_rejects_of_an_older_file_stay_beside_those_of_the_upgrade(context: BackfillContext) -> None:
    """A day whose rejects were written before these said how much they stand for."""
    for day in DAYS[:2]:
        write_old(context, day)
    before = {"reason": "no time", "source_object": "a.zip", "station_id": "00001", "raw_text": "1;x;3"}
    footer = {"schema_version": "1", "service": "dwd", "tenant": "acme", "date": str(FIRST)}
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, OLD_REJECTS, store_schema=False) as writer:
        writer.write_table(pa.Table.from_pylist([before], schema=OLD_REJECTS))
        writer.add_key_value_metadata({f"weather.{name}": text for name, text in footer.items()})
    context.store.put(key_of(FIRST, layout.REJECTED_OBSERVATIONS), sink.getvalue())
    done = run(context)
    assert done is not None
    assert (done.failed, done.rejects) == ({}, 2)
    found = parquet.decode(context.store.get(key_of(FIRST, layout.REJECTED_OBSERVATIONS)))
    assert found.schema.names == REJECTS.names
    said = [(r["reason"], r["raw_text"], r["raw_bytes"], r["stands_for"]) for r in found.to_pylist()]
    assert said == [
        ("no time", "1;x;3", None, None),
        *(("before_first_day", f"{station};precipitation_amount;0", 28, 1) for station in ("00001", "00002")),
    ]


def test_hourly_rows_by_their_products(context: BackfillContext) -> None:
    """A reading ten minutes before its stamp, and a sum that ends there: both of x = 00:00 belong to the day before."""
    for day in DAYS[:2]:
        write_old(context, day, "hourly")
    run(context)
    for metric in METRICS["hourly"]:
        assert held(context, FIRST, metric) == minutes(FIRST, 60, 1440, 60)
    table = parquet.decode(context.store.get(key_of(FIRST)))
    spans = {(r["metric"], r["interval_seconds"], r["interval_end_offset_seconds"]) for r in table.to_pylist()}
    assert spans == {("air_temperature", 0, -600), ("precipitation_amount", 3600, -600)}


def test_a_second_call_has_nothing_to_do_but_the_day_without_an_end(context: BackfillContext) -> None:
    for day in DAYS:
        write_old(context, day)
    run(context)
    before = {o.key: context.store.get(o.key) for o in context.store.list(layout.RAW_OBSERVATIONS)}
    assert run(context) is None
    assert {o.key: context.store.get(o.key) for o in context.store.list(layout.RAW_OBSERVATIONS)} == before
    outdated = {day: one.outdated for day, one in held_days(context.store, "dwd", "acme").items()}
    assert outdated == {**dict.fromkeys(DAYS, False), DAYS[-1]: True}, "plans go on to call it older schema"
    after = DAYS[-1] + timedelta(days=1)
    write_old(context, after)
    run(context)
    assert held(context, DAYS[-1]) == minutes(DAYS[-1], 10, 1440)
    assert not held_days(context.store, "dwd", "acme")[DAYS[-1]].outdated


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_stopped_between_days_it_goes_on_and_loses_nothing(context: BackfillContext, stopped_after: int) -> None:
    for day in DAYS:
        write_old(context, day)
    [plan] = plan_upgrade(context, "acme")
    upgrade(context, upgrading.UpgradePlan("dwd", "acme", plan.days[:stopped_after], (), 0, 0))
    every = {value for day in DAYS for value in held(context, day)}
    assert every == set(minutes(FIRST, 10, 4 * 1440 - 10))
    run(context)
    assert [held(context, day) for day in DAYS[:-1]] == [minutes(day, 10, 1440) for day in DAYS[:-1]]


def test_stopped_after_the_first_of_a_days_files_it_goes_on(
    context: BackfillContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refined of a day whose raw was upgraded is made by the next call; no row is rejected twice."""
    for day in DAYS[:2]:
        write_old(context, day)
    run_once = run(context)
    assert run_once is not None
    whole = {d: context.store.get(key_of(d, layout.REFINED_15M)) for d in DAYS[:2]}
    for day in DAYS[:2]:
        write_old(context, day)

    def down(*arguments: object) -> None:
        raise StorageUnavailableError("down")

    with monkeypatch.context() as patch:
        patch.setattr(upgrading, "refine_day", down)
        patch.setattr(upgrading, "retrying", lambda: lambda call, *given: call(*given))
        done = run(context)
    assert done is not None
    assert (done.days, done.refined, list(done.failed)) == (2, 0, DAYS[:2])
    for day in DAYS[:2]:  # as if made from the rows of before
        assert context.store.exists(key_of(day, layout.REFINED_15M))
    run(context)
    assert {d: context.store.get(key_of(d, layout.REFINED_15M)) for d in DAYS[:2]} == whole
    assert parquet.decode(context.store.get(key_of(FIRST, layout.REJECTED_OBSERVATIONS))).num_rows == 2


def test_a_day_that_the_lake_lacks_takes_nothing_with_it(context: BackfillContext) -> None:
    for day in (DAYS[0], DAYS[2]):
        write_old(context, day)
    done = run(context)
    assert done is not None
    assert (done.rejects, done.without_last_values) == (4, 2)
    assert held(context, DAYS[0]) == minutes(DAYS[0], 10, 1430)
    assert held(context, DAYS[2]) == minutes(DAYS[2], 10, 1430)
    rejects = parquet.decode(context.store.get(key_of(DAYS[2], layout.REJECTED_OBSERVATIONS)))
    assert set(rejects["observed_at"].to_pylist()) == {midnight(DAYS[2])}


def test_a_day_that_was_loaded_meanwhile_gives_up_what_it_carried(context: BackfillContext) -> None:
    """Loaded by today's rules it keeps the first stamp for the day before, which is of schema 1."""
    for day in DAYS[:2]:
        write_old(context, day)
    stamps = [midnight(DAYS[1]) + timedelta(minutes=n) for n in range(10, 1441, 10)]
    rows = [
        {"observed_at": stamp, "station_id": station, "metric": "precipitation_amount", "value": number(stamp),
         "quality": 1, "interval_seconds": 600, "interval_end_offset_seconds": 0}
        for station in ("00001", "00002") for stamp in stamps
    ]  # fmt: skip
    loaded = DayTable(
        PartitionKey(DAYS[1], "acme"), pa.Table.from_pylist(rows, schema=RAW), parquet.cadence_lineage(Cadence(600))
    )
    write_day(context.store, "dwd", layout.RAW_OBSERVATIONS, loaded)
    assert held(context, DAYS[1]) == minutes(DAYS[1], 0, 1440)
    done = run(context)
    assert done is not None
    assert (done.days, done.without_last_values) == (2, 0)
    assert [held(context, day) for day in DAYS[:2]] == [minutes(day, 10, 1440) for day in DAYS[:2]]
    found = held_days(context.store, "dwd", "acme")
    assert not any(day.outdated or day.carried for day in found.values())
    assert run(context) is None


def test_a_day_loaded_without_the_one_before_lacks_that_ones_end_and_says_so(context: BackfillContext) -> None:
    """The stamp of its midnight is then in no file: the day before stays to be loaded, and carries for nobody."""
    write_old(context, DAYS[0])
    run(context)
    assert held_days(context.store, "dwd", "acme")[DAYS[0]].outdated
    assert not holds_own_days_end(context.store, "dwd", PartitionKey(DAYS[0], "acme"))


def test_a_damaged_day_costs_itself_and_the_one_that_needs_it(context: BackfillContext) -> None:
    for day in DAYS:
        write_old(context, day)
    whole = context.store.get(key_of(DAYS[2]))
    context.store.put(key_of(DAYS[2]), whole[: len(whole) // 2])
    done = run(context)
    assert done is not None
    assert (done.days, sorted(done.failed)) == (1, [DAYS[1], DAYS[3]])
    assert held(context, DAYS[1]) == minutes(DAYS[1], 0, 1430), "it stays as it was"
    context.store.put(key_of(DAYS[2]), whole)
    run(context)
    assert [held(context, day) for day in DAYS[:-1]] == [minutes(day, 10, 1440) for day in DAYS[:-1]]


def test_the_files_of_before_are_kept_as_versions_and_refined_fits(context: BackfillContext) -> None:
    for day in DAYS[:2]:
        write_old(context, day)
    old = context.store.get(key_of(FIRST))
    run(context)
    stored = versions.versions_of(context.store, "dwd", PartitionKey(FIRST, "acme"))
    assert [context.store.get(v.object_key) for v in stored[1:]] == [old]
    refined = parquet.decode(context.store.get(key_of(FIRST, layout.REFINED_15M)))
    raw = parquet.our_pairs(parquet.decode(context.store.get(key_of(FIRST))).schema.metadata)
    assert parquet.our_pairs(refined.schema.metadata)["raw_rows"] == raw["rows"]
    dataset = dg.AssetKey(["dwd", layout.RAW_OBSERVATIONS])
    assert f"{FIRST}|acme" in context.instance.get_materialized_partitions(dataset)
