"""Python imports this by itself in the processes that a fault is for."""

import os
import runpy
from pathlib import Path

from weather_backfill_tests.faults import points

if os.environ.get("FAKETIME_TIMESTAMP_FILE"):
    runpy.run_path(str(Path(__file__).parents[2] / "faked_clock" / "sitecustomize.py"))
if points.VARIABLE in os.environ:
    points.arm(os.environ[points.VARIABLE])
