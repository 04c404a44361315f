"""Station history: the stations' past by the service's own metadata, one type-2 table a tenant.

Partitioned by tenant alone: the history is made from whole metadata files, so there is no day to make it for, and
one tenant's broken connection must not cost another's table.
"""

# No `from __future__ import annotations`: Dagster resolves an asset's annotations where it is defined.

from collections.abc import Callable, Collection

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from weather_backfill.backfill.context import claim_lake
from weather_backfill.dagster.asset_attributes import lake_asset_attributes
from weather_backfill.dagster.assets.streaming import selected_partitions
from weather_backfill.dagster.events import partition_row_counts, uri_of
from weather_backfill.dagster.partitions import tenants_partitions
from weather_backfill.dagster.resources import LakeResource, TenantsResource
from weather_backfill.lake import layout, ownership, parquet, provenance
from weather_backfill.model.errors import SourceUnavailableError
from weather_backfill.model.schemas import STATION_HISTORY
from weather_backfill.settings import Settings
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore, Seen
from weather_backfill.tenants.access import open_source


def build_station_history(service: str, settings: Settings) -> dg.AssetsDefinition:
    """The asset `<service>/station_history`; columns as in `sources/dwd/history.py`."""

    @dg.asset(
        key=dg.AssetKey([service, layout.STATION_HISTORY]),
        partitions_def=tenants_partitions(service),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        group_name=service,
        kinds={"parquet"},
        pool=f"{service}_source",
        description="Name, position, height, instruments and operator of every station, by the days they held.",
        **lake_asset_attributes(service, layout.STATION_HISTORY, settings),
    )
    def station_history(
        context: dg.AssetExecutionContext, lake: LakeResource, tenants: TenantsResource
    ) -> dg.MaterializeResult:
        selected_partitions(context)
        claim_lake(context.instance, lake.store)
        tenant = context.partition_key
        connected = tenants.registry.get(tenant)
        with open_source(connected, service, lake.store, tenants.s3_defaults, settings) as source:
            read: Callable[[], tuple[pa.Table, dict[str, str]]] = source.station_history  # type: ignore[attr-defined]
            history, failed = read()
        if failed:
            context.log.warning(f"{len(failed)} stations could not be read: {failed}")
        table = write_history(lake.store, service, tenant, history, failed, context.run_id)
        uri = lake.store.uri(layout.tenant_key(layout.STATION_HISTORY, service, tenant))
        return dg.MaterializeResult(
            metadata={
                **partition_row_counts(table.num_rows),
                "dagster/uri": uri_of(uri),
                "stations": len(pc.unique(table["station_id"])),
                "stations_not_read": failed,
                "path": dg.MetadataValue.path(uri),
            }
        )

    return station_history


def write_history(
    store: ObjectStore,
    service: str,
    tenant: str,
    history: pa.Table,
    failed: Collection[str] = (),
    run_id: str | None = None,
) -> pa.Table:
    """Write a tenant's history and return it; stations that could not be read keep their rows of before.

    A writer whose table was replaced meanwhile starts over with the new one. Raises `SourceUnavailableError` if no
    station could be read, and then writes nothing.
    """
    if failed and not history.num_rows:
        raise SourceUnavailableError(f"no station's metadata could be read: {', '.join(sorted(failed)[:10])}")
    key = layout.tenant_key(layout.STATION_HISTORY, service, tenant)

    def write() -> tuple[pa.Table, provenance.ProvenanceEntry, str]:
        with conditional.exclusive(store, key) as held:
            seen = held.look()
            kept = _rows_of(seen, key, failed)
            table = pa.concat_tables([history.cast(STATION_HISTORY), kept])
            table = table.sort_by([("station_id", "ascending"), ("valid_from", "ascending")])
            file = parquet.encode(table, ownership.owner_of_tenant(service, tenant))
            return table, provenance.entry(held.put(file.data, seen), file, run_id), file.sha256

    table, entry, sha256 = conditional.started_over(write)
    provenance.save(store, f"{run_id or sha256}.{service}.{layout.STATION_HISTORY}.{tenant}", [entry])
    return table


def _rows_of(seen: Seen | None, key: str, stations: Collection[str]) -> pa.Table:
    if seen is None or not stations:
        return STATION_HISTORY.empty_table()
    stored = ownership.decode(seen.data, key).cast(STATION_HISTORY)
    return stored.filter(pc.is_in(stored["station_id"], pa.array(sorted(stations), pa.string())))
