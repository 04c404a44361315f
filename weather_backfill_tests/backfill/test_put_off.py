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
from weather_backfill.backfill.commands import BackfillContext, cancel, held_back, pause, resume
from weather_backfill.backfill.launch import launch_backfill
from weather_backfill.backfill.manifests import (
    Manifest,
    close,
    held_manifests,
    load_manifest,
    open_manifests,
    save_manifest,
)
from weather_backfill.backfill.reconciler import fill_gaps, load_daily, onboard
from weather_backfill.backfill.status import Status, natives_of, status_of
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, finish, load, opened, target_days, write_tenant
from weather_backfill_tests.backfill.killing import killed_at_every_write

TOMORROW = TODAY + timedelta(days=1)
MINE = "onboard-acme-tempest"


def click_cancel(desk: BackfillContext, native: str) -> None:
    """As on Dagster's page."""
    found = desk.instance.get_backfill(native)
    assert found
    desk.instance.update_backfill(found.with_status(BulkActionStatus.CANCELING))


def manifest(desk: BackfillContext) -> Manifest:
    found = load_manifest(desk.store, MINE)
    assert found
    return found


def test_a_part_that_was_clicked_away_is_taken_by_nobody(desk: BackfillContext) -> None:
    onboard(desk, TODAY)
    click_cancel(desk, MINE)
    assert target_days(desk, MINE) == [DAYS[2]]
    assert held_back(desk, "tempest", "acme") == {DAYS[2]}, "before any tick has seen it"
    finish(desk)
    assert f"{MINE}: completed with failures" in onboard(desk, TODAY)
    assert (manifest(desk).state, manifest(desk).put_off) == ("active", {DAYS[2]})
    fill_gaps(desk, TOMORROW)
    assert target_days(desk, "gaps-acme-tempest-2024-01-04") == [*DAYS[:2], TODAY], "failed, and new; not put off"
    finish(desk)
    assert resume(desk, MINE).status == "running", "until a person wants it again"
    assert manifest(desk).put_off == set()
    assert held_back(desk, "tempest", "acme") == set()


def test_the_last_part_that_was_clicked_away_takes_no_other_with_it(desk: BackfillContext) -> None:
    onboard(desk, TODAY)
    click_cancel(desk, f"{MINE}.3")
    finish(desk)
    assert f"{MINE}: canceled" in onboard(desk, TODAY)
    assert held_back(desk, "tempest", "acme") == {DAYS[0]}, "the days of the other parts have failed by themselves"
    assert onboard(desk, TODAY) == [], "it is told once"
    assert resume(desk, MINE).status == "running"


def test_what_was_done_before_a_pause_is_put_off_by_nobody(desk: BackfillContext) -> None:
    whole = "onboard-acme-2-tempest"
    onboard(desk, TODAY)
    load(desk, DAYS[:1], tenant="acme-2")
    pause(desk, whole)
    finish(desk)
    resume(desk, whole)
    onboard(desk, TODAY)
    found = load_manifest(desk.store, whole)
    assert found
    assert found.put_off == set()
    assert held_back(desk, "tempest", "acme-2") == set()
    assert held_manifests(desk.store) == []


def test_a_pause_while_the_sensor_settles_wins(desk: BackfillContext, monkeypatch: pytest.MonkeyPatch) -> None:
    onboard(desk, TODAY)
    click_cancel(desk, MINE)

    def paused_meanwhile(*given: Any) -> Status:
        found = status_of(*given)
        if given[-1] == MINE and manifest(desk).state == "active":
            pause(desk, MINE)
        return found

    monkeypatch.setattr(reconciler, "status_of", paused_meanwhile)
    onboard(desk, TODAY)
    assert manifest(desk).state == "paused"
    assert held_back(desk, "tempest", "acme") == set(DAYS)


