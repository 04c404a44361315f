"""Rejects, raw, journal, ledger and Dagster's record of a day are five writes: what a reader sees between each pair.

The process dies between two of them: from there on it writes nothing, neither to the lake nor to Dagster. Then the
same day is loaded by a new run. The table is docs/operations.md, "The five writes of a day".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass
from typing import Any

import dagster as dg
import pytest

from weather_backfill.lake import layout
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.sources.tempest.simulate import Faults
from weather_backfill_tests.backfill.killing import Killed, on_every_write
from weather_backfill_tests.platform import START, Platform

DAY = PartitionKey(START, "acme")
RAW = layout.day_key(layout.RAW_OBSERVATIONS, "tempest", DAY)
REJECTS = layout.day_key(layout.REJECTED_OBSERVATIONS, "tempest", DAY)
NEVER = "no write of the lake"


@dataclass(frozen=True)
class Seen:
    """What there is of the day."""

    rejects: bool
    raw: bool
    journal: bool
    ledger: bool
    dagster: bool


PAIRS = {
    "rejects, raw": (RAW, Seen(True, False, False, False, False)),
    "raw, journal": (f"tenant=acme/{START}.json", Seen(True, True, False, False, False)),
    "journal, ledger": ("_ledger/", Seen(True, True, True, False, False)),
    "ledger, end of journal": (f"['{layout.JOURNAL}/", Seen(True, True, True, True, False)),
    "ledger, Dagster's record": (NEVER, Seen(True, True, False, True, False)),
}
ALL = Seen(True, True, False, True, True)


def seen_of(platform: Platform) -> Seen:
    keys = [stored.key for stored in platform.lake.list()]
    entries = [
        entry["object"]
        for key in keys
        if key.startswith("_ledger/")
        for entry in json.loads(platform.lake.get(key))["written"]
    ]
    return Seen(
        REJECTS in keys,
        RAW in keys,
        any(key.startswith(layout.JOURNAL) and key.endswith(f"{START}.json") for key in keys),
        RAW in entries,
        platform.materialized(layout.RAW_OBSERVATIONS, "acme") == {START},
    )


def die_before(platform: Platform, target: str) -> None:
    """Load the day in a process that dies before it writes `target`; `NEVER`: before Dagster's record of raw."""
    dead = False

    def before(written: str) -> None:
        nonlocal dead
        dead = dead or target in written
        if dead:
            raise Killed

    def recording(instance: dg.DagsterInstance, entry: Any, *rest: Any, **more: Any) -> Any:
        nonlocal dead
        event = entry.dagster_event
        of_raw = event and event.is_step_materialization and event.asset_key.path[-1] == layout.RAW_OBSERVATIONS
        dead = dead or bool(target == NEVER and of_raw)
        if dead:
            raise Killed
        return record(instance, entry, *rest, **more)

    record = dg.DagsterInstance.handle_new_event
    with platform.instance as instance, pytest.MonkeyPatch.context() as patch, on_every_write(before):
        patch.setattr(dg.DagsterInstance, "handle_new_event", recording)
        with pytest.raises(Killed):
            platform.load(instance, assets=[layout.RAW_OBSERVATIONS])
    assert dead


@pytest.mark.parametrize("pair", PAIRS)
def test_what_is_seen_between_two_writes_and_that_the_next_run_completes_it(
    local_platform: Platform, pair: str
) -> None:
    local_platform.add_tempest("acme", 1, faults=Faults(garbage=0.02))
    target, between = PAIRS[pair]
    die_before(local_platform, target)
    assert seen_of(local_platform) == between
    left = {key: local_platform.lake.get(key) for key in (REJECTS, RAW) if local_platform.lake.exists(key)}
    with local_platform.instance as instance:
        assert local_platform.load(instance, assets=[layout.RAW_OBSERVATIONS]).success
        events = instance.fetch_materializations(dg.AssetKey(["tempest", layout.RAW_OBSERVATIONS]), limit=1)
    now = seen_of(local_platform)
    assert astuple(now)[:2] + astuple(now)[3:] == astuple(ALL)[:2] + astuple(ALL)[3:]
    assert now.journal == between.journal, "a dead run's journal stays until housekeeping"
    assert {key: local_platform.lake.get(key) for key in left} == left, (
        "what was written before is written no other way"
    )
    [recorded] = events.records
    assert recorded.asset_materialization
    told = recorded.asset_materialization.metadata["sha256"].value
    assert told == hashlib.sha256(local_platform.lake.get(RAW)).hexdigest()
    assert local_platform.lake.list(layout.VERSIONS) == []
