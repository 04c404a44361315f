"""How many examples property tests try: few in `make test`; with `WEATHER_TEST_EXAMPLES=20` twenty times as many."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

TIMES = float(os.environ.get("WEATHER_TEST_EXAMPLES", "1"))
USUAL = 50


def examples(number: int, **others: Any) -> settings:
    """Settings of a property test with its own number of examples in `make test`, where each takes long."""
    return settings(max_examples=max(round(number * TIMES), 1), **others)
