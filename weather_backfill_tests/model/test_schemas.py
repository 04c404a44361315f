"""Schema versions: files of an older one are read with nulls, and named where a plan can renew them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weather_backfill import reader
from weather_backfill.backfill.coverage import held_days
from weather_backfill.backfill.plan import CHOSEN, Reason, Reprocess, build_plan
from weather_backfill.dagster.io_manager import lazy_relation
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.warehouse import create_views
from weather_backfill.lake.writer import SCHEMAS
from weather_backfill.model import schemas
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill.refine.features import read_refined_day
from weather_backfill.refine.windows import refine_file
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.platform import START, Platform

DAYS = days_between(START, date(2024, 1, 3))
NEW = "resultant_length"
VERSION_1 = {
    "raw_observations": ["observed_at", "station_id", "metric", "value", "quality"],
    "refined_15m": [
        "window_start", "station_id", "metric", "sample_count", "expected_count", "completeness", "mean", "minimum",
        "maximum", "sum", "first", "last", "standard_deviation", "resultant_length", "quality",
    ],
    "rejected_observations": ["reason", "source_object", "station_id", "observed_at", "raw_text"],
}  # fmt: skip


def test_a_column_more_is_a_version_more() -> None:
    """Fails where a schema is changed and nothing else: then older lakes would break in silence."""
    for dataset, columns in VERSION_1.items():
        schema, later = SCHEMAS[dataset], schemas.SINCE.get(dataset, {})
        assert [name for name in schema.names if name not in later] == columns
        assert set(later) <= set(schema.names)
        assert all(schema.field(name).nullable for name in later), "older files have nulls there"
        assert all(1 < int(since) <= int(schemas.SCHEMA_VERSION) for since in later.values())


@pytest.mark.parametrize(("version", "older"), [("1", True), ("2", False), ("3", False), (None, True), ("x", True)])
def test_which_files_are_older(version: str | None, older: bool) -> None:
    assert schemas.is_older(version) is older


def test_what_a_file_has_besides_stays_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "SINCE", {"numbers": {"new": "2"}})
    schema = pa.schema([("a", pa.int64()), ("new", pa.float64()), ("b", pa.string())])
    made = schemas.conformed(pa.table({"b": ["x"], "extra": [7], "a": [1]}), schema, "numbers")
    assert made.schema.names == ["a", "new", "b", "extra"]
    assert made.schema.field("new").type == pa.float64()
    assert made.to_pylist() == [{"a": 1, "new": None, "b": "x", "extra": 7}]


def renamed(store: ObjectStore, key: str, column: str) -> None:
    """A damaged footer that Parquet readers take: one letter of a column's name is another."""
    data = store.get(key)
    wrong = column[:-1] + "_"
    assert data.count(column.encode()) > 0
    store.put(key, data.replace(column.encode(), wrong.encode()))
    names = pq.read_schema(pa.BufferReader(store.get(key))).names
    assert wrong in names
    assert column not in names


@pytest.mark.parametrize("as_", ["arrow", "pandas"])
def test_a_renamed_column_is_no_missing_column(local_platform: Platform, as_: reader.As) -> None:
    """Nulls are for columns that older files lack; a value that cannot be found any more is refused."""
    platform = local_platform
    platform.add_tempest("acme", 1)
    with platform.instance as instance:
        assert platform.load(instance, DAYS[0]).success
    key = PartitionKey(DAYS[0], "acme")
    raw, refined = (layout.day_key(name, "tempest", key) for name in (layout.RAW_OBSERVATIONS, layout.REFINED_15M))
    renamed(platform.lake, raw, "value")
    renamed(platform.lake, refined, "mean")
    for read, lacking in ((reader.read_raw, "value"), (reader.read_refined, "mean")):
        with pytest.raises(UnreadableObjectError, match=f"has no column {lacking}, which"):
            read(tenant="acme", service="tempest", start=DAYS[0], end=DAYS[0], as_=as_, settings=platform.settings)
    with pytest.raises(UnreadableObjectError, match="has no column value"):
        refine_file(platform.folder / "lake" / raw)
    with pytest.raises(UnreadableObjectError, match="has no column mean"):
        read_refined_day(DAYS[0], platform.lake.get(refined), refined)


