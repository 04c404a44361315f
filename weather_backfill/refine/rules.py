"""The numbers that windows and features go by, once for Python and SQL; queries take them as parameters."""

from __future__ import annotations

WINDOW_SECONDS = 900
"""Length of a refined window, `[start, end)` in UTC, counted from 1970-01-01."""
WINDOW_US = WINDOW_SECONDS * 1_000_000
COMPLETE_SHARE = 0.75
"""Share of the expected grid slots from which a window, or a metric's quarter, counts as complete."""
