"""Where things lie in the lake: the only place that builds or reads a path.

    <dataset>/service=<s>/tenant=<t>/date=YYYY-MM-DD/part.parquet      one object a day
    quarterly_features/…/date=<first day of the quarter>/part.parquet   one object a quarter
    station_history/service=<s>/tenant=<t>/part.parquet                 one object a tenant
    _journal/<root run>/<asset>/tenant=<t>/<date>.json                 days a run has finished
    _backfills/<id>/manifest.json, summary.json                        what was asked for, what came of it
    _catalog/<id>/manifest.json, summary.json                          partitions to register, and what came of it
    _audit/date=YYYY-MM-DD/<time>-<id>.json                            who asked for what, one object an event
    _alerts/open/, ending/, told/                                      incidents, and who was told of them
    _metrics/<instance>.json                                           counters as the exporter last saw them
    _versions/<dataset>/…/date=YYYY-MM-DD/<created>-<sha>.parquet       what a day was before it was replaced
    _open/<id>                                                         a backfill whose summary says no end yet
    _ledger/date=YYYY-MM-DD/<run>.<service>.<dataset>.json              which run wrote which object, one object a step
    _archive/<kind>/YYYY-MM/<hash>.jsonl                               old backfills, audit and ledger, many in one
    _rollback/service=<s>/tenant=<t>/date=YYYY-MM-DD.json              a rollback that has begun
    _held/<id>                                                         a backfill that a person has paused or cancelled
    _looks/<kind>/<tenant>-<service>.json                              when a sensor last looked at an upstream in vain

Names starting with `_` are ours and no dataset; Hive-style readers skip them.
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
NOTHING = "_nothing"
"""The name of empty objects that keep a pattern of a view from matching nothing; no id or date is called so."""
ONBOARD = "onboard-"
"""What the ids of onboardings start with, and no other's."""
BACKFILL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def tenant_prefix(dataset: str, service: str, tenant: str) -> str:
    """The folder of one tenant in a dataset."""
    return f"{dataset}/service={service}/tenant={validate_tenant_id(tenant)}"


def day_key(dataset: str, service: str, key: PartitionKey) -> str:
    """The object that holds one day of a dataset."""
    return f"{tenant_prefix(dataset, service, key.tenant)}/date={key.date.isoformat()}/{FILE}"


def tenant_key(dataset: str, service: str, tenant: str) -> str:
    """The object of a dataset that is one table a tenant, without days."""
    return f"{tenant_prefix(dataset, service, tenant)}/{FILE}"


def date_of(object_key: str) -> date:
    """The day of an object made by `day_key`."""
    for part in object_key.split("/"):
        if part.startswith("date="):
            try:
                return date.fromisoformat(part.removeprefix("date="))
            except ValueError:
                break
    raise ConfigurationError(
        f"{object_key[:300]!r} is not the object of a day: no date=YYYY-MM-DD in it. Move it out of the lake."
    )


def journal_prefix(root_run_id: str, asset: str) -> str:
    """The folder of a run's journal for one asset."""
    return f"{JOURNAL}/{root_run_id}/{asset.replace('/', '.')}"


def manifest_key(backfill_id: str) -> str:
    """The manifest of a managed backfill."""
    return f"{BACKFILLS}/{_checked_id(backfill_id)}/manifest.json"


def summary_key(backfill_id: str) -> str:
    """The summary of a managed backfill that has ended."""
    return f"{BACKFILLS}/{_checked_id(backfill_id)}/summary.json"


def audit_key(moment: datetime, mark: str) -> str:
    """An event of the audit; `mark` tells events of the same microsecond apart."""
    return f"{AUDIT}/date={moment:%Y-%m-%d}/{moment:%H%M%S.%f}-{mark[:8]}.json"


def registration_keys(registration_id: str) -> tuple[str, str]:
    """Manifest and summary of a registration of partitions."""
    return f"{CATALOG}/{registration_id}/manifest.json", f"{CATALOG}/{registration_id}/summary.json"


def versions_prefix(dataset: str, service: str, key: PartitionKey) -> str:
    """The folder of a day's replaced objects."""
    return f"{VERSIONS}/{day_key(dataset, service, key).removesuffix('/' + FILE)}"


def open_key(backfill_id: str) -> str:
    """The marker of a managed backfill that has not ended."""
    return f"{OPEN}/{_checked_id(backfill_id)}"


def held_key(backfill_id: str) -> str:
    """The marker of a managed backfill that a person has paused or cancelled."""
    return f"{HELD}/{_checked_id(backfill_id)}"


def look_key(kind: str, connection: str) -> str:
    """The marker of the last look at a connection."""
    return f"{LOOKS}/{kind}/{connection}.json"


def ledger_key(moment: datetime, writer: str) -> str:
    """What a writer wrote that ended at this time."""
    return f"{LEDGER}/date={moment:%Y-%m-%d}/{writer}.json"


def archive_prefix(kind: str, month: str = "") -> str:
    """The folder of archives of objects below `kind` (of one month)."""
    return "/".join(filter(None, (ARCHIVE, kind.removeprefix("_"), month)))


def rollback_key(service: str, key: PartitionKey) -> str:
    """The intent of a rollback of a day."""
    return f"{ROLLBACK}/service={service}/tenant={validate_tenant_id(key.tenant)}/date={key.date.isoformat()}.json"


def _checked_id(backfill_id: str) -> str:
    if not BACKFILL_ID.fullmatch(backfill_id):
        raise ConfigurationError(
            f"backfill id {backfill_id[:80]!r} is not allowed: expected letters, digits, '.', '-' and '_'."
        )
    return backfill_id
