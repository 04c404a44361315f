"""The journal: what an earlier try has finished counts only while its object is what it wrote."""

from __future__ import annotations

from datetime import date

from weather_backfill.lake import layout
from weather_backfill.lake.journal import Journal
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import CheckResult, DayRecord, DayTable
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.refine.test_windows import raw_table


def written(store: ObjectStore, day: int, tenant: str = "acme", value: float = 1.0) -> DayRecord:
    key = PartitionKey(date(2024, 1, day), tenant)
    checks = [CheckResult("completeness", False, True, "why", {"share": 0.5})]
    table = raw_table([(0, "ST-1", "air_temperature", value, 1)])
    return write_day(store, "tempest", layout.RAW_OBSERVATIONS, DayTable(key, table, checks=checks))


def journal(store: ObjectStore, run: str = "run-1", asset: str = "tempest/raw_observations") -> Journal:
    return Journal(store, run, asset)


def test_a_record_comes_back_as_it_was(store: ObjectStore) -> None:
    record = written(store, 1)
    journal(store).add(record)
    back = journal(store).finished()[record.key]
    assert (back.key, back.object_key, back.metadata) == (record.key, record.object_key, dict(record.metadata))
    assert list(back.checks) == list(record.checks)


def test_only_days_whose_object_is_still_what_was_written_are_finished(store: ObjectStore) -> None:
    records = {day: written(store, day) for day in (1, 2, 3, 4)}
    for record in records.values():
        journal(store).add(record)
    store.delete(records[2].object_key)
    written(store, 3, value=2.0)  # another run wrote the day again
    assert set(journal(store).finished()) == {records[1].key, records[4].key}


def test_journals_of_runs_assets_and_tenants_do_not_mix(store: ObjectStore) -> None:
    journal(store).add(written(store, 1))
    journal(store).add(written(store, 1, "borealis"))
    assert len(journal(store).finished()) == 2
    assert journal(store, run="run-10").finished() == {}
    assert journal(store, asset="tempest/refined_15m").finished() == {}
    journal(store, run="run-10").clear()
    assert len(journal(store).finished()) == 2
    journal(store).clear()
    assert journal(store).finished() == {}
    assert store.list("_journal") == []


def test_a_journal_lies_outside_the_datasets(store: ObjectStore) -> None:
    record = written(store, 1)
    journal(store).add(record)
    assert [o.key for o in store.list(layout.RAW_OBSERVATIONS)] == [record.object_key]
