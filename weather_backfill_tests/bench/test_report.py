"""The results of runs of different times make one page, and the README keeps what is not between its marks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from weather_backfill_tests.bench import harness, report
from weather_backfill_tests.bench.harness import Comparison, Options, Result, Target

README = f"# Above\n\n{report._BEGIN}\nold\n{report._END}\n\n## Below\n"
OURS = Result(2.0, 2.0, 1e6, 1e6, 1.0, [2.0, 2.0, 2.1])
STOPPED = Result(90.0, 10.0, 1e6, 1e6, 0.25, [90.0])


def comparison(name: str, title: str, value: float) -> Comparison:
    results = {"weather_backfill": OURS, "a peer": STOPPED}
    return Comparison(name, title, results, [Target(f"{title}: times faster", value, 8, at_least=True)])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, with one result of each of two runs."""
    results = tmp_path / "docs" / "benchmarks.json"
    for module in (harness, report):
        monkeypatch.setattr(module, "RESULTS", results)
        monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setattr(harness, "QUICK_RESULTS", tmp_path / "build" / "quick.json")
    monkeypatch.setattr(report, "DOCS", tmp_path / "docs")
    (tmp_path / "README.md").write_text(README)
    options = Options(runs=3, quick=False, peer_python=tmp_path, folder=tmp_path)
    comparison("refine_days", "3. Thirty days", 9.0).write(options)
    comparison("api", "1. A day", 5.0).write(options)
    comparison("api", "1. A day", 6.0).write(options)
    comparison("dwd_real", "4. Small, only to see that it works", 9.0).write(replace(options, quick=True))
    return tmp_path


def test_a_result_takes_the_place_of_its_older_one_alone(project: Path) -> None:
    held = json.loads((project / "docs" / "benchmarks.json").read_text())
    assert list(held) == ["api", "refine_days"]
    assert held["api"]["targets"][0]["value"] == 6.0
    assert list(held["api"]["sides"]) == ["weather_backfill", "a peer"], "ours is the first side"


def test_page_explains_what_is_missed_and_marks_what_was_stopped(project: Path) -> None:
    report.write_report()
    page = (project / "docs" / "benchmarks.md").read_text()
    assert page.index("## 1. A day") < page.index("## 3. Thirty days")
    assert "### 1. A day" in page
    assert "### 3. Thirty days" not in page, "its target is met"
    assert "| a peer | > 90.00 | > 45.00 |" in page
    assert "a peer was stopped with 25% of the work done." in page
    assert (project / "docs" / "benchmarks.png").read_bytes().startswith(b"\x89PNG")


def test_readme_changes_between_its_marks_alone(project: Path) -> None:
    for _ in range(2):
        report.write_report()
    text = (project / "README.md").read_text()
    assert text.startswith("# Above\n")
    assert text.endswith(f"{report._END}\n\n## Below\n")
    assert "old" not in text
    assert text.count("| A day | 2.0 s | a peer > 45× |") == 1


def test_readme_without_marks_is_refused(project: Path) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        report.with_table("# No marks\n", [])
