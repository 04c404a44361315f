"""`weather-backfill tenants add`: one service after another into one file, and nothing written that is wrong."""

from __future__ import annotations

import json

from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.platform import Platform


def test_services_are_added_one_after_another(local_platform: Platform) -> None:
    platform = local_platform
    add = ("weather-backfill", "tenants", "add", "acme")
    platform.run(*add, "--tempest", "archive")
    platform.run(*add, "--dwd-stations", "433,01048", "--dwd-products", "air_temperature,wind")
    services = TenantRegistry(open_tenant_files(platform.settings)).get("acme").services
    assert services.tempest is not None
    assert services.tempest.archive_url == str(platform.folder / "archive"), "the daemon runs in another folder"
    assert services.dwd is not None
    assert services.dwd.stations == ("00433", "01048")
    assert services.dwd.products == ("air_temperature", "wind")
    with platform.instance as instance:
        assert instance.get_dynamic_partitions("dwd_tenants") == ["acme"]
        assert instance.get_dynamic_partitions("tempest_tenants") == ["acme"]
    for wrong in (("--dwd-stations", "00433", "--dwd-products", "nonsense"), ("--dwd-stations", "x"), ()):
        done = platform.run(*add, *wrong, check=False)
        assert done.returncode == 2
        assert "error:" in done.stderr
        assert "Traceback" not in done.stderr
    assert TenantRegistry(open_tenant_files(platform.settings)).get("acme").services == services
    platform.run(*add, "--dwd-stations", "433", "--dwd-base-url", "mirror")
    mirrored = TenantRegistry(open_tenant_files(platform.settings)).get("acme").services.dwd
    assert mirrored is not None
    assert mirrored.base_url == (platform.folder / "mirror").as_uri()


def test_a_refusal_is_in_the_log_of_its_backfill(local_platform: Platform) -> None:
    assert local_platform.run("weather-backfill", "cancel", "nothing-1", check=False).returncode == 2
    [event] = json.loads(local_platform.run("weather-backfill", "log", "--json").stdout)
    assert (event["action"], event["backfill_id"]) == ("cancel", "nothing-1")
    assert event["outcome"].startswith("refused: ")
