from __future__ import annotations

import pytest

from weather_backfill_tests.sources.aceiot.simulator_process import KEY, VARIABLE


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
