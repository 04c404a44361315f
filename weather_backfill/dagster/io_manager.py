"""The Parquet IO manager: writes the days of a stream one by one, atomically; a bad day never costs the others.

It guarantees (Dagster 1.13):

* a day is one object, written whole and verified, rejects before observations;
* an incomplete day is written with the rows that there are, and its check `expected_data` fails: a day fails only where
  nothing could be written;
* when all days are good, each partition's materialization carries its own metadata;
* when some fail, the good ones are recorded first, then the step fails with the failed days named and retries
  forbidden: Dagster shows exactly those partitions as failed, and "retry failed" runs exactly those;
* when the run is cancelled, the day that is being written is finished, and the finished days are recorded before
  the interrupt goes on;
* a day whose upstream has lost rows that the lake holds fails, and the lake keeps them;
* when the process is killed, the journal (`days.py`) lets the retried run go on where it stopped.
"""

# No `from __future__ import annotations`: Dagster reads a resource's annotations when the class is made.

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, get_args

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
from dagster import DagsterEvent

from weather_backfill.backfill.context import claim_lake
from weather_backfill.dagster.events import Recorder
from weather_backfill.dagster.private import BACKFILL_ID_TAG, step_of
from weather_backfill.dagster.resources import LakeResource
from weather_backfill.dagster.sqlite_event_log import kept_open
from weather_backfill.lake import layout, ownership, parquet, provenance
from weather_backfill.lake.journal import Journal
from weather_backfill.lake.writer import SCHEMAS, write_day
from weather_backfill.model import schemas
from weather_backfill.model.days import Day, DayFailure, DayRecord, DayStream
from weather_backfill.model.errors import ConfigurationError, LostRowsError, NotFoundError
from weather_backfill.model.partitions import PartitionKey, by_tenant
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util.logs import log_day
from weather_backfill.util.retries import retrying
from weather_backfill.util.signals import interrupts_later


