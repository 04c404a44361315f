"""What counts as a leak."""

from __future__ import annotations

from dataclasses import replace

from weather_backfill_tests.soak.samples import Sample, leaks, slopes

STEADY = Sample(1, 30.0, 160.0, 270.0, 21, 29, 24, 18, 1, 2, 0, 5, 1.0, 100, 0.5, 2.0, 12)
DAYS = [replace(STEADY, day=day, event_log_mb=float(day)) for day in range(1, 25)]


def test_what_is_kept_on_purpose_is_no_leak() -> None:
    assert leaks(slopes(DAYS, 6)) == []


def test_one_odd_day_is_no_leak() -> None:
    odd = [replace(one, daemon_mb=900.0, code_files=500) if one.day == 24 else one for one in DAYS]
    assert leaks(slopes(odd, 6)) == []


def test_a_file_every_other_day_and_two_megabytes_a_day_are() -> None:
    growing = [
        replace(one, code_files=one.code_files + one.day // 2, daemon_mb=one.daemon_mb + 2 * one.day) for one in DAYS
    ]
    assert [leak.split()[0] for leak in leaks(slopes(growing, 6))] == ["daemon_mb", "code_files"]


def test_what_grows_only_while_it_warms_up_is_none() -> None:
    warming = [replace(one, code_mb=one.code_mb + 20 * min(one.day, 6)) for one in DAYS]
    assert leaks(slopes(warming, 6)) == []
    assert leaks(slopes(warming, 1)) == [], "the median of all days is flat too"
