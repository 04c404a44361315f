"""What 1160759 wrote and v0.1.0 could not: writers, versions, rejects, alerts, a killed run, a tenant of DWD."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

import weather_backfill
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.upgrade.archived import (
    CANCELED,
    D1,
    D2,
    D3,
    D4,
    D5,
    D6,
    FAILED,
    KILLED,
    LOADED,
    PAUSED,
    QUEUED,
    WHOLE,
    materialize,
    span,
    weather,
)
from weather_backfill_tests.upgrade.make import unpack

pytestmark = pytest.mark.long  # several commands each
RAW, REFINED, REJECTED = "raw_observations", "refined_15m", "rejected_observations"


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    unpack("1160759", tmp_path)
    return Platform(tmp_path, str(tmp_path / "lake"))


def views(platform: Platform) -> duckdb.DuckDBPyConnection:
    """The warehouse as today's code makes it."""
    materialize(platform, "warehouse")
    return weather_backfill.connect_warehouse(settings=platform.settings)


def key(dataset: str, day: object, tenant: str = "borealis", service: str = "tempest") -> str:
    """The object of a day."""
    return f"{dataset}/service={service}/tenant={tenant}/date={day}/part.parquet"


def of_borealis(day: object) -> tuple[str, ...]:
    return "--tenant", "borealis", "--service", "tempest", "--day", str(day)


def test_objects_have_the_version_and_the_run_that_wrote_them(platform: Platform) -> None:
    """Also after the clean-up, which archives the ledger and takes over what the killed run's journal says."""

    def written() -> dict[str, tuple[str | None, str | None]]:
        with views(platform) as warehouse:
            rows = warehouse.sql("SELECT object, version, run_id FROM dataset_versions").fetchall()
        return {name.removeprefix(f"{platform.storage_url}/"): (version, run) for name, version, run in rows}

    found = written()
    datasets = [RAW, REFINED, REJECTED, "quarterly_features", "station_history"]
    held = {
        o.key: hashlib.sha256(platform.lake.get(o.key)).hexdigest()[:16]
        for d in datasets
        for o in platform.lake.list(d)
    }
    killed, by_hand = key(RAW, D4), {key(RAW, D2), key(REFINED, D2)}
    assert {name: version for name, (version, _) in found.items()} == held | {killed: None}
    with platform.instance as instance:
        runs = {run.run_id for run in instance.get_runs()}
    assert {name for name, (_, run) in found.items() if run not in runs} == {killed} | by_hand
    weather(platform, "housekeeping", "--days", "0", "--yes")
    later = written()
    assert {name: version for name, (version, _) in later.items()} == held
    assert later.items() - found.items() == {(killed, later[killed])}
    assert later[killed][1] in runs


def test_a_replaced_day_comes_back_with_its_rejects(platform: Platform) -> None:
    current, replaced = weather(platform, "versions", *of_borealis(D1))
    assert (current["current"], replaced["current"]) == (True, False)
    kept = {
        o.key.split("/")[1]: platform.lake.get(o.key) for o in platform.lake.list("_versions") if f"date={D1}" in o.key
    }
    assert kept.keys() == {RAW, REJECTED}
    assert not platform.lake.exists(key(REJECTED, D1))
    now = platform.lake.get(key(RAW, D1))
    assert weather(platform, "rollback", *of_borealis(D1), "--yes")["version"] == replaced["version"]
    assert {name: platform.lake.get(key(name, D1)) for name in kept} == kept
    weather(platform, "rollback", *of_borealis(D1), "--to", current["version"], "--yes")
    assert platform.lake.get(key(RAW, D1)) == now
    assert not platform.lake.exists(key(REJECTED, D1))
    assert weather(platform, "gaps", *span("borealis", D1, D2)) == []


def test_a_rollback_of_the_old_release_is_undone(platform: Platform) -> None:
    versions = weather(platform, "versions", *of_borealis(D2))
    shas = [version["version"].rsplit("-", 1)[-1] for version in versions]
    assert len(versions) == 3
    assert shas[0] == shas[2] != shas[1]
    weather(platform, "rollback", *of_borealis(D2), "--yes")
    assert hashlib.sha256(platform.lake.get(key(RAW, D2))).hexdigest().startswith(shas[1])


def test_nothing_is_to_be_done_for_days_that_are_done(platform: Platform) -> None:
    for span_of, days in ((span("acme", D1, D2), 2), (span("borealis", D1, D2), 2), (span("cirrus", D1, D3, "dwd"), 3)):
        plan = weather(platform, "plan", *span_of)
        assert (plan["days_total"], plan["days_in_range"]) == (0, days)
        assert weather(platform, "gaps", *span_of) == []
    assert weather(platform, "gaps", *span("borealis", D1, D6), code=1) == [
        {"day": str(D3), "reason": "missing"}, {"day": str(D4), "reason": "failed"},
        {"day": str(D5), "reason": "failed"}, {"day": str(D6), "reason": "missing"},
    ]  # fmt: skip


