"""The lake's layout: object keys are built and parsed nowhere else.

    <dataset>/service=<s>/tenant=<t>/date=YYYY-MM-DD/part.parquet      one object per day
    quarterly_features/…/date=<first day of the quarter>/part.parquet   one object per quarter
    station_history/service=<s>/tenant=<t>/part.parquet                 one object per tenant
    _journal/<root run>/<asset>/tenant=<t>/<date>.json                 journal: the days that a run has finished
    _journal/<root run>/<asset>/begun                                  journal: the days that a run is at
    _backfills/<id>/manifest.json, summary.json                        a backfill's request, its result
    _catalog/<id>/manifest.json, summary.json                          partitions to register, the result
    _audit/date=YYYY-MM-DD/<time>-<id>.json                            audit: one object per event
    _alerts/open/, ending/, told/                                      incidents, and the channels told of them
    _metrics/<instance>.json                                           the exporter's counters
    _versions/<dataset>/…/date=YYYY-MM-DD/<created>-<sha>.parquet       version store: replaced versions of a day
    _open/<id>                                                         marker of a backfill that has not ended
    _ledger/date=YYYY-MM-DD/<run>.<service>.<dataset>.json              provenance: objects written, one object per step
    _archive/<kind>/YYYY-MM/<hash>.jsonl                               old backfills, audit and provenance, compacted
    _rollback/service=<s>/tenant=<t>/date=YYYY-MM-DD.json              intent of a rollback that has begun
    _held/<id>                                                         marker of a backfill a person paused or cancelled
    _looks/<kind>.files.json                                           versions of the tenant files at the last tick
    _looks/<kind>/<tenant>-<service>.json                              polling: the last poll that found nothing to do
    _accepted/<service>/<tenant>.json                                  what a person has accepted as lacking
    _owner/owner.json                                                  the lake's id, and the installation that owns it
    _locks/…                                                           locks of writers (`storage/conditional.py`)

Names starting with `_` are internal and no datasets; Hive-style readers skip them.
"""

from __future__ import annotations

import re
from datetime import date, datetime

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.model.partitions import PartitionKey, validate_tenant_id

RAW_OBSERVATIONS = "raw_observations"
REFINED_15M = "refined_15m"
QUARTERLY_FEATURES = "quarterly_features"
STATION_HISTORY = "station_history"
REJECTED_OBSERVATIONS = "rejected_observations"
FILE = "part.parquet"
BACKFILLS = "_backfills"
AUDIT = "_audit"
CATALOG = "_catalog"
ALERTS = "_alerts"
TOLD = f"{ALERTS}/told"
METRICS = "_metrics"
VERSIONS = "_versions"
OPEN = "_open"
HELD = "_held"
LOOKS = "_looks"
LEDGER = "_ledger"
ARCHIVE = "_archive"
ROLLBACK = "_rollback"
JOURNAL = "_journal"
ACCEPTED = "_accepted"
OWNER = "_owner/owner.json"
NOTHING = "_nothing"
"""The name of empty objects, so that a view's pattern always matches one; no id or date has this name."""
MARKED = ".marked"
"""The name of the object that says that a lake has "open" markers; no backfill's id starts with a dot."""
ONBOARD = "onboard-"
"""The prefix of the ids of onboardings, and of no others."""
BACKFILL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def tenant_prefix(dataset: str, service: str, tenant: str) -> str:
    """The folder of one tenant in a dataset; raises `ConfigurationError` for an invalid tenant id."""
    return f"{dataset}/service={service}/tenant={validate_tenant_id(tenant)}"


def day_key(dataset: str, service: str, key: PartitionKey) -> str:
    """The key of the object with one day of a dataset."""
    return f"{tenant_prefix(dataset, service, key.tenant)}/date={key.date.isoformat()}/{FILE}"


def tenant_key(dataset: str, service: str, tenant: str) -> str:
    """The key of a tenant's object in a dataset without days."""
    return f"{tenant_prefix(dataset, service, tenant)}/{FILE}"


