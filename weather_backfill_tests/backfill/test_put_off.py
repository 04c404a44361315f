"""What a person has put off stays so: by a click on one part, of somebody's own backfill, under another look-back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_backfill.backfill import reconciler, status
from weather_backfill.backfill.commands import cancel, pause, resume
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.daily import fill_gaps, load_daily
from weather_backfill.backfill.launch import launch_backfill
from weather_backfill.backfill.manifests import (
    Manifest,
    close,
    held_manifests,
    load_manifest,
    open_manifests,
    save_manifest,
)
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.status import Status, natives_of, status_of
from weather_backfill.backfill.taken_days import held_back
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, finish, load, opened, target_days, write_tenant
from weather_backfill_tests.backfill.killing import killed_at_every_write

TOMORROW = TODAY + timedelta(days=1)
MINE = "onboard-acme-tempest"


def click_cancel(context: BackfillContext, native: str) -> None:
    """As on Dagster's page."""
    found = context.instance.get_backfill(native)
    assert found
    context.instance.update_backfill(found.with_status(BulkActionStatus.CANCELING))


def manifest(context: BackfillContext) -> Manifest:
    found = load_manifest(context.store, MINE)
    assert found
    return found


def test_a_part_that_was_clicked_away_is_taken_by_nobody(context: BackfillContext) -> None:
    onboard(context, TODAY)
    click_cancel(context, MINE)
    assert target_days(context, MINE) == [DAYS[2]]
    assert held_back(context, "tempest", "acme") == {DAYS[2]}, "before any tick has seen it"
    finish(context)
    assert f"{MINE}: completed with failures" in onboard(context, TODAY)
    assert (manifest(context).state, manifest(context).put_off) == ("active", {DAYS[2]})
    fill_gaps(context, TOMORROW)
    assert target_days(context, "gaps-acme-tempest-2024-01-04") == [*DAYS[:2], TODAY], "failed, and new; not put off"
    finish(context)
    assert resume(context, MINE).status == "running", "until a person wants it again"
    assert manifest(context).put_off == set()
    assert held_back(context, "tempest", "acme") == set()


def test_the_last_part_that_was_clicked_away_takes_no_other_with_it(context: BackfillContext) -> None:
    onboard(context, TODAY)
    click_cancel(context, f"{MINE}.3")
    finish(context)
    assert f"{MINE}: canceled" in onboard(context, TODAY)
    assert held_back(context, "tempest", "acme") == {DAYS[0]}, "the days of the other parts have failed by themselves"
    assert onboard(context, TODAY) == [], "it is told once"
    assert resume(context, MINE).status == "running"


def test_what_was_done_before_a_pause_is_put_off_by_nobody(context: BackfillContext) -> None:
    whole = "onboard-acme-2-tempest"
    onboard(context, TODAY)
    load(context, DAYS[:1], tenant="acme-2")
    pause(context, whole)
    finish(context)
    resume(context, whole)
    onboard(context, TODAY)
    found = load_manifest(context.store, whole)
    assert found
    assert found.put_off == set()
    assert held_back(context, "tempest", "acme-2") == set()
    assert held_manifests(context.store) == []


def test_a_pause_while_the_sensor_settles_wins(context: BackfillContext, monkeypatch: pytest.MonkeyPatch) -> None:
    onboard(context, TODAY)
    click_cancel(context, MINE)

    def paused_meanwhile(*given: Any) -> Status:
        found = status_of(*given)
        if given[-1] == MINE and manifest(context).state == "active":
            pause(context, MINE)
        return found

    monkeypatch.setattr(reconciler, "status_of", paused_meanwhile)
    onboard(context, TODAY)
    assert manifest(context).state == "paused"
    assert held_back(context, "tempest", "acme") == set(DAYS)


def test_a_resume_while_the_end_is_written_down_is_seen(
    context: BackfillContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    onboard(context, TODAY)
    cancel(context, MINE)
    finish(context)

    def resumed_meanwhile(store: ObjectStore, backfill_id: str) -> None:
        if backfill_id == MINE:
            save_manifest(store, replace(manifest(context), state="active"))
        close(store, backfill_id)

    monkeypatch.setattr(status, "close", resumed_meanwhile)
    onboard(context, TODAY)
    assert MINE in {found.backfill_id for found in open_manifests(context.store)}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_settling_that_dies_forgets_no_cancellation(
    tmp_path: Path, archive: Path, definitions: dg.Definitions, moment: str
) -> None:
    @contextmanager
    def cancelled_context(number: int) -> Iterator[BackfillContext]:
        with opened(tmp_path / str(number), archive, definitions) as context:
            open_tenant_files(context.settings).delete("acme.yaml")
            onboard(context, TODAY)
            click_cancel(context, "onboard-acme-2-tempest")
            finish(context)
            yield context

    writes = 0
    for context in killed_at_every_write(moment, cancelled_context, lambda context: onboard(context, TODAY)):
        assert held_back(context, "tempest", "acme-2") == set(DAYS), f"killed {moment} write {writes + 1}"
        onboard(context, TODAY)
        assert held_back(context, "tempest", "acme-2") == set(DAYS)
        writes += 1
    assert writes >= 4, "the manifest and its markers, the summary"


def test_a_backfill_of_dagsters_page_that_was_cancelled_stays_so(context: BackfillContext) -> None:
    onboard(context, TODAY)
    finish(context)
    onboard(context, TODAY)
    launch_backfill(
        context.instance, context.definitions, backfill_id="by-hand", service="tempest", tenant="acme", days=[DAYS[1]]
    )  # fmt: skip
    assert cancel(context, "by-hand").status == "canceling"
    finish(context)
    fill_gaps(context, TODAY)
    assert target_days(context, "gaps-acme-tempest-2024-01-03") == [DAYS[0], DAYS[2]]


def test_another_look_back_takes_nothing_that_was_put_off(context: BackfillContext, archive: Path) -> None:
    write_tenant(context.settings, "acme", archive, lookback_days=2)
    onboard(context, TODAY)
    cancel(context, MINE)
    finish(context)
    onboard(context, TODAY)
    write_tenant(context.settings, "acme", archive, lookback_days=3)
    onboard(context, TODAY)
    assert target_days(context, f"{MINE}.again1") == [DAYS[0]], "only the day that nobody has put off"
    assert manifest(context).state == "canceled"


def test_a_cancelled_onboarding_of_parts_starts_none_of_them(
    tmp_path: Path, archive: Path, definitions: dg.Definitions
) -> None:
    with opened(tmp_path, archive, definitions, max_active_backfills=1) as context:
        open_tenant_files(context.settings).delete("acme-2.yaml")
        onboard(context, TODAY)
        cancel(context, MINE)
        finish(context)
        write_tenant(context.settings, "acme", archive, chunk_days=1, lookback_days=2)
        notes = onboard(context, TODAY)
        assert any("its days are being loaded, or were put off by a person" in note for note in notes)
        assert manifest(context).state == "canceled"
        assert [native.backfill_id for native in natives_of(context.instance, MINE)] == [MINE], "no further part"
        assert onboard(context, TODAY) == [], "it is settled for this look-back"


def test_the_daily_load_asks_for_nothing_before_the_first_day(context: BackfillContext, archive: Path) -> None:
    onboard(context, TODAY)
    finish(context)
    onboard(context, TODAY)
    write_tenant(context.settings, "acme", archive, first_day=str(DAYS[2]))
    load_daily(context, TODAY)
    assert target_days(context, "daily-acme-tempest-2024-01-03") == [DAYS[2]]
    assert target_days(context, "daily-acme-2-tempest-2024-01-03") == DAYS