def test_a_resume_while_the_end_is_written_down_is_seen(desk: BackfillContext, monkeypatch: pytest.MonkeyPatch) -> None:
    onboard(desk, TODAY)
    cancel(desk, MINE)
    finish(desk)

    def resumed_meanwhile(store: ObjectStore, backfill_id: str) -> None:
        if backfill_id == MINE:
            save_manifest(store, replace(manifest(desk), state="active"))
        close(store, backfill_id)

    monkeypatch.setattr(status, "close", resumed_meanwhile)
    onboard(desk, TODAY)
    assert MINE in {found.backfill_id for found in open_manifests(desk.store)}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_settling_that_dies_forgets_no_cancellation(
    tmp_path: Path, archive: Path, definitions: dg.Definitions, moment: str
) -> None:
    @contextmanager
    def cancelled_desk(number: int) -> Iterator[BackfillContext]:
        with opened(tmp_path / str(number), archive, definitions) as desk:
            open_tenant_files(desk.settings).delete("acme.yaml")
            onboard(desk, TODAY)
            click_cancel(desk, "onboard-acme-2-tempest")
            finish(desk)
            yield desk

    writes = 0
    for desk in killed_at_every_write(moment, cancelled_desk, lambda desk: onboard(desk, TODAY)):
        assert held_back(desk, "tempest", "acme-2") == set(DAYS), f"killed {moment} write {writes + 1}"
        onboard(desk, TODAY)
        assert held_back(desk, "tempest", "acme-2") == set(DAYS)
        writes += 1
    assert writes >= 4, "the manifest and its markers, the summary"


def test_a_backfill_of_dagsters_page_that_was_cancelled_stays_so(desk: BackfillContext) -> None:
    onboard(desk, TODAY)
    finish(desk)
    onboard(desk, TODAY)
    launch_backfill(
        desk.instance, desk.definitions, backfill_id="by-hand", service="tempest", tenant="acme", days=[DAYS[1]]
    )  # fmt: skip
    assert cancel(desk, "by-hand").status == "canceling"
    finish(desk)
    fill_gaps(desk, TODAY)
    assert target_days(desk, "gaps-acme-tempest-2024-01-03") == [DAYS[0], DAYS[2]]


def test_another_look_back_takes_nothing_that_was_put_off(desk: BackfillContext, archive: Path) -> None:
    write_tenant(desk.settings, "acme", archive, lookback_days=2)
    onboard(desk, TODAY)
    cancel(desk, MINE)
    finish(desk)
    onboard(desk, TODAY)
    write_tenant(desk.settings, "acme", archive, lookback_days=3)
    onboard(desk, TODAY)
    assert target_days(desk, f"{MINE}.again1") == [DAYS[0]], "only the day that nobody has put off"
    assert manifest(desk).state == "canceled"


def test_a_cancelled_onboarding_of_parts_starts_none_of_them(
    tmp_path: Path, archive: Path, definitions: dg.Definitions
) -> None:
    with opened(tmp_path, archive, definitions, max_active_backfills=1) as desk:
        open_tenant_files(desk.settings).delete("acme-2.yaml")
        onboard(desk, TODAY)
        cancel(desk, MINE)
        finish(desk)
        write_tenant(desk.settings, "acme", archive, chunk_days=1, lookback_days=2)
        notes = onboard(desk, TODAY)
        assert any("its days are being loaded, or were put off by a person" in note for note in notes)
        assert manifest(desk).state == "canceled"
        assert [native.backfill_id for native in natives_of(desk.instance, MINE)] == [MINE], "no further part"
        assert onboard(desk, TODAY) == [], "it is settled for this look-back"


def test_the_daily_load_asks_for_nothing_before_the_first_day(desk: BackfillContext, archive: Path) -> None:
    onboard(desk, TODAY)
    finish(desk)
    onboard(desk, TODAY)
    write_tenant(desk.settings, "acme", archive, first_day=str(DAYS[2]))
    load_daily(desk, TODAY)
    assert target_days(desk, "daily-acme-tempest-2024-01-03") == [DAYS[2]]
    assert target_days(desk, "daily-acme-2-tempest-2024-01-03") == DAYS
