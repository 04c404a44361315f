"""Housekeeping shows first, deletes what is old on demand, and leaves journals of runs that are still going."""

from __future__ import annotations

import json
from typing import Any

from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from weather_backfill.lake import layout
from weather_backfill_tests.lake.test_kept import OBJECT, write
from weather_backfill_tests.platform import Platform


def said(platform: Platform, *options: str) -> Any:
    return json.loads(platform.run("weather-backfill", "housekeeping", *options, "--json").stdout)


def counts(rows: Any) -> dict[str, int]:
    return {row["what"]: row["objects"] for row in rows}


def test_a_dry_run_first_and_only_what_is_old(local_platform: Platform) -> None:
    platform, store = local_platform, local_platform.lake
    write(store, 1.0, rejects=1)
    current = write(store, 2.0)
    with platform.instance as instance:
        ended = create_run_for_test(instance, status=DagsterRunStatus.SUCCESS).run_id
        going = create_run_for_test(instance, status=DagsterRunStatus.STARTED).run_id
    journals = [f"{layout.journal_prefix(run, 'tempest/x')}/tenant=acme/2024-01-01.json" for run in (ended, going)]
    for key in journals:
        store.put(key, b"{}")
    assert counts(said(platform, "--yes")) == {"versions": 0, "journals": 0}, "nothing is 30 days old"
    assert counts(said(platform, "--days", "0")) == {"versions": 2, "journals": 1}
    assert len(store.list(layout.VERSIONS)) == 2
    assert counts(said(platform, "--days", "0", "--yes")) == {"versions": 2, "journals": 1}
    assert counts(said(platform, "--days", "0", "--yes")) == {"versions": 0, "journals": 0}
    assert (store.list(layout.VERSIONS), store.get(OBJECT)) == ([], current)
    assert not store.exists(journals[0])
    assert store.exists(journals[1]), "a run that is going may still resume from its journal"
