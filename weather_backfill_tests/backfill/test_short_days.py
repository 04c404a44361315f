"""When incomplete days are looked at again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

from weather_backfill.backfill.plan import BackfillPlan, Order, Reason, Reprocess
from weather_backfill.backfill.short_days import ShortDays
from weather_backfill.storage.object_store import ObjectStore

DAY = date(2024, 1, 5)
TODAY = date(2024, 2, 1)


def plan(reasons: Mapping[date, Reason], listed: str = "3/100") -> BackfillPlan:
    """A plan of these days, the incomplete ones lacking a station."""
    lacking = {day: "station 7: no file" for day, why in reasons.items() if why is Reason.INCOMPLETE}
    return BackfillPlan(
        "dwd", "acme", DAY, DAY, Reprocess.INCOMPLETE, Order.NEWEST, 30, reasons, 0, 0, 0, 0.0, False,
        lacking=lacking, listed=dict.fromkeys(reasons, listed),
    )  # fmt: skip


def looks_of(store: ObjectStore, reason: Reason, days: int) -> list[int]:
    """The days after the first look on which the day is looked at, over so many days."""
    looked = []
    for after in range(days):
        today = TODAY + timedelta(days=after)
        short = ShortDays(store, "acme-dwd")
        due = short.due(plan({DAY: reason}), today)
        if due.days:
            short.looked(due, today)
            looked.append(after)
    return looked


def test_the_waits_double_up_to_thirty_days(tmp_path: Path) -> None:
    assert looks_of(ObjectStore(str(tmp_path)), Reason.INCOMPLETE, 125) == [0, 1, 3, 7, 15, 31, 61, 91, 121]


def test_an_accepted_day_is_looked_at_too(tmp_path: Path) -> None:
    assert looks_of(ObjectStore(str(tmp_path)), Reason.ACCEPTED, 40) == [0, 1, 3, 7, 15, 31]


def test_a_changed_listing_ends_the_wait(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    looks_of(store, Reason.INCOMPLETE, 20)
    today = TODAY + timedelta(days=20)
    assert not ShortDays(store, "acme-dwd").due(plan({DAY: Reason.INCOMPLETE}), today).days
    assert ShortDays(store, "acme-dwd").due(plan({DAY: Reason.INCOMPLETE}, "4/200"), today).days == [DAY]


def test_what_is_missing_is_always_taken_and_what_is_whole_never(tmp_path: Path) -> None:
    reasons = {DAY + timedelta(days=n): reason for n, reason in enumerate(Reason)}
    due = ShortDays(ObjectStore(str(tmp_path)), "acme-dwd").due(plan(reasons), TODAY)
    taken = {reasons[day] for day in due.days}
    assert taken == {Reason.MISSING, Reason.FAILED, Reason.UNREFINED, Reason.INCOMPLETE, Reason.ACCEPTED}


def test_a_damaged_record_costs_only_the_wait(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    store.put("_looks/short/acme-dwd.json", b"[1, 2")
    assert ShortDays(store, "acme-dwd").due(plan({DAY: Reason.INCOMPLETE}), TODAY).days == [DAY]
