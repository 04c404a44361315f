"""When upstreams are looked at: once a night, less often where it was in vain, and never at the cost of others."""

from __future__ import annotations

import socket
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from weather_backfill.backfill import polling
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.daily import fill_gaps, load_daily
from weather_backfill.backfill.polling import PollOutcome, Polls
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.lake import layout
from weather_backfill.sources.tempest.source import TempestSource
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, finish, target_days, write_tenant

NOW = datetime(2024, 1, 4, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class One:
    """Something to look at."""

    name: str
    version: str = "1"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(str(tmp_path))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each archive is asked for its inventory; every answer is the real one."""
    counts: Counter[str] = Counter()
    inventory = TempestSource.inventory

    def counted(self: TempestSource, start: date, end: date) -> Any:
        counts[self.archive.url] += 1
        return inventory(self, start, end)

    monkeypatch.setattr(TempestSource, "inventory", counted)
    return counts


def minutes(store: ObjectStore, outcome: PollOutcome, until: int) -> list[int]:
    """The minutes at which a connection is looked at, with a tick each minute."""
    found: list[int] = []

    def look(_: One) -> tuple[PollOutcome, str | None]:
        found.append(minute)
        return outcome, None

    for minute in range(until):
        tick = Polls(store, "onboarding", NOW + minute * MINUTE)
        tick.each(tick.due([One("acme-tempest")]), look, [])
    return found


def test_looks_in_vain_come_ever_less_often(store: ObjectStore) -> None:
    assert minutes(store, PollOutcome.NOTHING, 160) == [0, 1, 6, 36, 96, 156]


def test_a_look_that_has_seen_to_everything_is_not_repeated(store: ObjectStore) -> None:
    assert minutes(store, PollOutcome.DONE, 100) == [0]


def test_another_file_another_night_and_a_damaged_marker_end_a_wait(store: ObjectStore) -> None:
    def due(version: str = "1", night: str = "today", at: datetime = NOW) -> bool:
        return bool(Polls(store, "gaps", at, night).due([One("a", version)]))

    def look(outcome: PollOutcome) -> None:
        tick = Polls(store, "gaps", NOW, "today")
        tick.each(tick.due([One("a")]) or [One("a")], lambda _: (outcome, None), [])

    for outcome in (PollOutcome.DONE, PollOutcome.NOTHING):
        look(outcome)
        assert not due()
        assert due(version="2")
        assert due(night="tomorrow")
        assert due(at=NOW - MINUTE), "the clock was set back"
        assert Polls(store, "daily", NOW, "today").due([One("a")]), "another kind has a memory of its own"
    store.put(layout.look_key("gaps", "a"), b"{")
    assert due()
    look(PollOutcome.FOUND)
    assert not store.exists(layout.look_key("gaps", "a")), "what was found has a manifest that says so"


def test_slow_ones_go_last_and_a_tick_ends_in_time(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now, taken = [0.0], {"slow": 14.0, "quick": 1.0, "bad": 2.0, "late": 5.0}
    monkeypatch.setattr(polling.time, "monotonic", lambda: now[0])
    order: list[str] = []

    def look(one: One) -> tuple[PollOutcome, str | None]:
        order.append(one.name)
        now[0] += taken[one.name]
        if one.name == "bad":
            raise ValueError("no such thing")
        return PollOutcome.NOTHING, None

    def tick(at: datetime) -> list[str]:
        notes: list[str] = []
        found = Polls(store, "onboarding", at)
        found.each(found.due([One(name) for name in taken]), look, notes)
        return notes

    assert tick(NOW) == [
        "bad: ValueError: no such thing",
        "1 connections are polled in the next tick: this one's time is used up",
    ]
    assert tick(NOW) == [], "which looks at the one that is left"
    assert order == ["slow", "quick", "bad", "late"]
    tick(NOW + MINUTE)
    assert order[4:] == ["quick", "bad", "late", "slow"]


def test_the_gap_filler_looks_once_a_night(context: BackfillContext, asked: Counter[str], archive: Path) -> None:
    onboard(context, TODAY)
    asked.clear()
    for tick in range(5):  # nothing is free: the onboardings are at it
        fill_gaps(context, TODAY, NOW + tick * 10 * MINUTE)
    assert asked == {str(archive): 2}, "one look each"
    fill_gaps(context, TODAY + timedelta(days=1), NOW + timedelta(days=1))
    assert asked == {str(archive): 4}
    write_tenant(context.settings, "acme", archive, chunk_days=2)
    asked.clear()
    fill_gaps(context, TODAY, NOW + 60 * MINUTE)
    assert asked[str(archive)] >= 1, "a changed file is looked at at once"


def test_a_day_that_failed_is_still_missed_when_the_look_back_has_moved_on(
    context: BackfillContext, archive: Path
) -> None:
    """Nothing was loaded: all has failed. Three days of look-back, and a week later the archive has the days again."""
    onboard(context, TODAY)
    finish(context)
    onboard(context, TODAY, NOW)
    later = TODAY + timedelta(days=7)
    fill_gaps(context, later, NOW + timedelta(days=7))
    assert target_days(context, f"gaps-acme-tempest-{later - timedelta(days=1)}")[: len(DAYS)] == DAYS
    finish(context)
    write_tenant(context.settings, "acme", archive, chunk_days=1, lookback_days=2)
    onboard(context, later, NOW + timedelta(days=7))
    fill_gaps(context, later + timedelta(days=1), NOW + timedelta(days=8))
    taken = target_days(context, f"gaps-acme-tempest-{later}")
    assert DAYS[1] in taken
    assert DAYS[0] not in taken, "older than the shorter look-back at the onboarding"


def test_a_connection_without_data_is_looked_at_less_often(
    context: BackfillContext, asked: Counter[str], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    write_tenant(context.settings, "acme", empty)
    for minute in range(8):
        notes = onboard(context, TODAY, NOW + minute * MINUTE)
        assert any("has upstream data" in note for note in notes) == (minute in (0, 1, 6)), minute
    assert asked[str(empty)] == 3
    write_tenant(context.settings, "acme", empty, lookback_days=2)
    onboard(context, TODAY, NOW + 8 * MINUTE)
    assert asked[str(empty)] == 4, "a changed file is looked at at once"
    write_tenant(context.settings, "newcomer", empty)
    onboard(context, TODAY, NOW + 8 * MINUTE)
    assert asked[str(empty)] == 5, "and so is a new one"


def test_yesterday_that_comes_late_is_looked_for_again(
    context: BackfillContext, asked: Counter[str], archive: Path
) -> None:
    onboard(context, TODAY)
    asked.clear()
    for minute in range(8):
        load_daily(context, TODAY, NOW + minute * MINUTE)
    assert asked == {str(archive): 6}
    finish(context)
    onboard(context, TODAY, NOW)
    load_daily(context, TODAY, NOW + 60 * MINUTE)
    assert target_days(context, "daily-acme-tempest-2024-01-03"), "once its days are free"


@pytest.mark.long
def test_a_server_that_never_answers_holds_up_nobody(
    context: BackfillContext, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLOW_KEY", "key")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        slow = {"base_url": url, "api_key": "${SLOW_KEY}", "sites": ["roof"], "lookback_days": 3}
        dwd = {"base_url": url, "stations": ["00433"], "lookback_days": 3}
        document = {"id": "aaa", "services": {"aceiot": slow, "dwd": dwd}}
        open_tenant_files(context.settings).put("aaa.yaml", yaml.safe_dump(document, explicit_end=True).encode())
        write_tenant(context.settings, "zzz", archive)
        started = time.monotonic()
        first = onboard(context, TODAY, NOW)
        onboard(context, TODAY, NOW + timedelta(seconds=30))
        assert time.monotonic() - started < 60, "two ticks, in the time that Dagster gives one"
    assert sum(note.startswith(("aaa-aceiot: SourceUnavailable", "aaa-dwd: SourceUnavailable")) for note in first) == 2
    assert target_days(context, "onboard-zzz-tempest")
