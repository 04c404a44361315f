from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather_backfill.http.rate_limit import Limiter, Rate, give_answer, limit_scope, pause_all, refused_for, take_slot
from weather_backfill.http.shared_state import open_state
from weather_backfill.http.shared_state.base import SharedStateError
from weather_backfill.http.shared_state.local import FolderState, MemoryState
from weather_backfill.model.errors import ConfigurationError
from weather_backfill_tests.examples import examples
from weather_backfill_tests.fakes import FakeTime


def most_in_any(moments: list[float], window: float) -> int:
    moments = sorted(moments)
    return max((sum(1 for m in moments[i:] if m < at + window) for i, at in enumerate(moments)), default=0)


@examples(100)
@given(
    limit=st.integers(1, 8),
    requests=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 40), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_no_window_holds_more_requests_than_the_limit_however_slow_they_are(
    limit: int, requests: list[tuple[float, float, float]]
) -> None:
    """The server counts a request at any moment between its sending and its answer."""
    document: dict[str, object] = {}
    rate, now, counted = Rate(limit), 0.0, []
    under_way: list[tuple[float, str]] = []
    for number, (gap, lasts, when) in enumerate(requests):
        now += gap
        while True:
            for end, slot in [u for u in under_way if u[0] <= now]:
                give_answer(document, end, slot)
                under_way.remove((end, slot))
            wait = take_slot(document, now, rate, str(number))
            if not wait:
                break
            assert wait <= 61
            now += wait
        counted.append(now + lasts * when)
        under_way.append((now + lasts, str(number)))
    assert most_in_any(counted, 60.0) <= limit


def test_a_full_window_waits_until_its_oldest_answer_is_a_minute_old() -> None:
    document: dict[str, object] = {}
    assert take_slot(document, 0, Rate(2), "a") == 0
    give_answer(document, 10, "a")
    assert take_slot(document, 20, Rate(2), "b") == 0
    give_answer(document, 20, "b")
    assert take_slot(document, 30, Rate(2), "c") == pytest.approx(40.1)
    assert take_slot(document, 70.2, Rate(2), "c") == 0


def test_a_process_that_died_frees_its_slot_after_the_longest_request_and_a_minute() -> None:
    document: dict[str, object] = {}
    rate = Rate(1, hold=100)
    assert take_slot(document, 0, rate, "dead") == 0
    assert take_slot(document, 159, rate, "next") > 0
    assert take_slot(document, 161, rate, "next") == 0


def test_a_clock_set_back_keeps_nobody_waiting_for_longer_than_a_minute() -> None:
    document: dict[str, object] = {}
    take_slot(document, 10_000, Rate(1), "a")
    give_answer(document, 10_000, "a")
    assert take_slot(document, 0, Rate(1), "b") == pytest.approx(60.1)


def test_a_pause_holds_for_everyone_and_a_shorter_one_does_not_end_it() -> None:
    document: dict[str, object] = {}
    pause_all(document, 0, 120)
    pause_all(document, 10, 5)
    assert take_slot(document, 20, Rate(10), "a") == 100
    assert take_slot(document, 121, Rate(10), "a") == 0


def test_a_pause_of_a_clock_that_was_ahead_holds_nobody() -> None:
    document: dict[str, object] = {}
    pause_all(document, 365 * 86_400, 3600, refuse=True)
    assert (take_slot(document, 0, Rate(10), "a"), refused_for(document, 0)) == (0, 0)
    pause_all(document, 0, 30)
    assert take_slot(document, 10, Rate(10), "b") == 20, "a pause that is asked for now is kept"
    pause_all(document, 2, 3600, refuse=True)
    assert take_slot(document, 0, Rate(10), "c") == 3600, "clocks differ a little: no pause is forgotten for that"


