"""The warehouse: DuckDB views over the lake's Parquet files.

A lake in a local folder can be read with any DuckDB. For one on S3, DuckDB would download its httpfs extension and
need credentials of its own; `connect_warehouse` registers our object store instead, with the settings' credentials.

Times are TIMESTAMPTZ; `connect_warehouse` shows them in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import duckdb
import pyarrow as pa

from weather_backfill.lake import layout
from weather_backfill.model import intervals, schemas
from weather_backfill.model.schemas import STATION_HISTORY
from weather_backfill.storage.object_store import ObjectStore

_DAYS = "date=[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]/"
_TENANT = "tenant=*[-a-z0-9_]"
_NAME = "[A-Za-z0-9_]*"  # of no hidden file
_DATE = pa.field("date", pa.date32())
_OWNER = (pa.field("service", pa.string()), pa.field("tenant", pa.string()))
COLUMNS: Mapping[str, pa.Schema] = {
    layout.RAW_OBSERVATIONS: pa.schema([*schemas.RAW, schemas.SOURCE_QUALITY, *_OWNER, _DATE]),
    layout.REFINED_15M: pa.schema([*schemas.REFINED, *_OWNER, _DATE]),
    layout.REJECTED_OBSERVATIONS: pa.schema([*schemas.REJECTS, *_OWNER, _DATE]),
    layout.QUARTERLY_FEATURES: pa.schema([*schemas.FEATURES, *_OWNER, _DATE]),
    layout.STATION_HISTORY: pa.schema([*STATION_HISTORY, *_OWNER]),
}
"""The columns of the datasets; `date` is the UTC day, or the first day of the quarter. The view of raw has two more."""
_END = "observed_at + to_seconds(interval_end_offset_seconds)"
_COMPUTED = {"interval_start": f"{_END} - to_seconds(interval_seconds)", "interval_end": _END}

VIEWS = (*COLUMNS, "quality_issues", "dataset_versions", "backfill_log")

_QUALITY_ISSUES = """
SELECT service, tenant, date, if(quality = 4, 'failed', 'suspect') AS issue, station_id, observed_at,
    metric, value, quality, NULL::VARCHAR AS reason, NULL::VARCHAR AS source_object, NULL::VARCHAR AS raw_text,
    NULL::BIGINT AS raw_bytes, NULL::BIGINT AS stands_for
FROM raw_observations WHERE quality IN (3, 4)
UNION ALL
SELECT service, tenant, date, 'rejected', station_id, observed_at, NULL, NULL, NULL, reason, source_object, raw_text,
    raw_bytes, stands_for
FROM rejected_observations
"""
_VERSIONS = """
SELECT '{dataset}' AS dataset, part(file_name, 'service') AS service, part(file_name, 'tenant') AS tenant,
    try_cast(part(file_name, 'date') AS DATE) AS date, sha256[:16] AS version, first_observation, last_observation,
    num_rows AS rows, file_size_bytes::BIGINT AS bytes, created_at, code_version, schema_version, run_id,
    file_name AS object,
    coalesce(owner_service <> service OR owner_tenant <> tenant OR owner_date <> part(file_name, 'date'), false)
        AS misplaced
