"""Reads the lake into pandas or Arrow: `read_refined` and `read_raw`, on local and S3 lakes alike.

Only the objects of the requested days are opened, and only the requested rows of them are returned.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.lake import layout, ownership, parquet
from weather_backfill.lake.listing import day_objects
from weather_backfill.model import intervals, schemas
from weather_backfill.model.errors import ConfigurationError, NotFoundError, UnreadableObjectError
from weather_backfill.model.metrics import METRICS
from weather_backfill.model.partitions import days_between, validate_tenant_id
from weather_backfill.refine.rules import WINDOW_SECONDS
from weather_backfill.settings import Settings, load_settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake
from weather_backfill.tenants.files import Services

if TYPE_CHECKING:
    import pandas as pd

As = Literal["pandas", "arrow"]
Moment = date | datetime | str
_LONGEST = timedelta(days=2)
"""No value stands for a time that lies further from its stamp."""
_FILED_LATE = {layout.REFINED_15M: timedelta(days=1), layout.RAW_OBSERVATIONS: timedelta()}
"""How much later than its time a row may be filed: a window lies in the day of its midpoint."""
_TIME = {layout.REFINED_15M: "window_start", layout.RAW_OBSERVATIONS: "observed_at"}
_SCHEMAS = {layout.REFINED_15M: schemas.REFINED, layout.RAW_OBSERVATIONS: schemas.RAW}


def read_refined(
    *,
    tenant: str,
    service: str,
    start: Moment,
    end: Moment,
    metrics: Sequence[str] | None = None,
    stations: Sequence[str] | None = None,
    window_seconds: int | None = None,
    as_: As = "pandas",
    settings: Settings | None = None,
) -> pd.DataFrame | pa.Table:
    """Read the windows of one tenant that start in a time; columns and units: `schemas.REFINED`, `metrics.METRICS`.

    `start` and `end` are UTC days, both included (`date` or "2024-01-31"), or aware times `[start, end)`. Rows come
    day by day, sorted by station, metric and time; `window_start` is UTC, `station_id` and `metric` are categories.
    `window_seconds` keeps the windows of that length: 900 those of 15 minutes, without the hourly sums that have a
    window of their own. Days of schema 1 do not tell lengths, and count as 900. A longer window that begins late in a
    day may lie in the next day's file, which is read besides. `settings` default to the environment's. Days that are
    not in the lake are left out with a warning.

    Raises `ConfigurationError` for an invalid argument, `NotFoundError` if the lake has no day of the range, and
    `UnreadableObjectError` naming the object where a day is damaged (the checksum of every page is verified), or is by
    its footer another tenant's or day's.
    """
    names = (metrics, stations)
    return _read(layout.REFINED_15M, service, tenant, (start, end), names, as_, settings, window_seconds)


def read_raw(
    *,
    tenant: str,
    service: str,
    start: Moment,
    end: Moment,
    metrics: Sequence[str] | None = None,
    stations: Sequence[str] | None = None,
    as_: As = "pandas",
    settings: Settings | None = None,
) -> pd.DataFrame | pa.Table:
    """Read observations as received, with their flags: columns as in `schemas.RAW`, all else as in `read_refined`.

    `interval_start` and `interval_end` come besides: a value stands for the time between them, a reading (both equal)
    for that moment; null where it is not known (days that an older release wrote). The rows are those whose interval
    has its middle in the asked time, as a day holds them: the value stamped 00:00 of the ten minutes before it belongs
    to the day that ends there.
    """
    return _read(layout.RAW_OBSERVATIONS, service, tenant, (start, end), (metrics, stations), as_, settings)


def _read(
    dataset: str,
    service: str,
    tenant: str,
    bounds: tuple[Moment, Moment],
    names: tuple[Sequence[str] | None, Sequence[str] | None],
    as_: str,
    settings: Settings | None,
    window_seconds: int | None = None,
) -> Any:
    if as_ not in ("pandas", "arrow"):
        raise ConfigurationError(f"as_ is {as_!r}: expected 'pandas' or 'arrow'.")
    start, end = _span(*bounds)
    metrics, stations = _names(names[0], "metrics"), _names(names[1], "stations")
    store = open_lake(settings or load_settings())
    reach = timedelta() if window_seconds == WINDOW_SECONDS else _FILED_LATE[dataset]
    keys = _objects(store, dataset, service, tenant, start, end, reach)
    raw = dataset == layout.RAW_OBSERVATIONS
    reach = _LONGEST if raw else timedelta()  # a stamp may lie outside the time of its value
    condition = _condition(_TIME[dataset], start - reach, end + reach, metrics, stations)
    tables = []
    for key, data in store.read_many(keys):
        if not isinstance(data, bytes):
            raise data
        try:
            table = ownership.check_table(parquet.rows(data, condition), key)
            table = schemas.conformed(table, _SCHEMAS[dataset], dataset)
            tables.append(_standing_for(table, start, end) if raw else _of_length(table, window_seconds))
        except UnreadableObjectError as error:
            raise UnreadableObjectError(f"{store.uri(key)}: {error}") from error
    # Matched by name: some services' days have the upstream's own quality as a further column.
    table = pa.concat_tables([_plain(t) for t in tables], promote_options="default").unify_dictionaries()
    _check_metrics(metrics or [], table)
    return table.to_pandas() if as_ == "pandas" else table


def _span(start: Moment, end: Moment) -> tuple[datetime, datetime]:
    """Convert the bounds to `[start, end)` in UTC; a plain day as `end` is included."""
    first, last = _moment(start, "start"), _moment(end, "end", timedelta(days=1))
    if first >= last:
        raise ConfigurationError(f"start {start} is not before end {end}: expected an earlier start or a later end.")
    return first, last


def _moment(value: Moment, name: str, length_of_day: timedelta = timedelta()) -> datetime:
    try:
        if isinstance(value, str):
            value = date.fromisoformat(value) if len(value) == len("2024-01-31") else datetime.fromisoformat(value)
    except ValueError as error:
        raise ConfigurationError(f"{name} is {value!r}: expected a day like '2024-01-31' or an ISO time.") from error
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC) + length_of_day
    if value.tzinfo is None:
        raise ConfigurationError(f"{name} is {value.isoformat()} without a time zone: add one, for example '+00:00'.")
    return value.astimezone(UTC)


def _names(values: Sequence[str] | None, argument: str) -> list[str] | None:
    if isinstance(values, str):
        raise ConfigurationError(f"{argument} is the text {values!r}: expected a list, for example [{values!r}].")
    return None if values is None else [str(name) for name in values]


def _objects(
    store: ObjectStore, dataset: str, service: str, tenant: str, start: datetime, end: datetime, late: timedelta
) -> list[str]:
    """The keys of the objects of the days in `[start, end)` and up to `late` after it; warns of missing ones in it."""
    if service not in Services.model_fields:
        raise ConfigurationError(
            f"service {service!r} is not known: expected one of {', '.join(Services.model_fields)}."
        )
    prefix = layout.tenant_prefix(dataset, service, validate_tenant_id(tenant))
    stored_days = day_objects(store, dataset, service, tenant)
    days = days_between(start.date(), (end - timedelta(microseconds=1)).date())
    keys = [stored_days[day].key for day in days if day in stored_days]
    if not keys:
        dates = sorted(stored_days)
        instead = f"it holds {len(dates)} days from {dates[0]} to {dates[-1]}" if dates else "it holds no day at all"
        raise NotFoundError(f"{store.uri(prefix)} has no day from {days[0]} to {days[-1]}: {instead}.")
    if len(keys) < len(days):
        message = f"{len(days) - len(keys)} of {len(days)} days of {dataset} are not in the lake."
        warnings.warn(message, stacklevel=4)
    after = days_between(days[-1] + timedelta(days=1), days[-1] + late)
    return keys + [stored_days[day].key for day in after if day in stored_days]


def _condition(
    time: str, start: datetime, end: datetime, metrics: list[str] | None, stations: list[str] | None
) -> pc.Expression:
    bounds = [pa.scalar(moment, schemas.TIMESTAMP) for moment in (start, end)]
    condition = (pc.field(time) >= bounds[0]) & (pc.field(time) < bounds[1])
    for column, names in (("metric", metrics), ("station_id", stations)):
        if names is not None:
            condition &= pc.field(column).isin(pa.array(names, pa.string()))
    return condition


def _standing_for(table: pa.Table, start: datetime, end: datetime) -> pa.Table:
    """The raw rows whose interval has its middle in `[start, end)`, with their intervals."""
    middles = intervals.middles(table)
    low, high = (pa.scalar(moment, schemas.TIMESTAMP).cast(pa.int64()).as_py() for moment in (start, end))
    inside = (middles >= low) & (middles < high)
    return intervals.with_bounds(table if inside.all() else table.filter(pa.array(inside)))


def _of_length(table: pa.Table, window_seconds: int | None) -> pa.Table:
    """The refined rows of windows of that length; those of schema 1 count as of 15 minutes."""
    if window_seconds is None:
        return table
    return table.filter(pc.equal(pc.fill_null(table["window_seconds"], WINDOW_SECONDS), window_seconds))


def _plain(table: pa.Table) -> pa.Table:
    """Drop the footer's metadata, which differs by day."""
    return table.replace_schema_metadata(None)


