"""`defs` for `dagster asset materialize -m weather_backfill.definitions_single_run`: one run for any range.

`--partition-range` insists on single-run policies and runs in this process, without the queue.
"""

from __future__ import annotations

import dagster as dg

from weather_backfill.definitions import build_definitions, with_scaffolded

defs = with_scaffolded(build_definitions(backfill_policy=lambda days: dg.BackfillPolicy.single_run()))