FROM parquet_file_metadata('{glob}') LEFT JOIN (
    SELECT file_name,
        max(decode(value)) FILTER (decode(key) = 'weather.content') AS written_content,
        max(decode(value)) FILTER (decode(key) = 'weather.first_observation')::TIMESTAMPTZ AS first_observation,
        max(decode(value)) FILTER (decode(key) = 'weather.last_observation')::TIMESTAMPTZ AS last_observation,
        max(decode(value)) FILTER (decode(key) = 'weather.code_version') AS code_version,
        max(decode(value)) FILTER (decode(key) = 'weather.schema_version') AS schema_version,
        max(decode(value)) FILTER (decode(key) = 'weather.service') AS owner_service,
        max(decode(value)) FILTER (decode(key) = 'weather.tenant') AS owner_tenant,
        max(decode(value)) FILTER (decode(key) = 'weather.date') AS owner_date
    FROM parquet_kv_metadata('{glob}') GROUP BY file_name
) USING (file_name)
LEFT JOIN ledger ON object = '{dataset}' || str_split(file_name, '/{dataset}')[-1] AND content = written_content
"""
_NO_VERSIONS = """
SELECT NULL::VARCHAR AS dataset, NULL::VARCHAR AS service, NULL::VARCHAR AS tenant, NULL::DATE AS date,
    NULL::VARCHAR AS version, NULL::TIMESTAMPTZ AS first_observation, NULL::TIMESTAMPTZ AS last_observation,
    NULL::BIGINT AS rows, NULL::BIGINT AS bytes, NULL::TIMESTAMPTZ AS created_at, NULL::VARCHAR AS code_version,
    NULL::VARCHAR AS schema_version, NULL::VARCHAR AS run_id, NULL::VARCHAR AS object, NULL::BOOLEAN AS misplaced
WHERE false
"""
# The latest entry of an object and content, as the same bytes may be written again.
_PROVENANCE = """
WITH documents AS (
    SELECT written FROM read_json('{objects}', columns = {{written: '{written}'}})
    UNION ALL
    SELECT body.written FROM read_json('{archives}', format = 'newline_delimited',
        columns = {{body: 'STRUCT(written {written})'}})
)
SELECT DISTINCT ON (object, content) * FROM (SELECT unnest(written, recursive := true) FROM documents)
ORDER BY created_at DESC
"""
# A list of `provenance.ProvenanceEntry`.
_WRITTEN = "STRUCT(object VARCHAR, content VARCHAR, sha256 VARCHAR, created_at TIMESTAMPTZ, run_id VARCHAR)[]"
# A backfill that was archived and then resumed is there twice: its object counts.
_LOG = """
WITH live AS (SELECT {names} FROM read_json('{objects}', columns = {{{columns}}}) WHERE backfill_id IS NOT NULL),
archived AS (
    SELECT DISTINCT ON (key) body FROM read_json('{archives}', format = 'newline_delimited',
        columns = {{key: 'VARCHAR', modified: 'TIMESTAMPTZ', body: 'STRUCT({fields})'}})
    WHERE suffix(key, '/summary.json') ORDER BY modified DESC
)
FROM live UNION ALL
SELECT unnest(body) FROM archived WHERE body.backfill_id NOT IN (SELECT backfill_id FROM live)
"""

_LOG_COLUMNS = {
    "backfill_id": "VARCHAR", "target": "VARCHAR", "start_date": "DATE", "end_date": "DATE", "status": "VARCHAR",
    "rows_affected": "BIGINT", "started_at": "TIMESTAMPTZ", "completed_at": "TIMESTAMPTZ", "requested_by": "VARCHAR",
}  # fmt: skip


def create_views(connection: duckdb.DuckDBPyConnection, store: ObjectStore) -> dict[str, list[str]]:
    """Create all views over a lake, empty ones for empty datasets; returns the names of the columns by view."""
    store.register(connection)
    connection.execute("CREATE OR REPLACE MACRO part(path, name) AS regexp_extract(path, '/' || name || '=([^/]*)', 1)")
    globs = {dataset: _globs(store, dataset) for dataset in COLUMNS}
    for dataset, by_service in globs.items():
        _create(connection, dataset, _dataset_view(connection, dataset, by_service))
    _create(connection, "quality_issues", _QUALITY_ISSUES)
    versions = [_VERSIONS.format(dataset=dataset, glob=glob) for dataset in COLUMNS for glob in globs[dataset].values()]
    provenance = _PROVENANCE.format(**_records(store, layout.LEDGER, f"*/{_NAME}.json"), written=_WRITTEN)
    union = "\nUNION ALL ".join(versions or [_NO_VERSIONS])
    _create(connection, "dataset_versions", f"WITH ledger AS MATERIALIZED ({provenance})\n{union}")
    _create(connection, "backfill_log", _log_view(store))
    return {view: [row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()] for view in VIEWS}


def _create(connection: duckdb.DuckDBPyConnection, view: str, query: str) -> None:
    connection.execute(f"CREATE OR REPLACE VIEW {view} AS {query}")


def _globs(store: ObjectStore, dataset: str) -> dict[str, str]:
    """The patterns of a dataset's objects by service, for services that have any."""
    days = "" if _DATE not in COLUMNS[dataset] else _DAYS
    patterns = {}
    for folder in store.folders(dataset):
        pattern = f"{dataset}/{folder}/{_TENANT}/{days}{layout.FILE}"
        if any(fnmatchcase(stored.key, pattern) for stored in store.list(f"{dataset}/{folder}")):
            patterns[folder.removeprefix("service=")] = store.uri(pattern).replace("'", "''")
    return patterns


