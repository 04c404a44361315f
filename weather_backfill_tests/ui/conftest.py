"""One platform and one browser for all the tests here: to start them takes longer than to use them."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from weather_backfill.sources.tempest.connection import TempestConnection
from weather_backfill.sources.tempest.simulate import Faults
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import Services, Tenant, TenantRegistry
from weather_backfill_tests.platform import Platform
from weather_backfill_tests.ui.dagit import Dagit, Picture

DAYS = 10
# Read at import: the tests run without the settings of the machine.
PICTURES = os.environ.get("WEATHER_UI_SCREENSHOTS")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 90_000  # milliseconds; a page that is there comes in one or two seconds, unless the machine is busy


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make test` does not wait for these: they take minutes."""
    if "ui" in config.getoption("markexpr").replace("not ui", ""):
        return
    for item in items:
        if item.get_closest_marker("ui"):
            item.add_marker(pytest.mark.skip(reason="minutes of a browser and a daemon: make test-ui"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Ten days of two tenants: acme's 5 January is cut off, a station of borealis is silent on the 3rd."""
    folder = tmp_path_factory.mktemp("site")
    platform = Platform(folder, str(folder / "lake"))
    platform.add_tempest("acme", DAYS, stations=3, faults=Faults(corrupt_day=4))
    faults = Faults(missing=0.08, silent_station=1, silent_day=2)
    archive = platform.add_tempest("borealis", DAYS, stations=3, faults=faults)
    # Named, so that one that is silent is missed.
    stations = tuple(f"ST-{10_700 + number:08d}" for number in range(3))
    connection = TempestConnection(archive_url=str(archive), stations=stations)
    registry = TenantRegistry(open_tenant_files(platform.settings))
    registry.put(Tenant(id="borealis", services=Services(tempest=connection)))
    return platform


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    program = shutil.which("chromium")
    assert program, "no chromium: `make test-ui` installs Debian's"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        made = browser.new_context(viewport={"width": 1400, "height": 850}, timezone_id="UTC", locale="en-US")
        made.set_default_timeout(PATIENCE)
        yield made
        browser.close()


@pytest.fixture(scope="module")
def dagit(site: Platform, context: BrowserContext) -> Iterator[Dagit]:
    """The browser before the platform, webserver and daemon running."""
    with site.daemon(), site.webserver() as url:
        yield Dagit(context.new_page(), url)


@pytest.fixture(scope="module")
def picture() -> Picture:
    """Keeps a picture for the pages of the project, where `WEATHER_UI_SCREENSHOTS` names a folder."""

    def keep(name: str, page: Page, height: int | None = None, width: int | None = None) -> None:
        size = page.viewport_size
        assert size
        clip = {"x": 0.0, "y": 0.0, "width": width or size["width"], "height": height or size["height"]}
        save(name, page.screenshot(clip=clip, animations="disabled"))  # type: ignore[arg-type]

    return keep


def save(name: str, png: bytes) -> None:
    """Write a picture with few colours, a third of the bytes."""
    if PICTURES:
        # Maximum coverage keeps the one red dot among ten thousand white points; median cut makes it purple.
        few = {"colors": 128, "method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
        small = Image.open(io.BytesIO(png)).convert("RGB").quantize(**few)
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        small.save(Path(PICTURES) / f"{name}.png", optimize=True)
