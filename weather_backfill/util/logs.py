"""Log lines that name their day, and structured logs of runs: a JSON object per line (`WEATHER_LOG_FORMAT=json`).

Dagster's services have a JSON format of their own: `dagster-daemon run --log-format json` (also `dagster-webserver`,
`dagster code-server start`, `dagster dev`). For runs, `python_logs` in `dagster.yaml` hands every line to
`StructuredHandler`. A run also writes Dagster's coloured text to stderr; the JSON goes to stdout.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from weather_backfill.model.partitions import PartitionKey

# The tags of a run, as `run_coordinator` sets them; not imported, as the handler is made before anything else.
_TAGS = {"tenant": "weather/tenant", "service": "weather/service"}
_DAY_FIELDS = ("tenant", "service", "day", "dataset")


def log_day(log: logging.Logger, level: int, service: str, key: PartitionKey, text: str, dataset: str = "") -> None:
    """Log a line about one day, `tenant=acme service=tempest day=2024-01-04 <text>`, and the same as fields."""
    fields = {"tenant": key.tenant, "service": service, "day": key.date.isoformat()}
    fields |= {"dataset": dataset} if dataset else {}
    prefix = " ".join(f"{name}={value}" for name, value in fields.items())
    log.log(level, f"{prefix} {text}", extra=fields)


def as_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record's JSON object, `time` in UTC; Dagster's (run, step, tags) come from `dagster_meta`."""
    meta: Mapping[str, Any] = getattr(record, "dagster_meta", None) or {}
    tags = meta.get("job_tags") or {}
    event = meta.get("dagster_event")
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        **{name: getattr(record, name, None) or tags.get(_TAGS.get(name, "")) for name in _DAY_FIELDS},
        "run_id": meta.get("run_id"),
        "step": meta.get("step_key"),
        "event": event.event_type_value if event is not None else None,
        "message": meta.get("orig_message") or record.getMessage(),
    }
    if record.exc_info:
        fields["exception"] = logging.Formatter().formatException(record.exc_info)
    return {name: value for name, value in fields.items() if value is not None}


class StructuredHandler(logging.Handler):
    """Handler that writes a JSON line per record to stdout if `WEATHER_LOG_FORMAT` is `json`, else nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        if os.environ.get("WEATHER_LOG_FORMAT") != "json":
            return
        try:
            sys.stdout.write(json.dumps(as_fields(record), default=str) + "\n")
            sys.stdout.flush()
        except Exception:
            self.handleError(record)