def _log_view(store: ObjectStore) -> str:
    """The query of `backfill_log`: one row per managed backfill, from the summaries and their archives."""
    return _LOG.format(
        **_records(store, layout.BACKFILLS, f"{_NAME}/summary.json"),
        names=", ".join(_LOG_COLUMNS),
        columns=", ".join(f"{name}: '{kind}'" for name, kind in _LOG_COLUMNS.items()),
        fields=", ".join(f"{name} {kind}" for name, kind in _LOG_COLUMNS.items()),
    )


def _records(store: ObjectStore, kind: str, names: str) -> dict[str, str]:
    """The patterns of records and of their archives, each with an empty object, as a pattern must match one."""
    patterns = {"objects": f"{kind}/{names}", "archives": f"{layout.archive_prefix(kind)}/*/{_NAME}.jsonl"}
    for pattern in patterns.values():
        store.create(pattern.replace(_NAME, layout.NOTHING).replace("*", layout.NOTHING), b"")
    return {name: store.uri(pattern).replace("'", "''") for name, pattern in patterns.items()}


def _dataset_view(connection: duckdb.DuckDBPyConnection, dataset: str, globs: Mapping[str, str]) -> str:
    """The query of a dataset's view: all services.

    A service's files have one schema, so that binding reads one footer; where a later schema version added a column,
    it reads all footers.
    """
    columns = COLUMNS[dataset]
    if dataset == layout.RAW_OBSERVATIONS:
        columns = pa.schema([*columns, *intervals.COMPUTED])
    selects = []
    for glob in globs.values():
        types = "'service': VARCHAR, 'tenant': VARCHAR" + (", 'date': DATE" if _DATE in columns else "")
        mixed = ", union_by_name = true" if dataset in schemas.SINCE else ""
        files = f"read_parquet('{glob}', hive_partitioning = true, hive_types = {{{types}}}{mixed})"
        present = {row[0] for row in connection.execute(f"DESCRIBE FROM {files}").fetchall()}
        present -= _COMPUTED.keys()
        selects.append(f"SELECT {_select(connection, columns, present)} FROM {files}")  # noqa: S608 - our own paths
    return "\nUNION ALL ".join(selects or [f"SELECT {_select(connection, columns, set())} WHERE false"])


def _select(connection: duckdb.DuckDBPyConnection, columns: pa.Schema, present: set[str]) -> str:
    """The select list: the columns in order, those missing from a service's files as nulls of the right type."""
    empty = connection.from_arrow(_plain(columns).empty_table())
    types = dict(zip(empty.columns, empty.types, strict=True))
    known = present.issuperset(intervals.INTERVAL)
    parts = [
        f'"{name}"' if name in present
        else f'{_COMPUTED[name]} AS "{name}"' if known and name in _COMPUTED
        else f'NULL::{types[name]} AS "{name}"'
        for name in columns.names
    ]  # fmt: skip
    return ", ".join(parts)


def _plain(columns: pa.Schema) -> pa.Schema:
    """Replace dictionary types by plain strings, as in the files."""
    return pa.schema([f.with_type(pa.string()) if pa.types.is_dictionary(f.type) else f for f in columns])
