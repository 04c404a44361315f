"""The numbers that windows and features go by, once for Python and SQL; queries take them as parameters."""

from __future__ import annotations

WINDOW_SECONDS = 900
"""Length of a refined window, `[start, end)` in UTC, counted from 1970-01-01; also of the longest value that counts in
such windows by overlap: a longer one has a window of its own. Ours: it is what the platform promises."""
WINDOW_US = WINDOW_SECONDS * 1_000_000
COMPLETE_SHARE = 0.75
"""Share of its time that values cover from which a window, or a metric's quarter, counts as complete (ours)."""
CALM = 0.2
"""Wind speed (m/s) under which its direction means nothing (WMO-No. 8, chapter 5)."""
