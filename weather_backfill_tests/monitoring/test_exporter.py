"""The exporter under a real Prometheus during a real backfill, the rules under promtool, the counters across deaths."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import launch_backfill
from weather_backfill.dagster.private import BULK_ACTION_TERMINAL_STATUSES
from weather_backfill.definitions import build_definitions
from weather_backfill.http.circuit_breaker import Breaker, BreakerRules, breaker_scope
from weather_backfill.http.rate_limit import Limiter, Rate, limit_scope
from weather_backfill.http.shared_state import open_state
from weather_backfill.model.partitions import days_between
from weather_backfill.monitoring.counters import Counters
from weather_backfill.monitoring.exporter import PlatformCollector, registry_of
from weather_backfill.sources.tempest.simulate import Faults
from weather_backfill_tests.platform import PROJECT, START, Platform
from weather_backfill_tests.servers import free_port, process, until

MONITORING = PROJECT / "deploy" / "monitoring"
# Nothing of these happens in a small backfill of Tempest archives: nobody waits for a limit, no request is repeated.
WITHOUT_DATA = ("weather_backfill_limiter_wait_seconds_total", "weather_backfill_retries_total")
RAW = dg.AssetKey(["tempest", "raw_observations"])


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: Debian has it in the package prometheus")
    return path


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=MONITORING, capture_output=True, text=True, timeout=60
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_rules_and_config() -> None:
    assert "SUCCESS: 8 rules found" in promtool("check", "rules", "rules.yml")
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def queries() -> list[str]:
    """Every query of the dashboard, for all services and tenants."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return [query.replace("$service", ".*").replace("$tenant", ".*") for query in found]


def rules() -> list[str]:
    import yaml

    document = yaml.safe_load((MONITORING / "rules.yml").read_text())
    return [rule["expr"] for group in document["groups"] for rule in group["rules"]]


@contextmanager
def exporter(platform: Platform, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(Path(sys.executable).parent / "weather-backfill"), "metrics", "--serve", "--port", str(port)]
    with process(command, platform.environment, platform.folder / "exporter.log") as running:
        until(lambda: scrape(port), 60)
        yield running