def test_limiter_waits_by_sleeping_and_shows_its_status() -> None:
    time = FakeTime()
    limiter = Limiter(MemoryState(time.clock), limit_scope("aceiot", "flightdeck.example"), Rate(2), time.sleep)
    for _ in range(2):
        limiter.answered(limiter.acquire())
    assert limiter.status().taken == 2
    started = time.now
    limiter.acquire()
    assert 60 <= time.now - started < 61
    cancelled = limiter.acquire() if limiter.status().taken < 2 else None
    assert cancelled
    limiter.cancel(cancelled)
    assert limiter.status().taken == 1


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least 1"):
        Rate(0)


_WORKER = """
import sys
from pathlib import Path
from weather_backfill.http.shared_state import open_state
state = open_state(sys.argv[1])
def add(document, now):
    document["count"] = document.get("count", 0) + 1
for _ in range(100):
    state.change("scope", add)
"""


def in_three_processes(url: str) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", _WORKER, url]) for _ in range(3)]
    assert [w.wait(60) for w in workers] == [0, 0, 0]
    assert open_state(url).read("scope")[0]["count"] == 300
    assert open_state(url).read("other")[0] == {}


def test_a_folder_loses_no_change_of_three_processes(tmp_path: Path) -> None:
    in_three_processes(str(tmp_path / "deep" / "limits"))


def test_a_folder_keeps_nothing_of_a_change_that_failed(tmp_path: Path) -> None:
    state = FolderState(tmp_path / "limits")

    def fail(document: dict[str, object], now: float) -> None:
        document["broken"] = 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        state.change("scope", fail)
    assert state.read("scope")[0] == {}


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SharedStateError, match=r"file/no cannot be used.*WEATHER_LIMITS_URL"):
        FolderState(tmp_path / "file" / "no").change("scope", lambda d, now: d.update(a=1))


def test_the_file_of_an_earlier_release_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "limits.sqlite").write_bytes(b"SQLite format 3\x00")
    state = FolderState(tmp_path / "limits.sqlite")
    state.change("scope", lambda d, now: d.update(a=1))
    assert (state.read("scope")[0], state.scopes()) == ({"a": 1}, ["scope"])
    assert (tmp_path / "limits.sqlite").read_bytes() == b"SQLite format 3\x00"


def test_a_version_that_a_power_cut_has_damaged_counts_as_empty(tmp_path: Path) -> None:
    state = FolderState(tmp_path)
    state.change("scope", lambda d, now: d.update(a=1))
    [version] = tmp_path.glob("*/*1")
    version.write_bytes(b"")  # flushed by nobody
    assert state.read("scope")[0] == {}
    state.change("scope", lambda d, now: d.update(b=2))
    assert state.read("scope")[0] == {"b": 2}


def test_a_state_that_is_deleted_meanwhile_begins_anew(tmp_path: Path) -> None:
    state = FolderState(tmp_path / "limits")
    state.change("scope", lambda d, now: d.update(a=1))
    shutil.rmtree(tmp_path / "limits")
    state.change("scope", lambda d, now: d.update(b=2))
    assert state.read("scope")[0] == {"b": 2}


def test_replaced_versions_go_and_who_was_stopped_meanwhile_loses_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process reads, is stopped, and goes on when the number it wants was in use, replaced and tidied away."""
    state, other = FolderState(tmp_path), FolderState(tmp_path)
    monkeypatch.setattr(FolderState, "KEPT_SECONDS", -1.0)

    def count(document: dict[str, int], now: float) -> None:
        document["count"] = document.get("count", 0) + 1

    for _ in range(3):
        other.change("scope", count)
    stops = iter([True])

    def count_late(document: dict[str, int], now: float) -> None:
        count(document, now)
        if next(stops, False):
            for _ in range(40):
                other.change("scope", count)

    state.change("scope", count_late)
    assert state.read("scope")[0] == {"count": 44}
    [folder] = tmp_path.iterdir()
    assert len(list(folder.iterdir())) < 20


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    open_state().change("scope", lambda d, now: d.update(a=1))
    assert (tmp_path / "weather_limits").is_dir()
    assert isinstance(open_state("memory://"), MemoryState)
    assert open_state(f"file://{tmp_path}/weather_limits").read("scope")[0] == {"a": 1}
    with pytest.raises(ConfigurationError, match="'mysql' is not known"):
        open_state("mysql://host")
