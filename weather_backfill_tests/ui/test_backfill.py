"""A tenant's days from the dialog to the retry, clicked through as a person would.

The tests go on from each other in the order they stand: a day must have failed before it can be seen and retried.
"""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from playwright.sync_api import expect

from weather_backfill.model.partitions import days_between
from weather_backfill.refine.checks import RAW_CHECKS
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.platform import START, Platform
from weather_backfill_tests.ui.conftest import DAYS, save
from weather_backfill_tests.ui.dagit import Dagit, Picture

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]

END = START + timedelta(days=DAYS - 1)
ALL_DAYS = set(days_between(START, END))
BAD_DAY, QUIET_DAY = date(2024, 1, 5), date(2024, 1, 3)


@pytest.fixture(scope="module")
def backfill(dagit: Dagit) -> str:
    """A backfill of acme, launched with the dialog and watched to its end; its id."""
    launched = dagit.launch_backfill("acme", START, END)
    dagit.open_backfill(launched)
    # Dagster counts the refined day that waits for its failed raw day as failed too.
    assert dagit.wait_for_backfill() == [(10, 9, 1), (10, 9, 1)]
    return launched


def test_a_backfill_launched_with_the_dialog_ends_with_one_failed_day(
    dagit: Dagit, site: Platform, backfill: str, picture: Picture
) -> None:
    dagit.open_backfill(backfill)
    dagit.shows(r"Status\nFailed")
    picture("backfill", dagit.page, height=370)
    assert site.dates("raw_observations", "acme") == ALL_DAYS - {BAD_DAY}
    assert site.dates("refined_15m", "acme") == ALL_DAYS - {BAD_DAY}


def test_the_failed_day_leads_to_what_is_wrong_with_it(dagit: Dagit, backfill: str) -> None:
    dagit.open_day("raw_observations", BAD_DAY, "acme")
    dagit.shows("failed, and did not materialize this asset")
    dagit.shows(r"Failed \(1\)")
    dagit.page.get_by_text(re.compile("^Run .* failed, and did not")).get_by_role("link").click()
    dagit.shows("1 of 10 days failed; the other 9 are in the lake")
    dagit.shows(rf"{BAD_DAY}\|acme: UnreadableObjectError")


@pytest.fixture(scope="module")
def borealis(dagit: Dagit, backfill: str) -> set[str]:
    """borealis loaded with the form: first a dry run, then the launch; the pages of the backfills it linked to."""
    dagit.open_form()
    page = dagit.page
    page.get_by_role("button", name="Scaffold missing config").click()
    page.get_by_role("button", name="Confirm").click()
    dagit.set_in_launchpad(service="tempest", tenant="borealis", start_date=f"'{START}'", end_date=f"'{END}'")
    for default in ("chunk_days: 7", "dry_run: true", "max_days: 30", "reprocess: 'missing'"):
        expect(page.locator(".CodeMirror-code")).to_contain_text(default)
    for described in ("Show the plan and launch nothing", "missing, failed, incomplete or all", "Refuse longer ranges"):
        dagit.shows(described)
    dagit.run_form()
    plan = dagit.markdown()
    expect(plan).to_contain_text("Dry run, nothing was launched: 10 of 10 days in 2 chunks would be.")
    save("plan", plan.screenshot(animations="disabled"))
    dagit.open_form()
    dagit.set_in_launchpad(dry_run="false")
    dagit.run_form()
    links = page.locator("a[href*='/runs/b/']")
    expect(links.first).to_be_visible()
    return {str(link.get_attribute("href")) for link in links.all()}


def test_the_form_shows_its_plan_then_launches_what_it_links_to(
    dagit: Dagit, site: Platform, borealis: set[str]
) -> None:
    with site.instance as instance:
        natives = {f"/runs/b/{b.backfill_id}" for b in instance.get_backfills() if "weather/backfill" in b.tags}
    assert borealis == natives
    assert len(natives) == 2, "ten days in chunks of seven"
    targeted = 0
    for page in sorted(natives):
        dagit.open(page)
        raw, refined = dagit.wait_for_backfill()
        assert raw == refined
        assert raw[0] == raw[1]
        targeted += raw[0]
    assert targeted == DAYS
    assert site.dates("refined_15m", "borealis") == ALL_DAYS


def test_a_day_shows_its_rows_stations_and_content(
    dagit: Dagit, site: Platform, borealis: set[str], picture: Picture
) -> None:
    dagit.open_day("raw_observations", QUIET_DAY, "borealis")
    held = site.day("raw_observations", "borealis", QUIET_DAY)
    dagit.shows(r"Failed \(1\)")
    dagit.shows(r"Materialized \(19\)")
    dagit.shows(rf"rows\s+{held.num_rows}\b")
    dagit.shows(r"stations\s+2\b")
    dagit.shows(r"first_observation\s+2024-01-03T00:")
    dagit.shows(r"sha256\s+[0-9a-f]{64}")
    dagit.page.get_by_placeholder("Filter by date").fill("2024-01-0")
    dagit.page.get_by_placeholder("Filter by date").blur()
    expect(dagit.page.get_by_text("2024-01-09", exact=True).filter(visible=True)).to_be_visible()
    picture("partitions", dagit.page, height=740)


def test_the_checks_name_the_station_that_was_silent(dagit: Dagit, borealis: set[str]) -> None:
    dagit.open("/assets/tempest/raw_observations")
    dagit.page.get_by_role("tab", name="Checks").click()
    for name in ("completeness", "no_duplicates", "plausible_values", "rejects_under_limit", "schema"):
        expect(dagit.page.get_by_text(name, exact=True).first).to_be_visible()
    dagit.page.get_by_text("completeness", exact=True).first.click()
    dagit.shows(re.escape(RAW_CHECKS["completeness"]))
    dagit.page.get_by_text("Execution history", exact=True).click()
    dagit.shows(rf"failed on 1 of \d days: {QUIET_DAY}\|borealis")
    dagit.shows(r"values cover 6\d\.\d% of the day \(target 75%\); worst: ST-00010701 0%")


def test_the_coverage_picture_shows_the_days_that_are_asked_for(dagit: Dagit, borealis: set[str]) -> None:
    page = dagit.page
    dagit.open("/assets/tempest/coverage")
    launch = page.get_by_role("button", name="Materialize")
    launch.locator("xpath=following::button[1]").click()
    page.get_by_role("menuitem", name="Open launchpad").click()
    dagit.set_in_launchpad(days=str(DAYS), end_date=f"'{END}'")
    page.get_by_role("dialog").get_by_role("button", name="Materialize").click()
    dagit.wait_for_run()
    shown = dagit.markdown()
    expect(shown).to_contain_text("acme")
    expect(shown).to_contain_text("borealis")
    drawn = shown.get_by_role("img", name="coverage")
    expect(drawn).to_be_visible()
    assert drawn.evaluate("image => image.complete && image.naturalWidth") > 400


def test_retry_from_failure_runs_the_failed_day_alone(dagit: Dagit, site: Platform, backfill: str) -> None:
    archive = site.folder / "archive" / "acme"
    (archive / "year=2024/month=01/day=05/hour=12/cut-off.json.gz").unlink()
    write_archive(SimulatedArchive("acme", BAD_DAY, BAD_DAY, 3, 7, 60), ObjectStore(str(archive)))
    dagit.open_backfill(dagit.retry_failed(backfill))
    assert dagit.wait_for_backfill() == [(1, 1, 0), (1, 1, 0)]
    assert site.dates("refined_15m", "acme") == ALL_DAYS
    dagit.open("/assets/tempest/raw_observations?view=partitions")
    dagit.shows(r"Failed \(0\)")