def test_statuses_say_how_far_each_backfill_came(platform: Platform) -> None:
    words = {row["backfill_id"]: row["status"] for row in weather(platform, "status")}
    assert words == {
        FAILED: "completed with failures", WHOLE: "completed", PAUSED: "paused", CANCELED: "canceled",
        KILLED: "running", QUEUED: "queued", LOADED: "completed",
    }  # fmt: skip
    said = {name: weather(platform, "status", name) for name in (FAILED, WHOLE, KILLED)}
    far = {name: (row["days_completed"], row["days_total"]) for name, row in said.items()}
    assert far == {FAILED: (3, 4), WHOLE: (2, 2), KILLED: (0, 2)}
    assert (said[WHOLE]["chunks_total"], said[WHOLE]["chunks_succeeded"]) == (2, 2)
    assert "cut-off.json.gz" in said[FAILED]["failed_days"][str(D3)]
    refused = [event for event in weather(platform, "log") if event["outcome"].startswith("refused")]
    assert [event["action"] for event in refused] == ["start"]


def test_alerts_are_still_open_and_told_once(platform: Platform) -> None:
    def incidents() -> dict[str, dict[str, Any]]:
        return {incident["kind"]: incident for incident in weather(platform, "alerts", code=1)}

    def told() -> set[str]:
        return {stored.key for stored in platform.lake.list("_alerts/told")}

    before, known = incidents(), told()
    assert before.keys() == {"completeness", "tenant_file"}
    assert before["completeness"]["days"].keys() == {str(D3)}
    assert "dunlin" in before["tenant_file"]["summary"]
    platform.run("dagster", "sensor", "preview", "alerts", "-m", "weather_backfill.definitions")
    assert incidents()["tenant_file"] == before["tenant_file"]
    assert {name for name in told() - known if "tenant_file" in name} == set()
    (platform.folder / "tenants" / "dunlin.yaml").unlink()
    platform.run("dagster", "sensor", "preview", "alerts", "-m", "weather_backfill.definitions")
    assert "tenant_file" not in {stored.key for stored in platform.lake.list("_alerts/open")}
    assert {name.rsplit("/", 1)[-1].split(".")[0] for name in told() - known if "tenant_file" in name} == {"resolved"}


def test_counters_go_on_from_what_was_counted(platform: Platform) -> None:
    """Also of what Dagster no longer knows."""
    raw = "days_written|tempest|acme|raw_observations"
    [stored] = platform.lake.list("_metrics")
    counted = json.loads(platform.lake.get(stored.key))
    assert counted["sums"][raw] == 3
    counted["sums"][raw] += 100
    platform.lake.put(stored.key, json.dumps(counted).encode())
    materialize(platform, "tempest/raw_observations", "--partition", f"{D1}|acme")
    said = platform.run("weather-backfill", "metrics").stdout
    labels = f'dataset="{RAW}",service="tempest",tenant="acme"'
    assert f"weather_backfill_days_written_total{{{labels}}} 104.0" in said


def test_days_of_dwd_are_read(platform: Platform) -> None:
    rows = weather_backfill.read_raw(
        tenant="cirrus", service="dwd", start=D1, end=D3, metrics=["air_temperature"], settings=platform.settings
    )
    first = rows[(rows.station_id == "00901") & (rows.observed_at.dt.date == D2)].sort_values("observed_at")
    assert [*first.value] == [float(f"{hour / 4:.1f}") for hour in range(24)]
    refined = weather_backfill.read_refined(
        tenant="cirrus", service="dwd", start=D1, end=D3, settings=platform.settings
    )
    assert set(refined.station_id) == {"00901", "00902"}
    assert {"air_temperature", "relative_humidity", "wind_speed", "wind_from_direction"} <= set(refined.metric)
    with views(platform) as warehouse:
        features = warehouse.sql(
            "SELECT station_id, temperature_mean, round(temperature_completeness, 4), station_name, "
            "height FROM quarterly_features ORDER BY ALL"
        ).fetchall()
        history = warehouse.sql("SELECT station_id, height, is_current FROM station_history ORDER BY ALL").fetchall()
        rejects = warehouse.sql("SELECT tenant, station_id, date FROM rejected_observations ORDER BY ALL").fetchall()
    assert features == [(s, None, 0.033, f"Musterstadt-{s}", 120.0) for s in ("00901", "00902")]
    assert history == [(s, height, height > 100) for s in ("00901", "00902") for height in (100.0, 120.0)]
    assert rejects == [("cirrus", "00901", D1)]


def test_a_restatement_is_found_in_what_was_loaded_before(platform: Platform) -> None:
    [row] = weather(platform, "restatements", "--service", "dwd", "--tenant", "cirrus")
    assert (row["date"], row["changed"], row["inserted"], row["removed"]) == (str(D2), 1, 0, 0)
