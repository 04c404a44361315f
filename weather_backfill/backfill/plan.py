"""The plan of a backfill: which days, why, in which chunks, at what expected cost. Launches nothing."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import dagster as dg

from weather_backfill.backfill.acceptances import Accepted, accepted_now
from weather_backfill.backfill.coverage import HeldDay, unrefined
from weather_backfill.backfill.footer_cache import remembered, remembered_refined
from weather_backfill.backfill.summary import failed_dates
from weather_backfill.lake import layout
from weather_backfill.lake.listing import day_objects
from weather_backfill.model.days import DayInventory
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.expectation import Asked, Lack, words
from weather_backfill.model.partitions import PartitionKey, days_between, validate_tenant_id
from weather_backfill.settings import Settings
from weather_backfill.sources.base import Source
from weather_backfill.sources.registry import SERVICES
from weather_backfill.storage.places import open_lake
from weather_backfill.tenants.access import open_source
from weather_backfill.tenants.files import Tenant
from weather_backfill.util import json_documents

TICK_SECONDS = 30  # the backfill daemon's in Dagster; ours looks more often (`backfill_tick_seconds`): a safe estimate
RUN_START_SECONDS = 3
DEFAULT_DAY_SECONDS = 1.0
_ONE_DAY = timedelta(days=1)
_HISTORY = 5  # latest days whose durations are averaged
T = TypeVar("T")
_MEASURED = "measured days"  # the value of `expected_from` in a plan's file


class Reason(StrEnum):
    """The state of a day, judged from the lake's files, the upstream and Dagster's records."""

    MISSING = "missing"  # not in the lake
    FAILED = "failed"  # its last try failed
    INCOMPLETE = "incomplete"  # in the lake with too few values, or without some stations
    UNREFINED = "not refined"  # raw is in the lake, refined is missing, damaged or of other raw: refined alone is made
    OUTDATED = "older schema"  # complete, but written before today's schema added a column
    DONE = "done"
    ACCEPTED = "accepted"  # missing or incomplete, and a person has accepted that (`acceptances.py`)
    KEPT = "gone upstream"  # done, and no longer upstream: never read again, for that would lose it
    NO_UPSTREAM = "no upstream data"


class Reprocess(StrEnum):
    """The choice of days that a backfill takes."""

    MISSING = "missing"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    ALL = "all"


class Order(StrEnum):
    """The order in which days are launched."""

    NEWEST = "newest"
    OLDEST = "oldest"


_MISSING = {Reason.MISSING, Reason.FAILED, Reason.UNREFINED}
CHOSEN = {
    Reprocess.MISSING: _MISSING,
    Reprocess.FAILED: {Reason.FAILED},
    Reprocess.INCOMPLETE: _MISSING | {Reason.INCOMPLETE, Reason.OUTDATED},
    Reprocess.ALL: _MISSING | {Reason.INCOMPLETE, Reason.OUTDATED, Reason.ACCEPTED, Reason.DONE},
}


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """A dry run: every UTC day of the range with its reason, the chosen days in chunks, the expected cost.

    `start` and `end` are both included; `objects`, `bytes` and `requests` are of the upstream, `seconds` is wall
    time, from earlier days if `measured`, else a guess. `unusable` says of days with a refined file that counts as
    missing, why. Of incomplete days `lacking` says what they lack, `covered` which share values cover, and `listed`
    what the upstream lists of them.
    """

    service: str
    tenant: str
    start: date
    end: date
    reprocess: Reprocess
    order: Order
    chunk_days: int
    reasons: Mapping[date, Reason]
    objects: int
    bytes: int
    requests: int
    seconds: float
    measured: bool
    unusable: Mapping[date, str] = field(default_factory=dict)
    lacking: Mapping[date, str] = field(default_factory=dict)
    covered: Mapping[date, float] = field(default_factory=dict)
    listed: Mapping[date, str] = field(default_factory=dict)

    @property
    def days(self) -> list[date]:
        """The chosen days, in the order they are launched."""
        chosen = [day for day, reason in sorted(self.reasons.items()) if reason in CHOSEN[self.reprocess]]
        return chosen[::-1] if self.order is Order.NEWEST else chosen

    @property
    def raw_days(self) -> list[date]:
        """The chosen days whose raw is read, in the same order; for the others refined alone is made."""
        return [day for day in self.days if self.reasons[day] is not Reason.UNREFINED]

    @property
    def chunks(self) -> list[list[date]]:
        """The runs of raw: consecutive days, at most `chunk_days` of them."""
        return chunks_of(self.raw_days, self.chunk_days)

    @property
    def fingerprint(self) -> str:
        """A digest that changes when the lake or the upstream no longer fits the plan."""
        text = json.dumps([self.service, self.tenant, [(str(d), str(r)) for d, r in sorted(self.reasons.items())]])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def summary(self) -> dict[str, Any]:
        """The plan in figures, as the CLI, the form and the manifest show it."""
        counts = Counter(str(reason) for reason in self.reasons.values())
        return {
            "service": self.service,
            "tenant": self.tenant,
            "start_date": str(self.start),
            "end_date": str(self.end),
            "reprocess": str(self.reprocess),
            "order": str(self.order),
            "days_in_range": len(self.reasons),
            **{f"days_{str(reason).replace(' ', '_')}": counts.get(str(reason), 0) for reason in Reason},
            "days_total": len(self.days),
            "chunk_days": self.chunk_days,
            "chunks_total": len(self.chunks),
            "objects": self.objects,
            "bytes": self.bytes,
            "requests": self.requests,
            "expected_seconds": round(self.seconds),
            "expected_from": self._expected_from,
            "fingerprint": self.fingerprint,
        }

    @property
    def _expected_from(self) -> str:
        if self.measured:
            return _MEASURED
        return "a guess: 1 s a day, a minute to start" if self.days else "nothing is to be done"

    def to_json(self) -> dict[str, Any]:
        """The whole plan, for `--out` and the manifest."""
        reasons = {str(day): str(reason) for day, reason in sorted(self.reasons.items())}
        unusable = {str(day): why for day, why in sorted(self.unusable.items())}
        lacking = {str(day): what for day, what in sorted(self.lacking.items())}
        covered = {str(day): share for day, share in sorted(self.covered.items())}
        named = (("unusable", unusable), ("lacking", lacking), ("covered", covered))
        said = {name: value for name, value in named if value}
        return {**self.summary(), "reasons": reasons, **said}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> BackfillPlan:
        """Decode a document that `to_json` wrote; raises `UnreadableObjectError` if it is none."""
        with json_documents.reading("this is no plan", "write one with `weather-backfill plan --out`."):
            plan = cls(
                _service(document["service"]), validate_tenant_id(document["tenant"]),
                date.fromisoformat(document["start_date"]), date.fromisoformat(document["end_date"]),
                Reprocess(document["reprocess"]), Order(document["order"]), int(document["chunk_days"]),
                {date.fromisoformat(day): Reason(reason) for day, reason in document["reasons"].items()},
                int(document["objects"]), int(document["bytes"]), int(document["requests"]),
                float(document["expected_seconds"]), document["expected_from"] == _MEASURED,
                unusable=_by_day(document.get("unusable", {}), str),
                lacking=_by_day(document.get("lacking", {}), str),
                covered=_by_day(document.get("covered", {}), float),
            )  # fmt: skip
            if plan.chunk_days < 1 or not math.isfinite(plan.seconds) or plan.start > plan.end:
                raise ValueError("chunk_days, expected_seconds or the range make no sense")
            return plan

    @classmethod
    def from_json_text(cls, text: str) -> BackfillPlan:
        """Decode the text of a plan's file; raises `UnreadableObjectError` if it is none."""
        with json_documents.reading("this is no plan", "write one with `weather-backfill plan --out`."):
            return cls.from_json(json_documents.parsed(text))


