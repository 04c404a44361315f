"""The restatement sensor: one run a tenant and day, and a broken tenant costs nobody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import launch_backfill, register_tenant
from weather_backfill.backfill.manifests import load_manifest, manifests
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.backfill.restatements import find_restatements, launch_restatements
from weather_backfill.backfill.status import status_of
from weather_backfill.definitions import build_definitions, build_resources
from weather_backfill_tests.backfill.contexts import finish
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
        desk = BackfillContext(instance, definitions, platform.settings.model_copy(update={"max_active_backfills": 1}))
        register_tenant(instance, "dwd", "other")
        launch_backfill(
            instance, definitions, backfill_id="active", service="dwd", tenant="other", days=[NEW_YEAR.date()]
        )  # fmt: skip
        for _ in range(2):
            assert definitions.resolve_job_def("dwd_restatements").execute_in_process(config, instance).success
        onboard(desk, date(2020, 1, 5))
        assert [b.backfill_id for b in instance.get_backfills()] == ["active"], "as many as may be active"
        finish(desk)
        onboard(desk, date(2020, 1, 5))
        [backfill] = [b for b in instance.get_backfills() if b.backfill_id != "active"]
        data = backfill.asset_backfill_data
        assert data is not None
        targeted = data.target_subset.get_partitions_subset(RAW).get_partition_keys()
        assert list(targeted) == ["2020-01-02|acme"]
        [name] = [m.backfill_id for m in manifests(desk.store) if m.backfill_id.startswith("restated-")]
        assert status_of(instance, desk.graph, desk.store, name).status == "running"
        found = find_restatements(platform.settings, "dwd", "acme")
        assert launch_restatements(desk, found) == name, "asked again, it is the same one"
        again = replace(found, found=replace(found.found, changed_files={"another": "file"}))
        assert launch_restatements(desk, again) is None, "another backfill is at the day"
        [changes] = found.found.days.values()
        more = {NEW_YEAR.date() + timedelta(days=number): changes for number in (1, -4000, -3999)}
        rest = launch_restatements(desk, replace(found, found=replace(found.found, days=more)))
        assert rest not in (None, name), "what the first is not at is a backfill of its own"
        manifest = load_manifest(desk.store, str(rest))
        assert manifest
        assert [str(day) for day in manifest.plan.days] == ["2009-01-18", "2009-01-19"]