class ParquetIOManager(dg.ConfigurableIOManager):
    """Stores the days of `<service>/<dataset>` assets as Parquet objects of the lake, and loads them."""

    lake: dg.ResourceDependency[LakeResource]

    def handle_output(self, context: dg.OutputContext, obj: DayStream) -> Iterator[DagsterEvent]:  # type: ignore[override]
        """Write the days of the stream; raises `dagster.Failure` at the end if any failed."""
        step = step_of(context)
        with kept_open(step.instance, step.run_id):
            yield from self._handle(context, step.dagster_run, obj)

    def _handle(self, context: dg.OutputContext, run: dg.DagsterRun, obj: DayStream) -> Iterator[DagsterEvent]:
        service, dataset = context.asset_key.path
        claim_lake(step_of(context).instance, self.lake.store)
        journal = journal_of(run, self.lake.store, context.asset_key)
        recorder = Recorder(context, service)
        run_id, written = run.run_id, list[provenance.ProvenanceEntry]()

        def end() -> None:
            provenance.save(self.lake.store, f"{run_id}.{service}.{dataset}", written)
            journal.clear()

        try:
            for day in obj:
                with interrupts_later():  # a day is in the lake, in the journal and among the records, or nowhere
                    result = self._written(day, service, dataset, journal, run_id, written)
                    del day  # its table, before the next is read
                    if isinstance(result, DayRecord):
                        obj.records.append(result)
                if isinstance(result, DayFailure):
                    obj.failures.append(result)
                    message = f"failed: {type(result.error).__name__}: {result.error}"
                    log_day(context.log, logging.ERROR, service, result.key, message, dataset)
                else:
                    message = f"rows={result.metadata.get('rows')} bytes={result.metadata.get('bytes')}"
                    log_day(context.log, logging.INFO, service, result.key, message, dataset)
        except BaseException as stopped:
            # Cancelled, or the stream itself broke: what is finished stays finished.
            yield from recorder.everything(obj.records)
            _end_beside(end, stopped, context)
            raise
        if obj.failures:
            failed = failure(obj, context.asset_key, from_backfill=BACKFILL_ID_TAG in run.tags)
            yield from recorder.everything(obj.records)
            _end_beside(end, failed, context)
            raise failed
        yield from recorder.beside_automatic_events(obj.records)
        end()

    def _written(
        self,
        day: Day,
        service: str,
        dataset: str,
        journal: Journal,
        run_id: str,
        written: list[provenance.ProvenanceEntry],
    ) -> DayRecord | DayFailure:
        """Write a day unless it failed or lies in the lake already; its record, or the failure to read or write it.

        Adds the entries of the provenance to `written`.
        """
        if isinstance(day, DayFailure):
            return day
        if isinstance(day, DayRecord):
            written += day.written
            return day
        try:
            record = retrying()(write_day, self.lake.store, service, dataset, day)
            record = replace(record, written=[{**entry, "run_id": run_id} for entry in record.written])
            written += record.written
            journal.add(record)
        except LostRowsError as error:  # a partial day must not replace a fuller one
            whole = LostRowsError(f"{day.incomplete} | {error}") if day.incomplete else error
            return DayFailure(day.key.date, whole, day.key.tenant)
        except Exception as error:
            return DayFailure(day.key.date, error, day.key.tenant)
        return record

    def load_input(self, context: dg.InputContext) -> Any:
        """Load one day, a range or a quarter as the type that the downstream function annotates.

        `pyarrow.Table` (the default), `pandas.DataFrame`, or a lazy `duckdb.DuckDBPyRelation`; columns as in
        `schemas`, sorted by date; times are UTC. Days that are not in the lake are left out of a range with a warning.
        Raises `NotFoundError` if a single day is not there, `ConfigurationError` if the days are of several tenants.
        """
        service, dataset = context.asset_key.path
        object_keys = self._present(context, service, dataset)
        annotation = context.dagster_type.typing_type
        store = self.lake.store
        if duckdb.DuckDBPyRelation in (annotation, *get_args(annotation)):
            return lazy_relation(store, object_keys, dataset)
        days = (ownership.decode(store.get(key), key) for key in object_keys)
        tables = [schemas.conformed(day, SCHEMAS[dataset], dataset) for day in days]
        table = parquet.concat(tables, SCHEMAS[dataset])
        return table.to_pandas() if pd.DataFrame in (annotation, *get_args(annotation)) else table

    def _present(self, context: dg.InputContext, service: str, dataset: str) -> list[str]:
        """The keys of those objects of the input's days that are in the lake, in order of days."""
        grouped = by_tenant(context.asset_partition_keys)
        if len(grouped) > 1:
            raise ConfigurationError(
                f"{context.asset_key.to_user_string()} was asked for days of {len(grouped)} tenants at once: "
                "rows carry no tenant, so load one tenant at a time."
            )
        object_keys = [
            layout.day_key(dataset, service, PartitionKey(day, tenant))
            for tenant, days in grouped.items()
            for day in days
        ]
        folder = layout.tenant_prefix(dataset, service, next(iter(grouped))) if grouped else dataset
        stored_keys = {stored.key for stored in self.lake.store.list(folder)}
        present = [key for key in object_keys if key in stored_keys]
        if len(object_keys) == 1 and not present:
            raise NotFoundError(
                f"{self.lake.store.uri(object_keys[0])} is not in the lake: materialize that day first."
            )
        if absent := len(object_keys) - len(present):
            context.log.warning(f"{absent} of {len(object_keys)} days of {dataset} are not in the lake.")
        return present


def _end_beside(end: Callable[[], None], raised: BaseException, context: dg.OutputContext) -> None:
    """Save provenance and clear the journal of a step that is about to fail with `raised`, which no error may hide.

    An error is logged and attached. The journal then keeps the entries, and housekeeping saves them.
    """
    try:
        end()
    except Exception as error:
        said = f"the provenance of this step was not saved: {type(error).__name__}: {error}"
        context.log.error(f"{said} Its journal keeps it until housekeeping saves it.")
        raised.add_note(said)
        if isinstance(raised, dg.Failure):
            raised.metadata = {**raised.metadata, "provenance": dg.MetadataValue.text(said)}


