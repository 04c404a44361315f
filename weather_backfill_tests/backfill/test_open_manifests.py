"""A tick of `new_connections` costs the same however many backfills have ended."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from weather_backfill.backfill import context as context_module
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.manifests import Manifest, close, manifests, open_manifests, save_manifest
from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.platform import START, Platform

FINISHED = 1000


def manifest(name: str) -> Manifest:
    days = [START + timedelta(days=n) for n in range(30)]
    plan = BackfillPlan(
        "tempest", "acme", days[0], days[-1], Reprocess.ALL, Order.OLDEST, 30, dict.fromkeys(days, Reason.MISSING),
        0, 0, 0, 0.0, False,
    )  # fmt: skip
    return Manifest(name, plan, [days], "test", datetime(2024, 3, 1, tzinfo=UTC))


def finish(store: ObjectStore, name: str) -> None:
    save_manifest(store, manifest(name))
    store.put(layout.summary_key(name), json.dumps({"backfill_id": name, "completed_at": "2024-03-02"}).encode())
    close(store, name)


class Reading(ObjectStore):
    """A store that counts the objects it reads or lists."""

    read = 0

    def get(self, key: str) -> bytes:
        Reading.read += 1
        return super().get(key)

    def list(self, prefix: str = "") -> Any:
        found = super().list(prefix)
        Reading.read += len(found)
        return found


def test_a_tick_reads_nothing_of_what_has_ended(local_platform: Platform, monkeypatch) -> None:
    platform = local_platform
    monkeypatch.setattr(context_module, "open_lake", lambda settings: Reading(settings.storage_url))
    with platform.instance as instance:
        context = BackfillContext(instance, build_definitions(platform.settings), platform.settings)

        def tick() -> tuple[int, float]:
            Reading.read, started = 0, time.monotonic()
            onboard(context, date(2024, 3, 5))
            return Reading.read, time.monotonic() - started

        tick()
        empty, _ = tick()
        for number in range(FINISHED):
            finish(context.store, f"done-{number}")
        full, seconds = tick()
        started = time.monotonic()
        assert len(manifests(context.store)) == FINISHED
        print(f"a tick: {full} objects, {seconds:.3f} s; reading all manifests: {time.monotonic() - started:.3f} s")
    assert full == empty > 0


def test_a_lake_without_markers_gets_them_once(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    save_manifest(store, manifest("onboard-acme-tempest"))
    close(store, "onboard-acme-tempest")
    assert [m.backfill_id for m in open_manifests(store)] == ["onboard-acme-tempest"]
    close(store, "onboard-acme-tempest")
    assert open_manifests(store) == []
