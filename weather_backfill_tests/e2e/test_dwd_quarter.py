"""Real DWD files through `dagster asset materialize` to features, history and the warehouse, and read back."""

from __future__ import annotations

from datetime import date

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

import weather_backfill
from weather_backfill.backfill.launch import register_tenant
from weather_backfill.reader import connect_warehouse
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.products import product
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.e2e.test_command_line import materialize
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.sources.dwd.files import DWD, member, needs_data, tree, truth

STATIONS = ("00078", "00096", "03379")
QUARTER = date(2019, 10, 1)


def add_dwd(platform: Platform, tenant: str) -> None:
    connection = DwdConnection(base_url=tree("2020-03-27"), stations=STATIONS)
    TenantRegistry(open_tenant_files(platform.settings)).put(Tenant(id=tenant, services=Services(dwd=connection)))
    with platform.instance as instance:
        register_tenant(instance, "dwd", tenant)


@pytest.mark.long
@needs_data
@pytest.mark.timeout(600)
def test_a_quarter_of_real_stations(local_platform: Platform) -> None:
    platform = local_platform
    add_dwd(platform, "acme")
    span = "2019-10-01|acme...2019-12-31|acme"
    materialize(platform, "dwd/raw_observations,dwd/refined_15m", "--partition-range", span)
    materialize(platform, "dwd/station_history", "--partition", "acme")
    materialize(platform, "dwd/quarterly_features", "--partition", "2019-10-01|acme")
    materialize(platform, "warehouse")
    assert platform.materialized("quarterly_features", "acme", "dwd") == {QUARTER}
    with platform.instance as instance:
        check = dg.AssetCheckKey(dg.AssetKey(["dwd", "quarterly_features"]), "product_alignment")
        (record,) = instance.event_log_storage.get_asset_check_execution_history(check, limit=2)
        assert record.status is AssetCheckExecutionRecordStatus.SUCCEEDED
    with connect_warehouse(settings=platform.settings) as warehouse:
        features = warehouse.sql("FROM quarterly_features ORDER BY station_id").df().set_index("station_id")
        assert warehouse.sql("SELECT count(*) FROM dataset_versions").fetchall() == [(2 * 92 + 2,)]
    held = 0
    for station in STATIONS:
        temperature, humidity = of_the_quarter(station)
        if len(temperature) < 0.75 * 92 * 24:
            assert station not in features.index or np.isnan(features.loc[station, "temperature_mean"])
            continue
        held += 1
        row = features.loc[station]
        days = temperature.groupby(temperature.index.date)
        assert row["temperature_mean"] == pytest.approx(temperature.mean())
        assert (row["temperature_minimum"], row["temperature_maximum"]) == (temperature.min(), temperature.max())
        assert row["frost_days"] == (days.min() < 0).sum()
        assert row["frost_hours"] == (temperature < 0).sum()
        assert row["humidity_mean"] == pytest.approx(humidity.mean())
        assert row["temperature_completeness"] == pytest.approx(len(temperature) / (92 * 24))
        assert 47 < row["latitude"] < 55.1
        assert row["station_name"]
        assert np.isnan(row["precipitation_total"])
    assert held >= 2
    frame = weather_backfill.read_refined(
        tenant="acme", service="dwd", start=QUARTER, end="2019-12-31", metrics=["air_temperature"],
        settings=platform.settings,
    )  # fmt: skip
    assert frame["sample_count"].sum() == sum(len(of_the_quarter(station)[0]) for station in STATIONS)


def of_the_quarter(station: str) -> tuple[pd.Series, pd.Series]:
    """A station's temperature and humidity of the quarter, read from its zip by pandas alone."""
    path = DWD / f"cdc-2020-03-27/hourly/air_temperature/recent/stundenwerte_TU_{station}_akt.zip"
    if not path.is_file():
        return pd.Series(dtype=float), pd.Series(dtype=float)
    columns = {"TT_TU": "air_temperature", "RF_TU": "relative_humidity"}
    assert columns.items() <= {k: c.metric for k, c in product("hourly", "air_temperature").columns.items()}.items()
    rows = truth(member(path), columns, "QN_9").dropna(subset="value")
    rows = rows[(rows.observed_at >= "2019-10-01T00Z") & (rows.observed_at < "2020-01-01T00Z")]
    parts = [rows[rows.metric == metric].set_index("observed_at")["value"] for metric in columns.values()]
    return parts[0], parts[1]
