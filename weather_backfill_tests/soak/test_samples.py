"""What counts as a leak."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from weather_backfill_tests.daemon_process import bytes_in_use
from weather_backfill_tests.soak.samples import Sample, leaks, slopes

STEADY = Sample(1, 30.0, 110.0, 160.0, 270.0, 21, 29, 24, 18, 1, 2, 0, 5, 1.0, 100, 0.5, 2.0, 12)
DAYS = [replace(STEADY, day=day, event_log_mb=float(day)) for day in range(1, 25)]


def test_what_is_kept_on_purpose_is_no_leak() -> None:
    assert leaks(slopes(DAYS, 6)) == []


def test_one_odd_day_is_no_leak() -> None:
    odd = [replace(one, daemon_mb=900.0, code_files=500) if one.day == 24 else one for one in DAYS]
    assert leaks(slopes(odd, 6)) == []


def test_a_file_every_other_day_and_a_megabyte_a_day_are() -> None:
    growing = [
        replace(
            one,
            code_files=one.code_files + one.day // 2,
            daemon_used_mb=one.daemon_used_mb + one.day,
            daemon_mb=one.daemon_mb + 3 * one.day,
        )
        for one in DAYS
    ]
    assert [leak.split()[0] for leak in leaks(slopes(growing, 6))] == ["daemon_used_mb", "daemon_mb", "code_files"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc tells what it has allocated")
def test_what_is_in_use_is_what_was_allocated_and_not_freed() -> None:
    before = bytes_in_use()
    large, small = bytearray(64 << 20), [str(number).encode() for number in range(200_000)]
    with_both = bytes_in_use() - before
    assert 64 << 20 < with_both < 96 << 20, (len(large), len(small))
    del large, small
    assert bytes_in_use() - before < 8 << 20


def test_what_grows_only_while_it_warms_up_is_none() -> None:
    warming = [replace(one, code_mb=one.code_mb + 20 * min(one.day, 6)) for one in DAYS]
    assert leaks(slopes(warming, 6)) == []
    assert leaks(slopes(warming, 1)) == [], "the median of all days is flat too"