@pytest.fixture
def mixed(local_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A lake of three days; the middle one was written before there was a column."""
    platform = local_platform
    platform.add_tempest("acme", 3)
    with platform.instance as instance:
        assert platform.load(instance, DAYS[0], DAYS[-1]).success
    make_older(platform.lake, DAYS[1], monkeypatch)
    monkeypatch.setattr(schemas, "SINCE", {**schemas.SINCE, layout.REFINED_15M: {NEW: "2"}})
    return platform


def make_older(store: ObjectStore, day: date, monkeypatch: pytest.MonkeyPatch) -> None:
    for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M):
        key = layout.day_key(dataset, "tempest", PartitionKey(day, "acme"))
        table = parquet.decode(store.get(key))
        footer = parquet.footer_of(parquet.metadata_of(store.get(key)))
        kept = {name: footer[name] for name in ("completeness", "cadence", "rejects") if name in footer}
        table = table.drop_columns([NEW]) if NEW in table.schema.names else table
        with monkeypatch.context() as patch:
            patch.setattr(schemas, "SCHEMA_VERSION", "1")
            store.put(key, parquet.encode(table, kept).data)


@pytest.mark.parametrize("days", [DAYS, DAYS[1:2]], ids=["mixed", "only older"])
def test_readers_see_nulls(mixed: Platform, days: list[date]) -> None:
    table = reader.read_refined(
        tenant="acme", service="tempest", start=days[0], end=days[-1], as_="arrow", settings=mixed.settings
    )
    assert table.schema.names == schemas.REFINED.names
    older = table.filter(pa.compute.equal(table["window_start"].cast(pa.date32()), DAYS[1]))
    assert older.num_rows > 1000
    assert older[NEW].null_count == older.num_rows
    keys = [layout.day_key(layout.REFINED_15M, "tempest", PartitionKey(day, "acme")) for day in days]
    relation = lazy_relation(mixed.lake, keys, layout.REFINED_15M)
    assert set(relation.columns) >= set(schemas.REFINED.names)
    assert relation.aggregate(f"count(*), count({NEW})").fetchall() == [
        (table.num_rows, table.num_rows - table[NEW].null_count)
    ]


@pytest.mark.parametrize("older", [DAYS[0], DAYS[1]], ids=["first", "middle"])
def test_views_see_nulls(mixed: Platform, older: date, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_older(mixed.lake, older, monkeypatch)
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        create_views(connection, mixed.lake)
        found = connection.execute(f"SELECT date, count({NEW}) > 0 FROM refined_15m GROUP BY 1 ORDER BY 1").fetchall()
        versions = connection.execute(
            "SELECT date, schema_version FROM dataset_versions WHERE dataset = 'refined_15m' ORDER BY 1"
        ).fetchall()
    assert found == [(day, day not in (older, DAYS[1])) for day in DAYS]
    assert versions == [(day, "1" if day in (older, DAYS[1]) else "2") for day in DAYS]


def test_a_plan_names_older_days_and_renews_them(mixed: Platform) -> None:
    tenant = TenantRegistry(open_tenant_files(mixed.settings)).get("acme")
    with mixed.instance as instance:

        def plan(reprocess: Reprocess) -> list[date]:
            made = build_plan(instance, mixed.settings, tenant, "tempest", DAYS[0], DAYS[-1], reprocess=reprocess)
            assert made.reasons == {DAYS[0]: Reason.DONE, DAYS[1]: Reason.OUTDATED, DAYS[2]: Reason.DONE}
            assert made.summary()["days_older_schema"] == 1
            return made.days

        assert plan(Reprocess.INCOMPLETE) == [DAYS[1]]
        assert sorted(plan(Reprocess.ALL)) == DAYS
        assert plan(Reprocess.MISSING) == plan(Reprocess.FAILED) == []
    assert mixed.run(
        "weather-backfill", "gaps", "--tenant", "acme", "--service", "tempest", "--start", str(DAYS[0]), "--end",
        str(DAYS[-1]), "--json",
    ).stdout.strip() == "[]", "it holds all there is"  # fmt: skip


def test_what_the_upstream_has_no_more_is_left_as_it_is(mixed: Platform) -> None:
    tenant = TenantRegistry(open_tenant_files(mixed.settings)).get("acme")
    held = held_days(mixed.lake, "tempest", "acme")
    assert [day for day in held if held[day].outdated] == [DAYS[1]]
    write_archive(SimulatedArchive("acme", DAYS[0], DAYS[0], 1, 7, 60), ObjectStore(str(mixed.folder / "elsewhere")))
    moved = tenant.model_copy(
        update={"services": tenant.services.model_copy(update={"tempest": tenant.services.tempest.model_copy(
            update={"archive_url": str(mixed.folder / "elsewhere")})})}
    )  # fmt: skip
    with mixed.instance as instance:
        made = build_plan(instance, mixed.settings, moved, "tempest", DAYS[0], DAYS[-1], reprocess=Reprocess.INCOMPLETE)
    assert made.days == []


def test_all_takes_every_day_that_the_upstream_has() -> None:
    assert set(Reason) - CHOSEN[Reprocess.ALL] == {Reason.NO_UPSTREAM, Reason.KEPT}