def date_of(object_key: str) -> date:
    """Parse the day of a key made by `day_key`; raises `ConfigurationError` for a key without one."""
    for part in object_key.split("/"):
        if part.startswith("date="):
            try:
                return date.fromisoformat(part.removeprefix("date="))
            except ValueError:
                break
    raise ConfigurationError(
        f"{object_key[:300]!r} is not the object of a day: expected date=YYYY-MM-DD in its key. "
        "Move it out of the lake."
    )


def journal_prefix(root_run_id: str, asset: str) -> str:
    """The folder of a run's journal for one asset."""
    return f"{JOURNAL}/{root_run_id}/{asset.replace('/', '.')}"


def manifest_key(backfill_id: str) -> str:
    """The key of a managed backfill's manifest; raises `ConfigurationError` for an invalid id."""
    return f"{BACKFILLS}/{_checked_id(backfill_id)}/manifest.json"


def summary_key(backfill_id: str) -> str:
    """The key of the summary of a managed backfill that has ended; raises as `manifest_key`."""
    return f"{BACKFILLS}/{_checked_id(backfill_id)}/summary.json"


def audit_key(moment: datetime, mark: str) -> str:
    """The key of an audit event; `mark` tells events of the same microsecond apart."""
    return f"{AUDIT}/date={moment:%Y-%m-%d}/{moment:%H%M%S.%f}-{mark[:8]}.json"


def registration_keys(registration_id: str) -> tuple[str, str]:
    """The keys of the manifest and the summary of a registration of partitions."""
    return f"{CATALOG}/{registration_id}/manifest.json", f"{CATALOG}/{registration_id}/summary.json"


def versions_prefix(dataset: str, service: str, key: PartitionKey) -> str:
    """The folder of a day's replaced versions."""
    return f"{VERSIONS}/{day_key(dataset, service, key).removesuffix('/' + FILE)}"


def open_key(backfill_id: str) -> str:
    """The key of the marker of a managed backfill that has not ended; raises as `manifest_key`."""
    return f"{OPEN}/{_checked_id(backfill_id)}"


def held_key(backfill_id: str) -> str:
    """The key of the marker of a managed backfill that a person has paused or cancelled; raises as `manifest_key`."""
    return f"{HELD}/{_checked_id(backfill_id)}"


def look_key(kind: str, connection: str) -> str:
    """The key of the marker of a connection's last poll."""
    return f"{LOOKS}/{kind}/{connection}.json"


def accepted_key(service: str, tenant: str) -> str:
    """The key of a connection's acceptances; raises `ConfigurationError` for an invalid tenant id."""
    return f"{ACCEPTED}/{service}/{validate_tenant_id(tenant)}.json"


def file_looks_key(kind: str) -> str:
    """The versions of the tenant files that the last tick of a kind of sensor saw."""
    return f"{LOOKS}/{kind}.files.json"


def ledger_key(moment: datetime, writer: str) -> str:
    """The key of the provenance of a writer (a run's step, a rollback) that ended at this time."""
    return f"{LEDGER}/date={moment:%Y-%m-%d}/{writer}.json"


def archive_prefix(kind: str, month: str = "") -> str:
    """The folder of the archives of objects below `kind` (of one month `YYYY-MM`)."""
    return "/".join(filter(None, (ARCHIVE, kind.removeprefix("_"), month)))


def rollback_key(service: str, key: PartitionKey) -> str:
    """The key of the intent to roll a day back."""
    return f"{ROLLBACK}/service={service}/tenant={validate_tenant_id(key.tenant)}/date={key.date.isoformat()}.json"


def _checked_id(backfill_id: str) -> str:
    if not BACKFILL_ID.fullmatch(backfill_id):
        raise ConfigurationError(
            f"backfill id {backfill_id[:80]!r} is not allowed: expected letters, digits, '.', '-' and '_'."
        )
    return backfill_id
