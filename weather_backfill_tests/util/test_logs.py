"""Lines about days: the same fields in text and in JSON, for days that were written and days that were not."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from weather_backfill.sources.tempest.simulate import Faults
from weather_backfill_tests.platform import START, Platform


def materialize(platform: Platform, day: date) -> None:
    with platform.instance as instance:
        platform.load(instance, day, assets=["raw_observations"])


def test_every_line_of_a_day_is_parseable(
    local_platform: Platform, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    platform = local_platform
    platform.add_tempest("acme", 3, faults=Faults(corrupt_day=1))
    monkeypatch.setenv("WEATHER_LOG_FORMAT", "json")
    unwritable = platform.folder / f"lake/raw_observations/service=tempest/tenant=acme/date={START + timedelta(days=2)}"
    unwritable.parent.mkdir(parents=True)
    unwritable.write_text("a file where a folder should be: the day cannot be written")
    for n in range(3):
        materialize(platform, START + timedelta(days=n))
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    days = {line["day"]: line for line in lines if "day" in line}
    assert sorted(days) == [str(START + timedelta(days=n)) for n in range(3)]
    for day, line in days.items():
        assert (line["tenant"], line["service"], line["dataset"]) == ("acme", "tempest", "raw_observations")
        named = f"tenant=acme service=tempest day={day} dataset=raw_observations "
        assert line["message"].startswith(named), "the text says the same"
        assert line["step"] == "tempest__raw_observations"
        assert len(line["run_id"]) == 36
    written, unread, unstored = (days[str(START + timedelta(days=n))] for n in range(3))
    assert (written["level"], unread["level"], unstored["level"]) == ("INFO", "ERROR", "ERROR")
    assert "rows=" in written["message"]
    assert "failed: UnreadableObjectError" in unread["message"]
    assert "failed: StorageUnavailableError: could not" in unstored["message"]
    assert {line["tenant"] for line in lines if line.get("event") == "STEP_FAILURE"} == {"acme"}, "Dagster's lines too"


def test_text_is_the_default(local_platform: Platform, capfd: pytest.CaptureFixture[str]) -> None:
    local_platform.add_tempest("acme", 1)
    materialize(local_platform, START)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert f"tenant=acme service=tempest day={START} dataset=raw_observations rows=" in captured.err