def scrape(port: int) -> str:
    try:
        return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text
    except requests.ConnectionError:
        return ""


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """A real Prometheus with our configuration, quicker; its URL."""
    port = free_port()
    config = (MONITORING / "prometheus.yml").read_text().replace("127.0.0.1:9464", f"127.0.0.1:{target}")
    (folder / "prometheus.yml").write_text(config.replace("15s", "1s"))
    shutil.copy(MONITORING / "rules.yml", folder)
    command = [
        program("prometheus"), "--config.file=prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with process(["env", "-C", str(folder), *command], {}, folder / "prometheus.log"):
        url = f"http://127.0.0.1:{port}"
        until(lambda: _ready(url), 60)
        yield url


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/-/ready", timeout=2).ok
    except requests.ConnectionError:
        return False


def ask(url: str, query: str) -> list[Any]:
    answer = requests.get(f"{url}/api/v1/query", params={"query": query}, timeout=20).json()
    assert answer["status"] == "success", f"{query}: {answer}"
    found: list[Any] = answer["data"]["result"]
    return found


def materialize(platform: Platform, instance: dg.DagsterInstance, day: date, tenant: str = "acme") -> None:
    assert platform.load(instance, day, tenant=tenant, assets=["raw_observations"]).success


def use_limits(platform: Platform) -> None:
    """A limit with one slot taken, and a breaker that has failed once."""
    state = open_state(str(Path(platform.environment["DAGSTER_HOME"]) / "weather_limits"))
    Limiter(state, limit_scope("aceiot", "flightdeck.example"), Rate(5), lambda _: None).acquire()
    scope = breaker_scope("aceiot", "flightdeck.example")
    Breaker(state, scope, BreakerRules(threshold=1), lambda _: None).failure("503")


@pytest.mark.timeout(420)
def test_a_real_prometheus_answers_the_dashboard_during_a_backfill(local_platform: Platform) -> None:
    program("prometheus")
    platform = local_platform
    platform.add_tempest("acme", 6, faults=Faults(corrupt_day=3))
    platform.add_tempest("borealis", 4)
    (platform.folder / "tenants" / "broken.yaml").write_text("id: broken\nservices: {nothing: {}}\n")
    use_limits(platform)
    port = free_port()
    definitions = build_definitions(platform.settings)
    with platform.instance as instance:
        from weather_backfill.alerts.reconcile import reconcile_alerts

        for tenant in ("acme", "borealis"):
            materialize(platform, instance, START, tenant)
        reconcile_alerts(BackfillContext(instance, definitions, platform.settings))
        with exporter(platform, port), prometheus(platform.folder, port) as url, platform.daemon():
            for tenant, count in (("acme", 6), ("borealis", 4)):
                days = days_between(START + timedelta(days=1), START + timedelta(days=count - 1))
                launch_backfill(
                    instance, definitions, backfill_id=f"bf-{tenant}", service="tempest", tenant=tenant, days=days
                )
            active = until(lambda: ask(url, "weather_backfill_active_backfill_days{state='target'}"), 60)
            assert {point["metric"]["tenant"]: point["value"][1] for point in active} == {"acme": "5", "borealis": "3"}
            unseen = set(queries())

            def seen() -> bool:
                """Ask what has not answered with data yet; a backfill's panels have data only while it runs."""
                unseen.difference_update([query for query in unseen if ask(url, query)])
                backfills = instance.get_backfills()
                return all(b.status in BULK_ACTION_TERMINAL_STATUSES for b in backfills)

            until(seen, 200, 0.5)
            failed = 'weather_backfill_days{tenant="acme", dataset="raw_observations", state="failed"}'
            until(lambda: [p["value"][1] for p in ask(url, failed)] == ["1"], 60, 0.5)
            until(lambda: seen() and all(any(w in query for w in WITHOUT_DATA) for query in unseen), 60, 0.5)
            for rule in rules():
                ask(url, rule)
            written = until(lambda: _complete(url), 60, 0.5)
            known = requests.get(f"{url}/api/v1/rules", timeout=20).json()["data"]["groups"][0]["rules"]
            assert [rule["health"] for rule in known] == ["ok"] * 8
    rows = sum(platform.day("raw_observations", "acme", d).num_rows for d in platform.dates("raw_observations", "acme"))
    assert written["acme"] == rows


def _complete(url: str) -> dict[str, float] | None:
    """Raw rows by tenant, when the nine good days are counted."""
    days = ask(url, 'sum(weather_backfill_days_written_total{dataset="raw_observations"})')
    if not days or float(days[0]["value"][1]) != 9:
        return None
    points = ask(url, 'weather_backfill_rows_written_total{dataset="raw_observations"}')
    return {point["metric"]["tenant"]: float(point["value"][1]) for point in points}


def samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by metric and label values."""
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


def export(platform: Platform, instance: dg.DagsterInstance) -> str:
    """One scrape of a new exporter."""
    collector = PlatformCollector(BackfillContext(instance, build_definitions(platform.settings), platform.settings))
    collector.catch_up()
    return generate_latest(registry_of(collector)).decode()


def settled(platform: Platform, instance: dg.DagsterInstance, days: int) -> dict[str, dict[tuple[str, ...], float]]:
    """A scrape that has counted so many days."""

    def counted() -> Any:
        found = samples(export(platform, instance))
        return found if sum(found["weather_backfill_days_written"].values()) >= days else None

    found: dict[str, dict[tuple[str, ...], float]] = until(counted, 30, 0.5)
    return found


def test_counters_outlive_runs_and_exporters(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_tempest("acme", 3)
    days = [START + timedelta(days=n) for n in range(3)]
    with platform.instance as instance:
        for day in days[:2]:
            materialize(platform, instance, day)
        found = settled(platform, instance, 2)["weather_backfill_rows_written"]
        [(labels, rows)] = found.items()
        assert set(labels) == {"tempest", "acme", "raw_observations"}
        assert rows == sum(platform.day("raw_observations", "acme", day).num_rows for day in days[:2])
        oldest = instance.get_runs()[-1]
        instance.delete_run(oldest.run_id)
        assert settled(platform, instance, 2)["weather_backfill_rows_written"] == found, "housekeeping takes nothing"
        materialize(platform, instance, days[2])
        more = settled(platform, instance, 3)
        assert list(more["weather_backfill_runs_ended"].values()) == [3]
        [total] = more["weather_backfill_rows_written"].values()
        assert total == rows + platform.day("raw_observations", "acme", days[2]).num_rows
        for run in instance.get_runs():
            instance.delete_run(run.run_id)
        instance.wipe_assets([RAW])
        assert settled(platform, instance, 3)["weather_backfill_rows_written"] == more["weather_backfill_rows_written"]
        materialize(platform, instance, days[0])
        settled(platform, instance, 4)


def test_records_of_a_clock_that_was_ahead_stop_no_counter_and_count_once(local_platform: Platform) -> None:
    """The exporter's clock is put back by a year: to it, all that Dagster has recorded is of the future."""
    platform = local_platform
    platform.add_tempest("acme", 2)

    def counts(counters: Counters) -> list[float]:
        while counters.advance():
            pass
        counters.save()
        return [total for name in ("days_written", "runs_ended") for _, total in counters.totals(name)]

    def put_back() -> datetime:
        return datetime.now(UTC) - timedelta(days=365)

    with platform.instance as instance:
        materialize(platform, instance, START)
        tally = Counters(instance, platform.lake, ["tempest"], put_back)
        assert [counts(tally), counts(tally)] == [[1, 1], [1, 1]]
        assert tally.snapshot.runs_until <= put_back().timestamp()
        materialize(platform, instance, START)
        later = Counters(instance, platform.lake, ["tempest"])
        until(lambda: counts(later) == [2, 2], 30, 0.5)

        later.snapshot.runs_until = (datetime.now(UTC) + timedelta(days=365)).timestamp()  # as it was stored before
        later.save()
        materialize(platform, instance, START)
        healed = Counters(instance, platform.lake, ["tempest"])
        until(lambda: counts(healed) == [3, 3], 30, 0.5)


def test_a_scrape_reads_only_what_is_new(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_tempest("acme", 2)
    with platform.instance as instance:
        materialize(platform, instance, START)
        tally = Counters(instance, platform.lake, ["tempest"])
        until(lambda: not tally.advance() and tally.snapshot.cursors, 30, 0.5)
        cursor = dict(tally.snapshot.cursors)
        before = dict(tally.snapshot.sums)
        assert not tally.advance()
        assert (tally.snapshot.cursors, tally.snapshot.sums) == (cursor, before)
        materialize(platform, instance, START)
        until(lambda: not tally.advance() and tally.snapshot.cursors != cursor, 30, 0.5)
        [days] = [total for _, total in tally.totals("days_written")]
        assert days == 2


def test_labels_are_bounded_and_a_part_that_fails_costs_only_itself(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_tempest("acme", 3)
    with platform.instance as instance:
        for n in range(3):
            materialize(platform, instance, START + timedelta(days=n))
        settings = platform.settings.model_copy(update={"limits_url": str(platform.folder)})  # a folder is no database
        collector = PlatformCollector(
            BackfillContext(instance, build_definitions(settings), settings), cache_seconds=600
        )
        collector.catch_up()
        text = generate_latest(registry_of(collector)).decode()
        families = samples(text)
        up = families["weather_backfill_exporter_part_up"]
        assert up.pop(("limits",)) == 0
        assert set(up.values()) == {1}
        assert str(START) not in text, "no label is a day"
        assert "ST-" not in text, "no label is a station"
        days = families["weather_backfill_days"]
        assert {labels: value for labels, value in days.items() if "failed" not in labels} == {
            labels: 3 for labels in days if "materialized" in labels and "raw_observations" in labels
        }
        materialize(platform, instance, START)
        again: list[str] = []
        threads = [
            threading.Thread(target=lambda: again.append(generate_latest(registry_of(collector)).decode()))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert again == [text] * 3, "a scrape is remembered"


def test_an_exporter_that_is_killed_goes_on(local_platform: Platform) -> None:
    platform = local_platform
    platform.add_tempest("acme", 1)
    with platform.instance as instance:
        materialize(platform, instance, START)
    port = free_port()
    name = "weather_backfill_rows_written_total{"
    with exporter(platform, port) as running:
        until(lambda: name in scrape(port), 40, 1)
        first = [line for line in scrape(port).splitlines() if line.startswith(name)]
        running.kill()
    with exporter(platform, port):
        assert [line for line in scrape(port).splitlines() if line.startswith(name)] == first
        taken = platform.run("weather-backfill", "metrics", "--serve", "--port", str(port), check=False)
    assert taken.returncode == 2
    assert "Choose another --port" in taken.stderr
