"""A tenant of GHCNh from asking to refined days, over the simulator in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import httpx
import pytest

from weather_backfill.backfill.launch import register_tenant
from weather_backfill.backfill.plan import build_plan
from weather_backfill.backfill.restatements import find_restatements
from weather_backfill.lake import layout, ownership
from weather_backfill.model.partitions import PartitionKey, days_between
from weather_backfill.sources.ghcnh import simulate
from weather_backfill.sources.ghcnh.connection import GhcnhConnection
from weather_backfill.sources.ghcnh.simulate_data import Network
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.platform import Platform

RAW = layout.RAW_OBSERVATIONS
Held = tuple[str, str, datetime, float | None, int]


@contextmanager
def simulated(network: Network, *options: str) -> Iterator[str]:
    """The simulator's URL."""
    command = [
        sys.executable, "-m", "weather_backfill.cli", "simulate", "ghcnh", "--start", str(network.start), "--end",
        str(network.end), "--stations", str(network.stations), "--seed", str(network.seed), "--port", "0", *options,
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
    finally:
        server.kill()
        server.wait()


def connect(platform: Platform, url: str, network: Network) -> Tenant:
    connection = GhcnhConnection.model_validate({"base_url": url, "stations": network.ids})
    tenant = Tenant(id="acme", services=Services(ghcnh=connection))
    TenantRegistry(open_tenant_files(platform.settings)).put(tenant)
    with platform.instance as instance:
        register_tenant(instance, "ghcnh", "acme")
    return tenant


def held(platform: Platform, day: date) -> list[Held]:
    key = layout.day_key(RAW, "ghcnh", PartitionKey(day, "acme"))
    rows = ownership.decode(platform.lake.get(key), key).to_pylist()
    names = ("station_id", "metric", "observed_at", "value", "interval_seconds")
    return [tuple(row[name] for name in names) for row in rows]


def truth(network: Network, days: set[date]) -> dict[date, list[Held]]:
    """The rows of some days."""
    found: dict[date, list[Held]] = {day: [] for day in days}
    for station in network.ids:
        for year in network.years():
            for value in network.year(station, year)[1]:
                day = (value.time - timedelta(seconds=value.seconds / 2)).date()
                if day in found:
                    found[day].append((station, value.metric, value.time, value.value, value.seconds))
    return {day: sorted(rows, key=lambda row: (row[0], row[1], row[2], row[4])) for day, rows in found.items()}


def set_faults(url: str, **faults: object) -> None:
    httpx.put(url.replace("/hourly", "/_faults"), json=faults).raise_for_status()


def load(platform: Platform, instance: dg.DagsterInstance, first: date, last: date) -> dg.ExecuteInProcessResult:
    return platform.load(instance, first, last, assets=(RAW, layout.REFINED_15M), service="ghcnh")


def walk(platform: Platform, network: Network, first: date, last: date) -> None:
    """Load a range over faults, lose a month, have a day rewritten."""
    lost = f"{network.ids[0]}:{last:%Y-%m}"
    rewritten = f"{network.ids[1]}:{first + timedelta(days=1)}"
    with simulated(network, "--errors", "0.1", "--cut", "0.05") as url, platform.instance as instance:
        tenant = connect(platform, url, network)
        plan = build_plan(instance, platform.settings, tenant, "ghcnh", first, last)
        years = last.year - first.year + 1
        assert plan.objects == years * network.stations
        assert plan.requests == sum(network.stations * len({d.year for d in c}) + 2 for c in plan.chunks)
        assert load(platform, instance, first, last).success
        days = days_between(first, last)
        looked_at = {*days[:: max(len(days) // 100, 1)], last}
        expected = truth(network, looked_at)
        for day in sorted(looked_at):
            assert held(platform, day) == expected[day], day
        refined = platform.lake.list(layout.tenant_prefix(layout.REFINED_15M, "ghcnh", "acme"))
        assert len(refined) == len(days)
        again = build_plan(instance, platform.settings, tenant, "ghcnh", first, last)
        assert not again.days, again.summary()
        set_faults(url, errors=0, cut=0, lost_months=[lost], rewritten=[rewritten])
        found = find_restatements(platform.settings, "ghcnh", "acme").found
        assert list(found.days) == [first + timedelta(days=1)], "just the day that was rewritten"
        assert f"has lost the month {last:%Y-%m}" in found.problems[network.ids[0]]
        refused = platform.load(instance, last, None, assets=(RAW,), service="ghcnh")
        assert not refused.success
        assert held(platform, last) == expected[last], "the lake keeps its rows"


def test_three_stations_over_the_turn_of_a_month(local_platform: Platform) -> None:
    network = Network(date(2024, 4, 26), date(2024, 8, 31), stations=3)
    walk(local_platform, network, date(2024, 4, 28), date(2024, 5, 1))


@pytest.mark.long
def test_twenty_stations_over_three_years(local_platform: Platform) -> None:
    network = Network(date(2022, 1, 1), date(2024, 12, 31), stations=20)
    walk(local_platform, network, date(2022, 1, 2), date(2024, 12, 30))


def test_the_simulator_has_its_inventory_when_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[date] = []
    network = Network(date(2024, 1, 1), date(2024, 1, 2), stations=1, seed=404)
    monkeypatch.setattr(Network, "inventory", lambda self: made.append(self.start) or b"")

    def listen(address: object) -> None:
        assert made == [network.start], "a client would wait while the files of years are counted"
        raise InterruptedError

    monkeypatch.setattr(simulate.socket, "create_server", listen)
    with pytest.raises(InterruptedError):
        simulate.serve(network)


def test_the_simulator_says_what_it_is(local_platform: Platform) -> None:
    network = Network(date(2024, 1, 1), date(2024, 1, 2), stations=1)
    with simulated(network, "--down") as url:
        assert httpx.get(f"{url}/doc/ghcnh-station-list.csv").status_code == 503
        set_faults(url, down=False)
        assert httpx.get(f"{url}/doc/ghcnh-station-list.csv").content == network.list()
    assert datetime.now(UTC).date() > network.end
