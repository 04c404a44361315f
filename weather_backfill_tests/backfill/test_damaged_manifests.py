"""One damaged manifest is its connection's trouble: everybody else is loaded, stopped and told of as ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.daily import fill_gaps, load_daily
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.lake import layout
from weather_backfill.storage.places import open_tenant_files
from weather_backfill_tests.backfill.contexts import TODAY, finish, target_days

DAMAGED = "_backfills/onboard-acme-tempest/manifest.json"


@pytest.fixture
def damaged(context: BackfillContext) -> BackfillContext:
    """Both tenants are onboarded, and the manifest of the first is cut off."""
    onboard(context, TODAY)
    finish(context)
    onboard(context, TODAY)
    assert layout.manifest_key("onboard-acme-tempest") == DAMAGED
    context.store.put(DAMAGED, b"{")
    return context


def test_the_others_are_loaded_and_the_object_is_named(damaged: BackfillContext) -> None:
    for reconcile, launched in ((load_daily, "daily"), (fill_gaps, "gaps")):
        notes = reconcile(damaged, TODAY + timedelta(days=1))
        [note] = [note for note in notes if note.startswith("acme-tempest: ")]
        assert damaged.store.uri(DAMAGED) in note
        assert "restore it, or move it out of the lake" in note
        assert any(b.backfill_id.startswith(launched) for b in damaged.instance.get_backfills()), launched
        finish(damaged)


def test_a_tenant_that_goes_holds_up_nobody(damaged: BackfillContext) -> None:
    open_tenant_files(damaged.settings).delete("acme.yaml")
    open_tenant_files(damaged.settings).delete("acme-2.yaml")
    open_tenant_files(damaged.settings).put(
        "another.yaml", b"id: another"
    )  # all files gone would be a folder that is gone
    notes = [note for _ in range(2) for note in onboard(damaged, TODAY)]  # what is gone counts at the second look
    assert any(damaged.store.uri(DAMAGED) in note for note in notes)
    assert any(note.startswith("onboard-acme-2-tempest: stopped") for note in notes)
    assert target_days(damaged, "onboard-acme-2-tempest")
