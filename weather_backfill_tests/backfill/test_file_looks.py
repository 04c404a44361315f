"""A tenant file that is seen half-written, or not at all for a moment, cancels nothing and launches nothing."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest
import yaml

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.status import active_backfills, natives_of
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.backfill.contexts import DAYS, TODAY, target_days

MINE = "onboard-acme-tempest"
BROKEN = {
    "half.yaml": b"id: ha", "quote.yaml": b"id: 'x", "bytes.yaml": b"\xff\xfe\x00", "empty.yaml": b"",
    "list.yaml": b"- 1", "other.yaml": b"id: another\nservices: {}", "alias.yaml": b"id: &a alias\nname: *a",
    "field.yaml": b"id: field\nservices: {tempest: {archive: x}}", "twice.yaml": b"id: twice\nid: twice",
    "large.yaml": b"#" * 70_000, "tag.yaml": b"id: !!timestamp x", "deep.yaml": b"[" * 5_000,
}  # fmt: skip


def text_of(archive: Path, **connection: object) -> bytes:
    """A tenant's file as a person writes it: its end is not said, and its first day comes last."""
    tempest = {"archive_url": str(archive), "lookback_days": len(DAYS), **connection}
    return yaml.safe_dump({"id": "acme", "services": {"tempest": tempest}}, sort_keys=False).encode()


@pytest.fixture
def alone(context: BackfillContext) -> BackfillContext:
    """A context whose tenant files are this module's."""
    for name in ("acme", "acme-2"):
        open_tenant_files(context.settings).delete(f"{name}.yaml")
    return context


def test_no_half_of_a_file_stops_or_launches_anything(alone: BackfillContext, archive: Path) -> None:
    files = open_tenant_files(alone.settings)
    whole = text_of(archive, enabled=True, first_day=str(DAYS[1]))
    files.put("acme.yaml", whole)
    onboard(alone, TODAY)
    onboard(alone, TODAY)
    before = {(b.backfill_id, b.status) for b in alone.instance.get_backfills()}
    assert before == {(MINE, BulkActionStatus.REQUESTED)}
    lines = whole.splitlines(keepends=True)
    cuts = [b"".join(lines[:count]) for count in range(len(lines))]
    for cut in [*cuts, whole.rstrip(), whole[: whole.index(b"tempest:")] + b"{}", whole[:-7]]:
        files.put("acme.yaml", cut)
        onboard(alone, TODAY)
        files.put("acme.yaml", whole)
        onboard(alone, TODAY)
        assert {(b.backfill_id, b.status) for b in alone.instance.get_backfills()} == before, cut


def test_a_new_file_is_taken_as_two_looks_in_a_row_saw_it(alone: BackfillContext, archive: Path) -> None:
    files = open_tenant_files(alone.settings)
    whole = text_of(archive, first_day=str(DAYS[1]))
    half = whole[: whole.index(b"    first_day")]
    files.put("acme.yaml", half)
    [note] = onboard(alone, TODAY)
    assert note == "acme: its file is new or has changed; it counts if the next look sees the same"
    files.put("acme.yaml", whole)
    onboard(alone, TODAY)
    assert not natives_of(alone.instance, MINE)
    onboard(alone, TODAY)
    assert target_days(alone, MINE) == [DAYS[1], DAYS[2]], "from its first day on"


def test_what_the_command_line_writes_counts_at_once(alone: BackfillContext, archive: Path) -> None:
    connection = TempestConnection(archive_url=str(archive), lookback_days=2)
    registry = TenantRegistry(open_tenant_files(alone.settings))
    registry.put(Tenant(id="acme", services=Services(tempest=connection)))
    onboard(alone, TODAY)
    assert target_days(alone, MINE) == DAYS[1:]


def test_a_file_that_is_away_for_a_moment_stops_nothing(alone: BackfillContext, archive: Path) -> None:
    files = open_tenant_files(alone.settings)
    files.put("acme.yaml", text_of(archive))
    files.put("other.yaml", b"id: [")
    onboard(alone, TODAY)
    onboard(alone, TODAY)
    files.delete("acme.yaml")
    assert any("it counts as gone if the next look sees none" in note for note in onboard(alone, TODAY))
    files.put("acme.yaml", text_of(archive))
    onboard(alone, TODAY)
    assert {b.status for b in alone.instance.get_backfills()} == {BulkActionStatus.REQUESTED}
    files.delete("acme.yaml")
    onboard(alone, TODAY)
    assert f"{MINE}: stopped, its connection is gone or switched off" in onboard(alone, TODAY)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_thousand_files_of_which_some_are_broken_take_a_tick_few_seconds(
    alone: BackfillContext, archive: Path
) -> None:
    """200 connections that work and 9,800 that are switched off; each kind of broken file is among them."""
    files = open_tenant_files(alone.settings)
    folder = files.folder
    assert folder
    for number in range(10_000 - len(BROKEN)):
        text = text_of(archive, enabled=number < 200).replace(b"id: acme", f"id: t{number:05}".encode())
        (folder / f"t{number:05}.yaml").write_bytes(text + b"...\n")
    for name, text in BROKEN.items():
        (folder / name).write_bytes(text)
    seconds = []
    for _ in range(20):  # until all are onboarded: a tick polls for some seconds
        started = time.process_time()
        notes = onboard(alone, date(2024, 1, 4))
        seconds.append(time.process_time() - started)
        if not any("onboarding" in note for note in notes):
            break
    assert all(any(name.removesuffix(".yaml") in note for note in notes) for name in BROKEN)
    assert len(active_backfills(alone.instance)) == alone.settings.max_active_backfills
    print(f"ticks: {', '.join(f'{each:.1f}' for each in seconds)} s of CPU")
    assert min(seconds[-1], seconds[-2]) < 5
