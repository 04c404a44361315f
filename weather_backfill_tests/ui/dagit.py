"""What a person does in Dagster's pages, as functions; the words are those on its buttons (Dagster 1.13)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from playwright.sync_api import Locator, Page, expect

LOCATION = "/locations/weather_backfill.definitions"
MINUTES = 300_000  # milliseconds: the daemon cuts, queues and runs
Picture = Callable[..., None]


@dataclass
class Dagit:
    """A tab and the webserver's address."""

    page: Page
    url: str

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def shows(self, pattern: str, timeout: float | None = None) -> None:
        """Wait until the page's text, as a reader sees it, holds the pattern."""
        expect(self.page.locator("body")).to_have_text(
            re.compile(f".*{pattern}.*", re.DOTALL), use_inner_text=True, timeout=timeout or MINUTES
        )

    def launch_backfill(self, tenant: str, start: date, end: date) -> str:
        """Select raw and refined in the graph and fill in the dialog; the id that Dagster gives the backfill."""
        page = self.page
        self.open(f"{LOCATION}/asset-groups/tempest/lineage")
        page.get_by_text("raw_observations", exact=True).first.click()
        page.get_by_text("refined_15m", exact=True).first.click(modifiers=["Shift"])
        page.get_by_role("button", name="Materialize selected (2)").click()
        dialog = page.get_by_role("dialog").filter(has_text="Launch runs to materialize 2 assets")
        dialog.get_by_placeholder("ex: 2018-01-01").fill(f"[{start}...{end}]")
        page.keyboard.press("Tab")
        dialog.get_by_text("Select a partition").click()
        page.get_by_role("menuitem").filter(has_text=tenant).click()
        dialog.get_by_text("tenant", exact=True).click()  # closes the list
        expect(dialog).to_contain_text(f"{(end - start).days + 1} partitions")
        page.get_by_role("button", name="Launch backfill").click()
        return self._created()

    def retry_failed(self, backfill: str) -> str:
        """Choose *Re-execute from failure* in the backfill's menu; the id of the new backfill."""
        self.open_backfill(backfill)
        self.page.get_by_role("button").filter(has_not_text=re.compile(r"\w"), visible=True).first.click()
        self.page.get_by_role("menuitem", name="Re-execute from failure").click()
        return self._created()

    def _created(self) -> str:
        toast = self.page.get_by_text(re.compile(r"Created backfill\s+\w"))
        found = re.search(r"Created backfill\s+(\w+)", toast.first.inner_text())
        assert found
        return found.group(1)

    def open_backfill(self, backfill: str) -> None:
        self.open(f"/runs/b/{backfill}")

    def wait_for_backfill(self) -> list[tuple[int, int, int]]:
        """Watch a backfill's page until raw and refined are through; targeted, succeeded and failed days of each."""
        # "Completed" would not do: it is also in "0% completed".
        expect(self.page.get_by_text("100% completed")).to_have_count(2, timeout=MINUTES)
        self.shows(r"Status\n(Completed|Failed|Succeeded|Success)\b")
        text = self.page.locator("body").inner_text()
        rows = re.findall(r"100% completed\n(\d+)\n(\d+)\n(\d+)\n(\d+)", text)
        return [(int(targeted), int(done), int(failed)) for targeted, _, done, failed in rows]

    def open_day(self, asset: str, day: date, tenant: str) -> None:
        """Select a day of a tenant on the partitions page of an asset."""
        page = self.page
        self.open(f"/assets/tempest/{asset}")
        page.get_by_role("tab", name="Partitions").click()
        page.get_by_placeholder("Filter by date").fill(str(day))
        # Each name is there twice: once to measure it, and that one nobody sees.
        page.get_by_text(str(day), exact=True).filter(visible=True).last.click()
        page.get_by_text(tenant, exact=True).filter(visible=True).last.click()
        expect(page.get_by_text(f"{day}|{tenant}", exact=True).filter(visible=True).first).to_be_visible()

    def set_in_launchpad(self, **values: str) -> None:
        """Write values into the launchpad's YAML, one line each."""
        for name, value in values.items():
            self._line(name).click()
            self.page.keyboard.press("End")
            self.page.keyboard.press("Shift+Home")
            self.page.keyboard.insert_text(f"{name}: {value}")
            self.page.keyboard.press("Escape")  # the list of completions
            expect(self._line(name)).to_have_text(re.compile(rf"^\s*{name}: {re.escape(value)}$"))

    def _line(self, name: str) -> Locator:
        return self.page.locator(".CodeMirror-line").filter(has_text=re.compile(rf"^\s*{name}:"))

    def open_form(self) -> None:
        """The launchpad of `managed_backfill`, by way of the list of jobs."""
        self.open("/jobs")
        self.page.get_by_role("link", name="managed_backfill").click()
        self.page.get_by_role("tab", name="Launchpad").click()

    def run_form(self) -> None:
        """Launch the form's run and wait until it has succeeded."""
        self.page.get_by_role("button", name="Launch Run").click()
        self.wait_for_run()

    def wait_for_run(self) -> None:
        """Watch the page of the run that was just launched until it has succeeded."""
        expect(self.page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}"))
        expect(self.page.get_by_text("RUN_SUCCESS")).to_be_visible(timeout=MINUTES)

    def markdown(self) -> Locator:
        """Open the first Markdown value of the page; its dialog."""
        self.page.get_by_text("[Show Markdown]").first.click()
        dialog = self.page.get_by_role("dialog").filter(has_text="Close")
        expect(dialog).to_be_visible()
        return dialog
