"""Starts at the same moment: capacity and days are looked at and taken in one step, on a local lake and on S3."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_backfill.backfill import commands, launching, taken_days
from weather_backfill.backfill.commands import pause, resume, start
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import native_of
from weather_backfill.backfill.launching import advance, places
from weather_backfill.backfill.manifests import load_manifest
from weather_backfill.backfill.plan import BackfillPlan, build_plan
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.status import active_backfills
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, finish, opened, write_tenant

AT_ONCE, LIMIT = 3, 2
MEETING_SECONDS = 0.5


@pytest.fixture(params=["local", "s3"])
def busy(
    request: pytest.FixtureRequest, tmp_path: Path, archive: Path, definitions: dg.Definitions
) -> Iterator[BackfillContext]:
    """A context with three tenants and place for two backfills."""
    place: dict[str, Any] = {}
    if request.param == "s3":
        place = {
            "storage_url": f"s3://{request.getfixturevalue('bucket')}/lake",
            "s3_endpoint_url": request.getfixturevalue("s3_endpoint"),
        }
    with opened(tmp_path, archive, definitions, max_active_backfills=LIMIT, **place) as context:
        write_tenant(context.settings, "acme-3", archive)
        yield context


def planned(context: BackfillContext, tenant: str) -> BackfillPlan:
    known = TenantRegistry(open_tenant_files(context.settings)).get(tenant)
    return build_plan(context.instance, context.settings, known, "tempest", DAYS[0], DAYS[-1])


def met(monkeypatch: pytest.MonkeyPatch, module: Any, look: str) -> None:
    """All who look wait for each other before they act on what they saw, unless only one may look at a time."""
    meeting, real = threading.Barrier(AT_ONCE), getattr(module, look)

    def looked(*given: Any) -> Any:
        seen = real(*given)
        try:
            meeting.wait(MEETING_SECONDS)
        except threading.BrokenBarrierError:
            meeting.reset()
        return seen

    monkeypatch.setattr(module, look, looked)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ConfigurationError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(outcome, calls))


def test_of_three_at_once_as_many_are_launched_as_there_are_places(
    busy: BackfillContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [planned(busy, tenant) for tenant in ("acme", "acme-2", "acme-3")]
    met(monkeypatch, launching, "active_backfills")
    names = at_once(*(lambda plan=plan: start(busy, plan) for plan in plans))
    assert all(load_manifest(busy.store, name) for name in names)
    assert len(active_backfills(busy.instance)) == LIMIT
    monkeypatch.undo()
    finish(busy)
    onboard(busy, TODAY)  # the third has waited for this
    assert all(native_of(busy.instance, name) for name in names)


def test_a_sensor_and_persons_at_once_keep_the_limit(busy: BackfillContext, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [planned(busy, tenant) for tenant in ("acme-2", "acme-3")]
    start(busy, planned(busy, "acme"), launch=False)
    met(monkeypatch, launching, "active_backfills")
    at_once(lambda: onboard(busy, TODAY), *(lambda plan=plan: start(busy, plan) for plan in plans))
    assert len(active_backfills(busy.instance)) == LIMIT


def test_of_starts_over_the_same_days_one_runs_and_the_others_are_refused_by_its_name(
    busy: BackfillContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(busy, "acme")
    met(monkeypatch, commands, "overlapping")
    outcomes = at_once(*[lambda: start(busy, plan)] * AT_ONCE)
    started = [name for name in outcomes if isinstance(name, str)]
    assert len(started) == 1
    refused = [str(error) for error in outcomes if isinstance(error, ConfigurationError)]
    assert len(refused) == AT_ONCE - 1
    assert all(f"backfill {started[0]!r} is active over the same days" in told for told in refused)
    assert len(active_backfills(busy.instance)) == 1


def test_a_part_that_is_launched_between_the_two_looks_is_taken(
    context: BackfillContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(context, "acme")
    name = start(context, plan, launch=False)
    manifest = load_manifest(context.store, name)
    assert manifest
    launched: list[str] = []

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def looked(*given: Any) -> Any:
            seen = real(*given)
            if not launched:
                launched.extend(advance(context, manifest))
            return seen

        return looked

    for look in ("active_backfills", "unlaunched"):
        monkeypatch.setattr(taken_days, look, watched(getattr(taken_days, look)))
    assert taken_days.busy_days(context, "tempest", "acme") == {name: set(plan.days)}
    assert launched == [name]


def test_what_was_paused_is_not_resumed_over_days_that_another_has_taken(context: BackfillContext) -> None:
    plan = planned(context, "acme")
    paused = start(context, plan)
    pause(context, paused)
    finish(context)
    other = start(context, plan)
    with pytest.raises(ConfigurationError, match=f"'{other}' is active over the same days: wait for it, or cancel it"):
        resume(context, paused)
    finish(context)
    assert resume(context, paused)


def test_a_sensor_does_not_wait_long_for_the_places(context: BackfillContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weather_backfill.backfill.reconciler.SENSOR_WAITS", 0.1)
    with places(context):
        notes = onboard(context, TODAY)
    assert any("wait for the next tick: another process has been" in note for note in notes)
    assert not active_backfills(context.instance)
    assert any("launched" in note for note in onboard(context, TODAY))
