"""One operation on a platform of many tenants; the sides of workload 6.

    python -m weather_backfill_tests.bench.scaled plan|launch|tick|gaps|status|page PLATFORM ARCHIVE DAYS

plan    a plan of every tenant's year
launch  five native backfills of a year each, taken back afterwards
tick    a tick of the sensor that looks for new connections, where all are onboarded
gaps    the nightly look for gaps over every tenant's year
status  `weather-backfill status`, all backfills
page    what Dagster's page of partitions asks for both assets, from a webserver that has just started
"""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from weather_backfill.backfill.commands import start
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.daily import fill_gaps
from weather_backfill.backfill.launch import DATASETS
from weather_backfill.backfill.plan import BackfillPlan, Reprocess, build_plan
from weather_backfill.backfill.reconciler import onboard
from weather_backfill.cli.status import every_backfill
from weather_backfill.definitions import build_definitions
from weather_backfill.lake import layout
from weather_backfill.storage.places import open_tenant_files
from weather_backfill.tenants.files import TenantRegistry
from weather_backfill_tests.bench.data import DAY, SERVICE
from weather_backfill_tests.bench.measured import measure, say
from weather_backfill_tests.bench.processes import Watch
from weather_backfill_tests.bench.scale_data import open_platform, today
from weather_backfill_tests.platform import Platform, graphql

_LAUNCHES = 5
_PAGE = """
query PartitionHealth($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    __typename
    ... on AssetNode {
      partitionKeysByDimension { name type partitionKeys }
      assetPartitionStatuses {
        ... on MultiPartitionStatuses {
          primaryDimensionName
          ranges {
            primaryDimStartKey primaryDimEndKey primaryDimStartTime primaryDimEndTime
            secondaryDim {
              ... on TimePartitionStatuses { ranges { status startTime endTime startKey endKey } }
              ... on DefaultPartitionStatuses { materializedPartitions materializingPartitions failedPartitions }
            }
          }
        }
      }
    }
  }
}"""


def plan_all(desk: BackfillContext, days: int) -> None:
    """A plan for each tenant file; every day is found in the lake and upstream."""
    registry = TenantRegistry(open_tenant_files(desk.settings))
    for name in registry.ids():
        assert len(_plan(desk, name, days).days) == days, name


def _plan(desk: BackfillContext, tenant: str, days: int) -> BackfillPlan:
    found = TenantRegistry(open_tenant_files(desk.settings)).get(tenant)
    last = DAY + timedelta(days=days - 1)
    return build_plan(desk.instance, desk.settings, found, SERVICE, DAY, last, reprocess=Reprocess.ALL)


def tick(desk: BackfillContext, days: int) -> None:
    """Nothing is to be done, which is what nearly all ticks find."""
    notes = onboard(desk, today(days), datetime(2026, 1, 1, tzinfo=UTC))
    assert not notes, notes[:3]


def gaps(desk: BackfillContext, days: int) -> None:
    """Nothing is missing; a tick that ends for its time is followed by another."""
    while notes := fill_gaps(desk, today(days)):
        assert "are polled in the next tick" in notes[0], notes[:3]


def status(desk: BackfillContext, days: int) -> None:
    """Every tenant's onboarding is listed as completed."""
    rows = every_backfill(desk)
    assert rows, "no backfill is listed"
    assert all(row["status"] == "completed" for row in rows), rows[:3]


OPERATIONS: dict[str, Callable[[BackfillContext, int], None]] = {
    "plan": plan_all,
    "tick": tick,
    "gaps": gaps,
    "status": status,
}


def launch(desk: BackfillContext, days: int, platform: Platform) -> None:
    """Launch, say what it took, and take the backfills back out of Dagster and the lake."""
    tenants = TenantRegistry(open_tenant_files(desk.settings)).ids()[:_LAUNCHES]
    plans = [_plan(desk, tenant, days) for tenant in tenants]
    names = [f"bench-{number}" for number in range(len(plans))]
    began = datetime.now(UTC)

    def work() -> Path:
        for name, plan in zip(names, plans, strict=True):
            start(desk, plan, backfill_id=name)
        return platform.folder / "tenants"

    try:
        measure(work)
        assert all(desk.instance.get_backfill(name) for name in names)
    finally:
        _take_back(desk, platform, names, began)


def _take_back(desk: BackfillContext, platform: Platform, names: list[str], began: datetime) -> None:
    database = Path(platform.environment["DAGSTER_HOME"]) / "history" / "runs.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.executemany("DELETE FROM bulk_actions WHERE key = ?", [(name,) for name in names])
        connection.executemany("DELETE FROM backfill_tags WHERE backfill_id = ?", [(name,) for name in names])
        connection.commit()
    events = [o.key for o in desk.store.list(layout.AUDIT) if o.last_modified >= began.replace(microsecond=0)]
    records = [key for n in names for key in (layout.manifest_key(n), layout.summary_key(n), layout.open_key(n))]
    desk.store.delete([*events, *records])


def page(platform: Platform) -> None:
    """Both assets' partitions over a real webserver, which reads them all: Dagster's own cache of them is emptied."""
    index = Path(platform.environment["DAGSTER_HOME"]) / "history" / "runs" / "index.db"
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("UPDATE asset_keys SET cached_status_data = NULL")
        connection.commit()
    answers = []
    with platform.webserver_process() as (url, pid), Watch([pid]) as watch:
        began = time.perf_counter()
        for dataset in DATASETS:
            found = graphql(url, _PAGE, {"assetKey": {"path": [SERVICE, dataset]}})["assetNodeOrError"]
            answers.append(found["assetPartitionStatuses"]["ranges"])
        seconds = time.perf_counter() - began
    assert all(answers), "the page shows no partition"
    say(seconds, watch.cpu_seconds, watch.peak_bytes, platform.folder / "tenants")


def main(operation: str, root: str, archive: str, days: str) -> None:
    """Open the platform and do it once; what any process does at its start is not counted."""
    platform = open_platform(Path(root), Path(archive))
    if operation == "page":
        page(platform)
        return
    with platform.instance as instance:
        desk = BackfillContext(instance, build_definitions(platform.settings), platform.settings)
        desk.graph  # noqa: B018 - loaded once in a process
        instance.get_backfills(limit=1)
        if operation == "launch":
            launch(desk, int(days), platform)
            return

        if operation == "gaps":  # as if it were the next night: a look is not repeated in the same one
            desk.store.delete([stored.key for stored in desk.store.list(layout.LOOKS)])

        def work() -> Path:
            OPERATIONS[operation](desk, int(days))
            return platform.folder / "tenants"

        measure(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
