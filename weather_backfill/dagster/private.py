"""All uses of Dagster internals, which a Dagster release may change without notice; review on every Dagster upgrade.

Names that Dagster does not export are imported here and nowhere else. Attributes that it does not document are read
and set by the functions below. `weather_backfill_tests/dagster/test_private.py` runs each of them and names the one
that an upgrade has taken away.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import DagsterEvent
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.data_version import DATA_VERSION_IS_USER_PROVIDED_TAG, DATA_VERSION_TAG
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionsFilter,
    BulkActionStatus,
    PartitionBackfill,
)
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    RETRY_NUMBER_TAG,
    WILL_RETRY_TAG,
)
from dagster._time import get_current_timestamp

if TYPE_CHECKING:
    import click
    from dagster._core.execution.context.system import StepExecutionContext

DAEMON_MODULE = "dagster._daemon"
"""Run with `python -m`, it is the `dagster-daemon` of this interpreter, whatever stands first in the path."""
_TICK = "DEFAULT_DAEMON_INTERVAL_SECONDS"
EMBEDDED_STORAGE = "dagster._core."
"""What the module of every storage starts with that Dagster itself brings: files below the instance's home."""

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "BACKFILL_ID_TAG",
    "BULK_ACTION_TERMINAL_STATUSES",
    "DAEMON_MODULE",
    "DATA_VERSION_IS_USER_PROVIDED_TAG",
    "DATA_VERSION_TAG",
    "EMBEDDED_STORAGE",
    "INDEX_SHARD_NAME",
    "PARTITION_NAME_TAG",
    "PRIORITY_TAG",
    "RETRY_NUMBER_TAG",
    "WILL_RETRY_TAG",
    "AssetGraphSubset",
    "AssetKeyPartitionKey",
    "BulkActionStatus",
    "BulkActionsFilter",
    "DefaultPartitionsSubset",
    "InstanceRef",
    "PartitionBackfill",
    "SqlRunStorage",
    "SqliteEventLogStorage",
    "WorkerStatus",
    "add_partition_metadata",
    "check_event",
    "get_and_update_asset_status_cache_value",
    "get_current_timestamp",
    "installation_id",
    "instance_of_coordinator",
    "materialization_event",
    "set_data_version",
    "sort_partitions",
    "step_of",
    "webserver_command",
]


class _Sorted(frozenset[str]):
    """Partition keys that are iterated in order: by date, as our keys begin with it."""

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(super().__iter__()))


def step_of(context: dg.OutputContext) -> StepExecutionContext:
    """The step that hands its output to an IO manager: its run, its instance and its events."""
    return context.step_context


def add_partition_metadata(
    step: StepExecutionContext, asset: dg.AssetKey, metadata: Mapping[str, Mapping[str, Any]]
) -> None:
    """Set the metadata, by partition key, for the materializations that Dagster records when the step succeeds.

    The documented `add_asset_metadata` lists the run's whole range at every call to check that the partition is in
    it: 9 of 95 s for 550 days of one tenant. The caller guarantees here that each key is one of the run's partitions.
    """
    accumulated = step._metadata_accumulator
    for partition, values in metadata.items():
        accumulated = accumulated.with_additional_asset_metadata(asset, partition, values)
    step._metadata_accumulator = accumulated


def set_data_version(step: StepExecutionContext, asset: dg.AssetKey, version: str) -> None:
    """Set the one data version that Dagster gives all partitions of an asset that it records for this step."""
    step.set_data_version(asset, dg.DataVersion(version))


def sort_partitions(context: dg.OutputContext) -> None:
    """Make Dagster record the partitions of a step in order of their keys; it would in the order of a set.

    The backfill daemon polls while they are recorded and launches the downstream runs of those it sees: 126 runs of
    a few days for a year, where two are enough if the days come in order.
    """
    subset = context._asset_partitions_subset
    if subset is not None:
        context._asset_partitions_subset = DefaultPartitionsSubset(_Sorted(subset.get_partition_keys()))


def materialization_event(step: StepExecutionContext, materialization: dg.AssetMaterialization) -> DagsterEvent:
    """A materialization as an event of the step."""
    return DagsterEvent.asset_materialization(step, materialization)


def check_event(step: StepExecutionContext, evaluation: dg.AssetCheckEvaluation) -> DagsterEvent:
    """The evaluation of an asset check as an event of the step."""
    return DagsterEvent.asset_check_evaluation(step, evaluation)