def journal_of(run: dg.DagsterRun, store: ObjectStore, asset_key: dg.AssetKey) -> Journal:
    """The journal of this run and asset; a retry has that of the run that it retries."""
    return Journal(store, run.root_run_id or run.run_id, asset_key.to_user_string())


def lazy_relation(store: ObjectStore, keys: list[str], dataset: str) -> duckdb.DuckDBPyRelation:
    """A lazy relation over Parquet objects of the lake: they are read when it is used."""
    connection = duckdb.connect()
    if not keys:
        return connection.from_arrow(SCHEMAS[dataset].empty_table())
    store.register(connection)
    mixed = dataset in schemas.SINCE
    relation = connection.read_parquet([store.uri(key) for key in keys], union_by_name=mixed)
    return _with_nulls(connection, relation, SCHEMAS[dataset]) if mixed else relation


def _with_nulls(
    connection: duckdb.DuckDBPyConnection, relation: duckdb.DuckDBPyRelation, schema: pa.Schema
) -> duckdb.DuckDBPyRelation:
    """Add the columns of `schema` that are newer than all files of the relation, as nulls."""
    empty = connection.from_arrow(schema.empty_table())
    types = zip(empty.columns, empty.types, strict=True)
    absent = [f'NULL::{kind} AS "{name}"' for name, kind in types if name not in relation.columns]
    return relation.project(", ".join(["*", *absent]))


def failure(stream: DayStream, asset: dg.AssetKey, from_backfill: bool) -> dg.Failure:
    """The failure that ends a step with bad days: the days, the reasons, and the commands that finish the rest."""
    failed = sorted(stream.failures, key=lambda f: f.key)
    total = len(failed) + len(stream.records)
    lines = [f"{f.key}: {type(f.error).__name__}: {f.error}" for f in failed]
    parts = [f"{len(failed)} of {total} days failed; the other {len(stream.records)} are in the lake.", *lines[:20]]
    if len(lines) > 20:
        parts.append(f"... and {len(lines) - 20} more")
    if not from_backfill:
        parts.append("When the cause is gone, these commands finish the rest:")
        parts += _commands(stream, asset)
    table = "\n".join(["| day | error |", "|---|---|", *(f"| {f.key} | {_cell(f.error)} |" for f in failed)])
    return dg.Failure(
        description="\n".join(parts),
        metadata={
            "failed_days": dg.MetadataValue.md(table),
            "reasons": {str(f.key): f"{type(f.error).__name__}: {f.error}" for f in failed},
            "days_failed": len(failed),
            "days_total": total,
        },
        allow_retries=False,
    )


def _cell(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("|", "\\|").replace("\n", " ")


def _commands(stream: DayStream, asset: dg.AssetKey) -> list[str]:
    """`dagster asset materialize` for the failed days, and for the refined days of the good ones."""
    service, dataset = asset.path
    refined = f"{service}/{layout.REFINED_15M}"
    both = (
        f"{service}/{layout.RAW_OBSERVATIONS},{refined}"
        if dataset == layout.RAW_OBSERVATIONS
        else asset.to_user_string()
    )
    commands = [_command(both, run) for run in _consecutive([f.key for f in stream.failures])]
    if dataset == layout.RAW_OBSERVATIONS:
        commands += [_command(refined, run) for run in _consecutive([r.key for r in stream.records])]
    return commands


def _command(selection: str, run: list[PartitionKey]) -> str:
    span = f"--partition '{run[0]}'" if len(run) == 1 else f"--partition-range '{run[0]}...{run[-1]}'"
    return f"  dagster asset materialize -m weather_backfill.definitions_single_run --select {selection} {span}"


def _consecutive(keys: list[PartitionKey]) -> list[list[PartitionKey]]:
    runs: list[list[PartitionKey]] = []
    for key in sorted(keys, key=lambda k: (k.tenant, k.date)):
        last = runs[-1][-1] if runs else None
        if last and last.tenant == key.tenant and (key.date - last.date).days == 1:
            runs[-1].append(key)
        else:
            runs.append([key])
    return runs
