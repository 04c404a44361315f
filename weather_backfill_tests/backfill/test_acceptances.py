"""What a person accepts as lacking counts as accepted, until it ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from weather_backfill.backfill.acceptances import Acceptance, Accepted, acceptances, accepted_now
from weather_backfill.backfill.accepting import accept, withdraw
from weather_backfill.backfill.audit import audit_events
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.plan import BackfillPlan, Reason, Reprocess, build_plan
from weather_backfill.lake import layout
from weather_backfill.model.errors import ConfigurationError, UnreadableObjectError
from weather_backfill.model.expectation import Lack
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.backfill.contexts import DAYS, load

FIRST = date(2024, 1, 1)
PUMP, ROOF = Lack("pump", "air_temperature", cause="dead"), Lack("roof", part="wind", cause="no file")


def one(station: str = "", metric: str = "", until: date | None = None) -> Acceptance:
    """An acceptance of three days."""
    now = datetime(2024, 2, 1, tzinfo=UTC)
    return Acceptance(FIRST, FIRST + timedelta(days=2), station, metric, "sold", "ann", now, until)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (one(), ()),
        (one("pump"), (ROOF,)),
        (one(metric="wind"), (PUMP,)),
        (one("pump", "relative_humidity"), (PUMP, ROOF)),
        (one(until=date(2024, 2, 1)), (PUMP, ROOF)),
        (one(until=date(2024, 2, 2)), ()),
    ],
)
def test_it_covers_its_station_and_metric_until_it_ends(given: Acceptance, left: tuple[Lack, ...]) -> None:
    accepted = Accepted([given], today=date(2024, 2, 2))
    assert accepted.remaining(FIRST, (PUMP, ROOF)) == left
    assert accepted.remaining(FIRST + timedelta(days=3), (PUMP, ROOF)) == (PUMP, ROOF), "another day"
    assert accepted.whole(FIRST) is (not left)


def planned(context: BackfillContext) -> BackfillPlan:
    """The plan of the days that the archive holds."""
    tenant = TenantRegistry(open_tenant_files(context.settings)).get("acme")
    return build_plan(
        context.instance, context.settings, tenant, "tempest", DAYS[0], DAYS[-1], reprocess=Reprocess.INCOMPLETE
    )


def test_an_accepted_day_counts_as_accepted_and_as_done_once_it_is_filled(context: BackfillContext) -> None:
    assert planned(context).reasons[DAYS[0]] is Reason.MISSING
    accept(context, "tempest", "acme", DAYS[0], DAYS[0], why="the mast was down")
    made = planned(context)
    assert made.reasons[DAYS[0]] is Reason.ACCEPTED
    assert DAYS[0] not in made.days
    assert BackfillPlan.from_json(made.to_json()).reasons == made.reasons
    load(context, [DAYS[0]])
    assert planned(context).reasons[DAYS[0]] is Reason.DONE, "data has come"


def test_it_is_audited_and_can_be_withdrawn(context: BackfillContext) -> None:
    accept(context, "tempest", "acme", DAYS[0], DAYS[1], why="sold", station="ST-1")
    accept(context, "tempest", "acme", DAYS[0], DAYS[1], why="sold in May", station="ST-1")
    [kept] = acceptances(context.store, "tempest", "acme")
    assert kept.why == "sold in May", "the same days and station again replace it"
    assert withdraw(context, "tempest", "acme", DAYS[0], DAYS[1], "ST-1") == 1
    assert acceptances(context.store, "tempest", "acme") == []
    events = [(event["action"], event["parameters"].get("why")) for event in audit_events(context.store)]
    assert events == [("withdraw acceptance", None), ("accept", "sold in May"), ("accept", "sold")]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"why": " "}, "needs its reason"),
        ({"last": FIRST - timedelta(days=1)}, "swap them"),
        ({"until": date(2020, 1, 1)}, "has passed"),
        ({"station": "a\nb"}, "printable"),
    ],
)
def test_what_makes_no_sense_is_refused(context: BackfillContext, changed: dict[str, object], told: str) -> None:
    asked: dict[str, object] = {"first": FIRST, "last": FIRST, "why": "sold", **changed}
    with pytest.raises(ConfigurationError, match=told):
        accept(context, "tempest", "acme", **asked)  # type: ignore[arg-type]
    assert acceptances(context.store, "tempest", "acme") == []


def test_a_damaged_document_is_an_error_and_accepts_nothing(context: BackfillContext) -> None:
    context.store.put(layout.accepted_key("tempest", "acme"), b"[{}]")
    with pytest.raises(UnreadableObjectError, match="no list of acceptances"):
        accepted_now(context.store, "tempest", "acme")
