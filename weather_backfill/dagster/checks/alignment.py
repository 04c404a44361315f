"""The product alignment check: do the products of a station cover the same quarters?"""

from collections.abc import Iterator

import dagster as dg
import pandas as pd
import pyarrow as pa

from weather_backfill.dagster.resources import LakeResource
from weather_backfill.lake import layout, listing, ownership
from weather_backfill.refine.features import PRODUCTS
from weather_backfill.refine.rules import COMPLETE_SHARE
from weather_backfill.storage.object_store import ObjectStore

NAMED = 200  # rows of the metadata's table; the counts are of all


def build_alignment_check(service: str) -> dg.AssetChecksDefinition:
    """The check `product_alignment` of `<service>/quarterly_features`; warns, and names stations and quarters."""

    @dg.asset_check(
        asset=dg.AssetKey([service, layout.QUARTERLY_FEATURES]),
        name="product_alignment",
        description="Where one product of a station covers a quarter, the tenant's other products cover it too",
    )
    def product_alignment(lake: LakeResource) -> dg.AssetCheckResult:
        rows = [row for tenant, table in _by_tenant(lake.store, service) for row in misaligned(tenant, table)]
        stations = {(row["tenant"], row["station_id"]) for row in rows}
        quarters = {(row["tenant"], row["quarter"]) for row in rows}
        extent = f"{len(rows)} station quarters of {len(stations)} stations in {len(quarters)} quarters"
        records = [dg.TableRecord(row) for row in rows[:NAMED]]
        return dg.AssetCheckResult(
            passed=not rows,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{extent} lack a product that others cover" if rows else "products cover the same quarters",
            metadata={
                "misaligned": len(rows),
                **({"stations_and_quarters": dg.MetadataValue.table(records)} if records else {}),
            },
        )

    return product_alignment


def misaligned(tenant: str, features: pa.Table) -> list[dict[str, str | bool]]:
    """The stations and quarters that one product covers (75 % of its slots) and another does not.

    A product counts once any of the tenant's stations has it in any quarter. Rows: tenant, station_id, quarter,
    covered and not_covered (product names), and `ever`: true if the station has all those missing in another quarter.
    """
    names = [f"{product}_completeness" for product in PRODUCTS]
    shares = features.select(["station_id", "quarter_start", *names]).to_pandas()
    shares = shares.astype({"station_id": str}).sort_values(["station_id", "quarter_start"])
    shares = shares.rename(columns=dict(zip(names, PRODUCTS, strict=True)))
    present = [product for product in PRODUCTS if (shares[product] > 0).any()]
    covers = shares[present] >= COMPLETE_SHARE
    ever = covers.groupby(shares["station_id"]).transform("any")
    return [
        {
            "tenant": tenant,
            "station_id": shares["station_id"][row],
            "quarter": shares["quarter_start"][row].isoformat(),
            "covered": ", ".join(_names(covers.loc[row])),
            "not_covered": ", ".join(_names(~covers.loc[row])),
            "ever": bool((ever.loc[row] | covers.loc[row]).all()),
        }
        for row in shares.index[covers.any(axis=1) & ~covers.all(axis=1)]
    ]


def _names(flags: pd.Series) -> list[str]:
    return [str(name) for name, flag in flags.items() if flag]


def _by_tenant(store: ObjectStore, service: str) -> Iterator[tuple[str, pa.Table]]:
    """The tenants in the lake, each with the table of all its quarters."""
    for tenant in listing.tenants(store, layout.QUARTERLY_FEATURES, service):
        quarters = listing.day_objects(store, layout.QUARTERLY_FEATURES, service, tenant)
        keys = [quarters[day].key for day in sorted(quarters)]
        tables = []
        for key, data in store.read_many(keys):
            if not isinstance(data, bytes):
                raise data
            tables.append(ownership.decode(data, key))
        if tables:
            yield tenant, pa.concat_tables(tables).unify_dictionaries()