def _check_metrics(requested: list[str], table: pa.Table) -> None:
    """Raise `ConfigurationError` for a metric that is neither in the table of metrics nor in the rows: a typo."""
    present = set(pc.unique(table["metric"]).cast(pa.string()).to_pylist())
    for name in requested:
        if name not in METRICS and name not in present:
            close = difflib.get_close_matches(name, METRICS, 3)
            hint = f"did you mean {' or '.join(close)}?" if close else "see weather_backfill.model.metrics.METRICS."
            raise ConfigurationError(f"metric {name!r} is unknown, and no row has it: {hint}")


def connect_warehouse(path: str | Path | None = None, settings: Settings | None = None) -> duckdb.DuckDBPyConnection:
    """Open the warehouse for reading, on local and S3 lakes alike; default: the settings' file and lake.

    Views: raw_observations, refined_15m, rejected_observations, quarterly_features, station_history (columns in
    `COLUMNS`), quality_issues, dataset_versions, backfill_log. The connection's time zone is UTC. Raises
    `NotFoundError` if the asset `warehouse` has not been materialized.
    """
    settings = settings or load_settings()
    file = Path(path or settings.warehouse_path())
    if not file.is_file():
        raise NotFoundError(f"{file} is not there: materialize the asset `warehouse` first, or set WEATHER_WAREHOUSE.")
    connection = duckdb.connect(str(file), read_only=True)
    open_lake(settings).register(connection)
    connection.execute("SET TimeZone = 'UTC'")
    return connection
