"""Who may launch when: off-peak hours, priority, fair shares of the few backfills that may be active."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.daily import load_daily
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.connection import OffPeak
from weather_backfill.tenants.files import parse_tenant
from weather_backfill_tests.backfill.contexts import TODAY, finish, opened, write_tenant

BERLIN = {"start": "22:00", "end": "06:00", "time_zone": "Europe/Berlin"}


def active(context: BackfillContext) -> Counter[str]:
    """Active native backfills by tenant."""
    running = (b for b in context.instance.get_backfills() if b.status.value == "REQUESTED")
    return Counter(b.tags["weather/tenant"] for b in running)


HOURS = [
    # window, UTC moment, inside
    (("09:00", "17:00", "UTC"), "2024-01-10T09:00", True),
    (("09:00", "17:00", "UTC"), "2024-01-10T08:59:59", False),
    (("09:00", "17:00", "UTC"), "2024-01-10T17:00", False),
    (("22:00", "06:00", "UTC"), "2024-01-10T23:59:59", True),
    (("22:00", "06:00", "UTC"), "2024-01-10T00:00", True),
    (("22:00", "06:00", "UTC"), "2024-01-10T06:00", False),
    (("22:00", "06:00", "UTC"), "2024-01-10T21:59", False),
    # Berlin is an hour ahead of UTC in winter and two in summer.
    (("22:00", "06:00", "Europe/Berlin"), "2024-01-10T21:00", True),
    (("22:00", "06:00", "Europe/Berlin"), "2024-01-10T20:59", False),
    (("22:00", "06:00", "Europe/Berlin"), "2024-07-10T20:00", True),
    (("22:00", "06:00", "Europe/Berlin"), "2024-07-10T04:00", False),
    # 31 March 2024: 02:00 to 03:00 does not exist; 01:00 UTC is 03:00 at once.
    (("02:00", "03:00", "Europe/Berlin"), "2024-03-31T00:59", False),
    (("02:00", "03:00", "Europe/Berlin"), "2024-03-31T01:00", False),
    # 27 October 2024: 02:00 to 03:00 comes twice, at 00:00 and at 01:00 UTC.
    (("02:00", "03:00", "Europe/Berlin"), "2024-10-27T00:30", True),
    (("02:00", "03:00", "Europe/Berlin"), "2024-10-27T01:30", True),
    (("02:00", "03:00", "Europe/Berlin"), "2024-10-27T02:00", False),
    (("00:00", "08:00", "Asia/Kolkata"), "2024-01-10T18:30", True),  # five and a half hours ahead
    (("00:00", "08:00", "Asia/Kolkata"), "2024-01-10T18:29", False),
]


@pytest.mark.parametrize(("window", "moment", "inside"), HOURS)
def test_the_hours_of_a_window(window: tuple[str, str, str], moment: str, inside: bool) -> None:
    start, end, zone = window
    found = OffPeak.model_validate({"start": start, "end": end, "time_zone": zone})
    assert found.holds(datetime.fromisoformat(moment).replace(tzinfo=UTC)) is inside


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ('{start: 22:00, end: "06:00"}', r"off_peak\.start: .*HH:MM in quotes.*given '1320'"),
        ('{start: "22:00+02:00", end: "06:00"}', r"off_peak\.start: .*the zone goes to time_zone"),
        ('{start: "06:00", end: "06:00"}', r"off_peak: .*no hour is left"),
        ('{start: "25:00", end: "06:00"}', r"off_peak\.start: "),
        ('{start: "22:00", end: "06:00", time_zone: Mars/Olympus}', r"time_zone: .*no such time zone"),
        ('{start: "22:00", end: "06:00", time_zone: ../../etc/passwd}', r"time_zone: .*no such time zone"),
        ('{start: "22:00"}', r"off_peak\.end: Field required"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(window: str, message: str) -> None:
    text = f"id: acme\nservices:\n  tempest:\n    archive_url: /archive\n    off_peak: {window}\n"
    with pytest.raises(ConfigurationError, match=message):
        parse_tenant(text.encode(), "acme.yaml", "acme")


def test_outside_of_the_window_a_backfill_waits_and_the_tick_says_why(context: BackfillContext, archive: Path) -> None:
    write_tenant(context.settings, "acme", archive, chunk_days=1, off_peak=BERLIN)
    notes = onboard(context, TODAY, datetime(2024, 1, 4, 12, tzinfo=UTC))
    assert "onboard-acme-tempest waits for 22:00-06:00 Europe/Berlin" in notes
    assert active(context) == {"acme-2": 1}
    onboard(context, TODAY, datetime(2024, 1, 4, 20, 59, tzinfo=UTC))
    assert active(context) == {"acme-2": 1}
    onboard(context, TODAY, datetime(2024, 1, 4, 21, tzinfo=UTC))
    assert active(context) == {"acme": 3, "acme-2": 1}


def test_the_daily_load_keeps_to_the_window_too(context: BackfillContext, archive: Path) -> None:
    onboard(context, TODAY)
    finish(context)
    now = datetime.now(UTC)
    closed = {"start": f"{now - timedelta(hours=3):%H:%M}", "end": f"{now - timedelta(hours=2):%H:%M}"}
    write_tenant(context.settings, "acme", archive, off_peak=closed)
    load_daily(context, TODAY + timedelta(days=1))
    assert active(context) == {"acme-2": 1}
    onboard(context, TODAY + timedelta(days=1), now - timedelta(hours=2.5))
    assert active(context) == {"acme": 1, "acme-2": 1}


def test_one_with_many_parts_leaves_room_for_the_others(
    tmp_path: Path, archive: Path, definitions: dg.Definitions
) -> None:
    with opened(tmp_path, archive, definitions, max_active_backfills=3) as context:
        onboard(context, TODAY)
        assert active(context) == {"acme": 2, "acme-2": 1}
        write_tenant(context.settings, "late", archive, chunk_days=1)
        notes = onboard(context, TODAY)
        assert any("wait, 3 backfills are active" in note for note in notes)
        assert active(context) == {"acme": 2, "acme-2": 1}, "never more than may be"
        finish(context, "onboard-acme-tempest")
        onboard(context, TODAY)
        assert active(context) == {"acme": 1, "acme-2": 1, "late": 1}, "who has none goes before who has one"
        finish(context, "onboard-acme-2-tempest")
        onboard(context, TODAY)
        assert sum(active(context).values()) == 3
        seen: Counter[str] = Counter()
        for _ in range(6):
            finish(context)
            onboard(context, TODAY)
            seen += active(context)
        assert active(context) == {}, "all have had their turn"
    assert seen["late"] >= 1


def test_priority_goes_first(tmp_path: Path, archive: Path, definitions: dg.Definitions) -> None:
    with opened(tmp_path, archive, definitions, max_active_backfills=1) as context:
        write_tenant(context.settings, "urgent", archive, priority=5)
        write_tenant(context.settings, "acme-2", archive, priority=-5)
        order = []
        for _ in range(5):
            onboard(context, TODAY)
            order += list(active(context).elements())
            finish(context)
        assert order == ["urgent", "acme", "acme", "acme", "acme-2"]
