"""What of Dagster is used that it does not promise to keep: one room, to look into when Dagster is upgraded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "BACKFILL_ID_TAG",
    "BULK_ACTION_TERMINAL_STATUSES",
    "DATA_VERSION_IS_USER_PROVIDED_TAG",
    "DATA_VERSION_TAG",
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
    "get_and_update_asset_status_cache_value",
    "get_current_timestamp",
    "webserver_command",
]


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
