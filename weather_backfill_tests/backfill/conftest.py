"""One archive and one set of definitions for all contexts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.definitions import build_definitions
from weather_backfill.settings import Settings
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.backfill.contexts import DAYS, opened


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_archive(SimulatedArchive("acme", DAYS[0], DAYS[-1] + timedelta(days=2), 1, 3, 60), ObjectStore(str(folder)))
    return folder


@pytest.fixture(scope="session")
def definitions() -> dg.Definitions:
    return build_definitions(Settings())


@pytest.fixture
def context(tmp_path: Path, archive: Path, definitions: dg.Definitions) -> Iterator[BackfillContext]:
    with opened(tmp_path, archive, definitions) as context:
        yield context