def instance_of_coordinator(coordinator: dg.QueuedRunCoordinator) -> dg.DagsterInstance:
    """The instance that a run coordinator works for."""
    return coordinator._instance


def installation_id(instance: dg.DagsterInstance) -> str:
    """The id of an instance, the same in all its processes: its run storage makes it once and keeps it.

    Two processes that make it at the same moment store two; all later looks see the first, so it is looked at twice.
    """
    storage = instance.run_storage
    storage.get_run_storage_id()  # type: ignore[attr-defined]  # of every storage in SQL
    return str(storage.get_run_storage_id())  # type: ignore[attr-defined]


def set_backfill_tick_seconds(seconds: int) -> None:
    """Set how often the backfill daemon of this process looks at its backfills; it reads that when its thread starts.

    The daemon's controller makes the run coordinator before any of its threads. The same constant is the asset daemon's
    pause before it looks at conditions that belong to no sensor; ours all belong to one.
    """
    controller = sys.modules.get("dagster._daemon.controller")  # no other process has it, or needs it
    if isinstance(getattr(controller, _TICK, None), int):  # else a Dagster that keeps it elsewhere: its own pace
        setattr(controller, _TICK, seconds)


def webserver_command(serve: Callable[..., None]) -> click.Command:
    """Build the command `dagster-webserver`, with its options, whose app is handed to `serve` and not to uvicorn.

    `serve(app, host, port, log_level=...)`; the port is None where none is named. What Dagster needs for it is imported
    here, for only the webserver's process needs GraphQL's schema. An option that a later Dagster adds is refused by
    `assert_no_remaining_opts`, not passed over.
    """
    import click
    from dagster_webserver.cli import dagster_webserver

    def run(**options: Any) -> None:
        _run_webserver(serve, options)

    return click.Command("webserver", params=dagster_webserver.params, callback=run, help=_WEBSERVER_HELP)


_WEBSERVER_HELP = """Dagster's webserver, which answers its own host and pages alone (docs/security.md).

Example: weather-backfill webserver -m weather_backfill.definitions -p 3001"""


def _run_webserver(serve: Callable[..., None], options: dict[str, Any]) -> None:
    """Open instance and workspace as `dagster-webserver` does, and serve its app; without its telemetry."""
    import logging
    import os
    from contextlib import ExitStack

    from dagster._cli.utils import assert_no_remaining_opts, get_possibly_temporary_instance_for_cli
    from dagster._cli.workspace.cli_target import WorkspaceOpts, workspace_opts_to_load_target
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._serdes import deserialize_value
    from dagster._utils.interrupts import setup_interrupt_handlers
    from dagster._utils.log import configure_loggers
    from dagster_shared.ipc import interrupt_on_ipc_shutdown_message
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    take = options.pop
    host, port, prefix, rate = take("host"), take("port"), take("path_prefix"), take("live_data_poll_rate")
    database = [take(name) for name in ("db_statement_timeout", "db_pool_recycle", "db_pool_max_overflow")]
    read_only, log_level, pipe = take("read_only"), take("uvicorn_log_level"), take("shutdown_pipe")
    if take("suppress_warnings"):
        os.environ["PYTHONWARNINGS"] = "ignore"
    configure_loggers(formatter=take("log_format"), log_level=take("dagster_log_level").upper())
    code_server_log_level, ref = take("code_server_log_level"), take("instance_ref")
    target = WorkspaceOpts.extract_from_cli_options(options)
    assert_no_remaining_opts(options)
    setup_interrupt_handlers()
    with ExitStack() as stack:
        if pipe:
            stack.enter_context(interrupt_on_ipc_shutdown_message(pipe))
        instance = stack.enter_context(
            get_possibly_temporary_instance_for_cli(
                cli_command="weather-backfill webserver",
                instance_ref=deserialize_value(ref, InstanceRef) if ref else None,
                logger=logging.getLogger("dagster-webserver"),
            )
        )
        instance.optimize_for_webserver(*database)
        workspace = stack.enter_context(
            WorkspaceProcessContext(
                instance,
                version=__version__,
                read_only=read_only,
                workspace_load_target=workspace_opts_to_load_target(target),
                code_server_log_level=code_server_log_level,
            )
        )
        serve(create_app_from_workspace_process_context(workspace, prefix, rate), host, port, log_level=log_level)