def _by_day(document: Mapping[str, Any], kind: Callable[[Any], T]) -> dict[date, T]:
    return {date.fromisoformat(day): kind(value) for day, value in document.items()}


def _service(name: Any) -> str:
    if name not in SERVICES:
        raise ValueError(f"service {str(name)[:40]!r} is not known")
    return str(name)


def chunks_of(days: Sequence[date], most: int) -> list[list[date]]:
    """Split days into runs of consecutive days, at most `most` each, in the days' order of launch."""
    ascending = sorted(days)
    chunks: list[list[date]] = []
    for day in ascending:
        if chunks and len(chunks[-1]) < most and (day - chunks[-1][-1]).days == 1:
            chunks[-1].append(day)
        else:
            chunks.append([day])
    return chunks if list(days) == ascending else chunks[::-1]


def build_plan(
    instance: dg.DagsterInstance,
    settings: Settings,
    tenant: Tenant,
    service: str,
    start: date,
    end: date,
    *,
    reprocess: Reprocess = Reprocess.MISSING,
    order: Order = Order.NEWEST,
    chunk_days: int | None = None,
    opened: Callable[[], Source] | None = None,
) -> BackfillPlan:
    """Judge every UTC day from start to end (both included) and estimate the cost of the chosen ones.

    `opened` opens the source (default: the tenant's connection). Raises `ConfigurationError` for a start before the
    service's first day, and what the upstream raises.
    """
    first = settings.first_day_of(service)
    if start < first:
        raise ConfigurationError(
            f"start date {start} is before {first}, the first day of {service}: start there, or set WEATHER_FIRST_DAY."
        )
    store = open_lake(settings)
    days = days_between(start, end)
    with opened() if opened else open_source(tenant, service, store, settings.s3, settings) as source:
        inventory = source.inventory(start, end)
    failed = set(failed_dates(instance, service, tenant.id, days))
    raw, refined = (
        day_objects(store, dataset, service, tenant.id) for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M)
    )
    held = remembered(store, {day: raw[day] for day in days if day in raw})
    # The day before may hold by now what the day kept for it; where the lake has no such day, it stays.
    held |= {day: replace(it, outdated=True) for day, it in held.items() if it.carried and day - _ONE_DAY in raw}
    unusable = unrefined(remembered_refined(store, {day: refined[day] for day in days if day in refined}), held)
    refined_now = refined.keys() - unusable.keys()
    judge = _Judge(
        held, refined_now, inventory.keys(), failed, accepted_now(store, service, tenant.id),
        tenant.connection(service).asked(), settings.completeness_target, reprocess is Reprocess.ALL,
    )  # fmt: skip
    reasons = {day: judge.reason(day) for day in days}
    largest = settings.chunk_days_of(service)
    plan = BackfillPlan(
        service,
        tenant.id,
        start,
        end,
        reprocess,
        order,
        min(chunk_days or largest, largest),
        reasons,
        0,
        0,
        0,
        0,
        False,
    )
    upstream = [inventory.get(day, DayInventory(0, 0)) for day in plan.raw_days]
    if together := getattr(source, "cost", None):  # of sources whose files hold more than a day
        upstream = [together(plan.chunks)]
    recent = sorted(refined)[-_HISTORY:] if plan.days else []  # where there is nothing to do, nothing is estimated
    seconds_per_day = measured_seconds(instance, service, tenant.id, recent)
    requests = sum(day.requests for day in upstream)
    pace = getattr(source, "requests_per_minute", None)  # of sources whose inventory counts requests
    waiting = 60 * requests / pace if pace else 0
    working = len(plan.days) * (seconds_per_day or DEFAULT_DAY_SECONDS) + len(plan.chunks) * 2 * RUN_START_SECONDS
    return BackfillPlan(
        service, tenant.id, start, end, reprocess, order, plan.chunk_days, reasons,
        sum(day.objects for day in upstream), sum(day.bytes for day in upstream), requests,
        max(working, waiting) + (2 * TICK_SECONDS if plan.days else 0), seconds_per_day is not None, unusable,
        judge.lacking, judge.covered,
        {day: f"{i.objects}/{i.bytes}" for day in judge.covered if (i := inventory.get(day))},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Judge:
    """What is known of the days of a plan; `lacking` and `covered` are filled for incomplete days."""

    held: Mapping[date, HeldDay]
    refined: Collection[date]
    upstream: Collection[date]
    failed: Collection[date]
    accepted: Accepted
    asked: Asked
    target: float
    reread: bool
    lacking: dict[date, str] = field(default_factory=dict)
    covered: dict[date, float] = field(default_factory=dict)

    def reason(self, day: date) -> Reason:
        """Judge a day. A held day that is no longer upstream is never read again; with `reread` all others are."""
        held, upstream, refined = self.held.get(day), day in self.upstream, day in self.refined
        if held is None:
            if not (day in self.failed or upstream):
                return Reason.NO_UPSTREAM
            if self.accepted.whole(day):
                return Reason.ACCEPTED
            return Reason.FAILED if day in self.failed else Reason.MISSING
        if upstream and day in self.failed:
            return Reason.FAILED
        if upstream and (short := self._short(day, held)) is not None:
            if short is Reason.ACCEPTED:
                return short if refined else Reason.UNREFINED
            # Without refined it counts as missing: else no later plan of missing days would take it.
            return Reason.INCOMPLETE if refined else Reason.MISSING
        if not refined and not (upstream and self.reread):
            return Reason.UNREFINED
        if not upstream:
            return Reason.KEPT
        return Reason.OUTDATED if held.outdated else Reason.DONE

    def _short(self, day: date, held: HeldDay) -> Reason | None:
        """Whether a held day is incomplete, or would be but for what is accepted; None where it is whole."""
        lacks: tuple[Lack, ...] = held.lacking(self.asked)
        damaged = held.incomplete is not None and not held.lacks
        if not lacks and not damaged and held.completeness >= self.target:
            return None
        self.covered[day] = round(held.completeness, 4)
        if said := words(lacks) or held.incomplete:
            self.lacking[day] = said
        if damaged or self.accepted.remaining(day, lacks or (Lack(""),)):
            return Reason.INCOMPLETE
        return Reason.ACCEPTED


def measured_seconds(instance: dg.DagsterInstance, service: str, tenant: str, days: Sequence[date]) -> float | None:
    """Mean seconds per day, raw and refined together, over the given days; None if they have no recorded durations.

    Dagster is asked for just these days: the latest events of an asset are mostly other tenants'.
    """
    if not days:
        return None
    total = 0.0
    for dataset in (layout.RAW_OBSERVATIONS, layout.REFINED_15M):
        of_days = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey([service, dataset]), asset_partitions=[str(PartitionKey(d, tenant)) for d in days]
        )
        seconds = [
            float(value.value)  # type: ignore[arg-type]
            for record in instance.fetch_materializations(of_days, limit=_HISTORY).records
            if record.asset_materialization and (value := record.asset_materialization.metadata.get("seconds"))
        ]
        if not seconds:
            return None
        total += sum(seconds) / len(seconds)
    return total
