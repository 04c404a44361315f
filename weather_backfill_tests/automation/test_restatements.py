"""The restatement sensor: one run a tenant and day, and a broken tenant costs nobody else."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from weather_backfill.backfill.launch import register_tenant
from weather_backfill.backfill.records import audit_events
from weather_backfill.definitions import build_definitions, build_resources
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.sources.dwd.files import NEW_YEAR, hourly_zip, put

PATH = "hourly/air_temperature/recent/stundenwerte_TU_00001_akt.zip"
RAW = dg.AssetKey(["dwd", "raw_observations"])


def tick(platform: Platform, instance: dg.DagsterInstance) -> dg.SensorExecutionData:
    definitions = build_definitions(platform.settings)
    sensor = definitions.resolve_sensor_def("dwd_restatements")
    resources = {"tenants": build_resources(platform.settings)["tenants"]}
    with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
        return sensor.evaluate_tick(context)


def test_one_run_a_tenant_and_day_and_bad_tenants_are_left_out(local_platform: Platform) -> None:
    platform = local_platform
    for tenant in ("acme", "borealis"):
        platform.add_dwd(tenant, stations=["00433"])
    platform.add_dwd("resting", stations=["00433"], enabled=False)
    (platform.folder / "tenants" / "broken.yaml").write_text("id: broken\nservices: [1]\n")
    with platform.instance as instance:
        register_tenant(instance, "dwd", "broken")
        today = datetime.now(UTC).date()
        for _ in range(2):
            found = tick(platform, instance)
            assert [r.run_key for r in found.run_requests or ()] == [f"acme/{today}", f"borealis/{today}"]


def test_without_tenants_it_says_so(local_platform: Platform) -> None:
    with local_platform.instance as instance:
        found = tick(local_platform, instance)
    assert not found.run_requests
    assert found.skip_message


def test_the_run_backfills_restated_days_once(local_platform: Platform) -> None:
    platform, root = local_platform, local_platform.folder / "tree"
    put(root, PATH, hourly_zip(1, NEW_YEAR, [1.0] * 72))
    platform.add_dwd("acme", base_url=root.as_uri(), stations=["00001"])
    definitions = build_definitions(platform.settings)
    days = ("2020-01-01|acme", "2020-01-02|acme", "2020-01-03|acme")
    with platform.instance as instance:
        for day in days:
            job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={RAW})
            assert job.execute_in_process(instance=instance, partition_key=dg.MultiPartitionKey(
                {"date": day[:10], "tenant": "acme"})).success  # fmt: skip
        put(root, PATH, hourly_zip(1, NEW_YEAR, [1.0] * 30 + [2.0] + [1.0] * 41))
        config = {"ops": {"compare_with_upstream": {"config": {"tenant": "acme"}}}}
        for _ in range(2):
            assert definitions.resolve_job_def("dwd_restatements").execute_in_process(config, instance).success
        [backfill] = instance.get_backfills()
        data = backfill.asset_backfill_data
        assert data is not None
        targeted = data.target_subset.get_partitions_subset(RAW).get_partition_keys()
        assert list(targeted) == ["2020-01-02|acme"]
        assert backfill.title == "dwd of acme: restated days (1)"
    [event] = audit_events(platform.lake)
    assert (event["action"], event["backfill_id"]) == ("start", backfill.backfill_id)
    assert event["parameters"]["days"] == ["2020-01-02"]
