"""What the archives of old releases hold, and how a test asks about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.model.partitions import days_between
from weather_backfill_tests.platform import Platform

D1, D2, D3, D4, D5, D6 = days_between(date(2024, 1, 1), date(2024, 1, 6))
GAPS = [{"day": str(D3), "reason": "failed"}, {"day": str(D5), "reason": "missing"}]  # of acme, in every archive


@dataclass(frozen=True)
class Archived:
    """An archive: which days of Tempest are done, and how the backfills stand, as the old release left it.

    `failed` is of acme, over D1 to D4; `paused` of acme, over D5; `canceled` a day of borealis that nothing else holds.
    """

    name: str
    today: date  # by which the reconciler looks for what is missing
    upstream: Mapping[str, set[date]]
    done: Mapping[str, set[date]]
    words: Mapping[str, str]  # by id, as Dagster and the lake say it
    failed: str
    paused: str
    canceled: tuple[str, date]
    log: set[tuple[str, str | None]]
    settled: Mapping[str, str]  # what becomes by itself of what is under way
    versions: list[tuple]  # dataset, objects, objects whose writer is known, schema version
    waiting: set[str] = field(default_factory=set)  # what the reconciler launches
    onboarded: set[str] = field(default_factory=set)  # whose look-back reaches further than what was loaded
    unrecorded: Mapping[str, set[date]] = field(default_factory=dict)  # raw days of a run that was killed

    def __str__(self) -> str:
        return self.name


def backfill(tenant: str, first: date, last: date, service: str = "tempest") -> str:
    """The id of the first backfill of a range."""
    return f"{service}-{tenant}-{first:%Y%m%d}-{last:%Y%m%d}-1"


FAILED, PAUSED = backfill("acme", D1, D4), backfill("acme", D5, D5)


def first_release() -> Archived:
    """v0.1.0, as `session.py` leaves it."""
    whole, canceled, queued = (backfill("borealis", day, day) for day in (D1, D2, D3))
    return Archived(
        "v0.1.0",
        today=date(2024, 1, 6),
        upstream={"acme": {D1, D2, D3, D4, D5}, "borealis": {D1, D2, D3}},
        done={"acme": {D1, D2, D4}, "borealis": {D1}},
        words={
            FAILED: "completed with failures", PAUSED: "pausing", whole: "completed", canceled: "canceling",
            queued: "running",
        },
        failed=FAILED,
        paused=PAUSED,
        canceled=(canceled, D2),
        log={("start", FAILED), ("cancel", canceled), ("pause", PAUSED)},
        settled={canceled: "canceled", queued: "completed", PAUSED: "paused"},
        # No release before the ledger says which run wrote a file: its version is null, as docs/operations.md says.
        versions=[("raw_observations", 4, 0, "1"), ("refined_15m", 4, 0, "1")],
    )  # fmt: skip


WHOLE, CANCELED, KILLED = backfill("borealis", D1, D2), backfill("borealis", D3, D3), backfill("borealis", D4, D5)
QUEUED, LOADED = backfill("borealis", D6, D6), backfill("cirrus", D1, D3, "dwd")


def before_restructuring() -> Archived:
    """1160759, as `session_1160759.py` leaves it."""
    return Archived(
        "1160759",
        today=date(2024, 1, 7),
        upstream={"acme": {D1, D2, D3, D4, D5}, "borealis": {D1, D2, D3, D4, D5, D6}},
        done={"acme": {D1, D2, D4}, "borealis": {D1, D2}},
        words={
            FAILED: "completed with failures", PAUSED: "paused", WHOLE: "completed", CANCELED: "canceled",
            KILLED: "running", QUEUED: "queued", LOADED: "completed",
        },
        failed=FAILED,
        paused=PAUSED,
        canceled=(CANCELED, D3),
        log={
            *(("start", name) for name in (FAILED, PAUSED, WHOLE, CANCELED, KILLED, QUEUED, LOADED)),
            *(("ended", name) for name in (FAILED, PAUSED, WHOLE, CANCELED, LOADED)),
            ("pause", PAUSED), ("cancel", CANCELED), ("rollback", None), ("plan", None), ("start", None),
        },
        settled={CANCELED: "canceled", KILLED: "completed", QUEUED: "queued", PAUSED: "paused"},
        versions=[("raw_observations", 9, 8, "1"), ("refined_15m", 8, 8, "1")],  # a run was killed
        waiting={QUEUED},
        onboarded={"onboard-cirrus-dwd"},
        unrecorded={"borealis": {D4}},
    )  # fmt: skip


ARCHIVES = (first_release(), before_restructuring())


def natives(desk: BackfillContext) -> set[str]:
    """The ids of Dagster's own backfills."""
    return {native.backfill_id for native in desk.instance.get_backfills()}


def weather(platform: Platform, *arguments: str, code: int = 0) -> Any:
    """What a command says in JSON; it ends with `code`."""
    done = platform.run("weather-backfill", *arguments, "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def materialize(platform: Platform, assets: str, *arguments: str) -> None:
    """Materialize assets in one process, without the daemon."""
    command = ("asset", "materialize", "-m", "weather_backfill.definitions_single_run", "--select", assets)
    platform.run("dagster", *command, *arguments)


def span(tenant: str, first: date = D1, last: date = D5, service: str = "tempest") -> tuple[str, ...]:
    """The arguments that name days of a tenant."""
    return "--tenant", tenant, "--service", service, "--start", str(first), "--end", str(last)
