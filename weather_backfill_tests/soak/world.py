"""What happens outside of the platform, day by day: upstreams that grow, arrive late and are restated; tenants that
come, go, and are switched off and on again.

The world's days are numbered from 1; on day `n` the upstream gets `yesterday(n)`. All of it follows from the script.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import yaml

from weather_backfill.model.partitions import days_between
from weather_backfill.sources.tempest.simulate import SimulatedArchive, write_archive
from weather_backfill.sources.tempest.source import day_folder
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.tenants.files import Tenant
from weather_backfill_tests.sources.dwd.files import hourly_zip, put

LOOKBACK = 3
DWD_BEFORE = 10  # days that DWD's files hold before the first
STATIONS = (1, 2)
RECENT = "hourly/air_temperature/recent"
LATE_HOUR = 14
SERVICE = {"fritz": "dwd"}
AT_START = ("anna", "bert", "clara", "fritz")
STEADY = ("anna", "bert")
"""Every day of theirs lacks an hour at first; it arrives one day later, every third time two."""

Script = dict[int, list[tuple[str, str]]]
LONG: Script = {
    2: [("restate", "fritz")], 3: [("break", "bert")], 4: [("add", "dora")], 5: [("restate", "fritz")],
    7: [("repair", "bert")], 8: [("disable", "clara")], 9: [("restate", "fritz")], 10: [("remove", "dora")],
    12: [("enable", "clara"), ("add", "emil")], 14: [("break", "anna"), ("restate", "fritz")],
    15: [("disable", "fritz")], 16: [("add", "dora")], 17: [("enable", "fritz")], 18: [("repair", "anna")],
    19: [("restate", "fritz")], 20: [("remove", "emil")], 21: [("add", "gustav")], 23: [("restate", "fritz")],
}  # fmt: skip
SHORT: Script = {
    1: [("add", "dora"), ("disable", "clara"), ("break", "bert")],
    2: [("restate", "fritz"), ("remove", "dora")],
    3: [("repair", "bert"), ("enable", "clara")],
}


@dataclass
class World:
    """Upstreams below `folder`, tenant files in `tenants`; DWD's server is at `dwd_url`."""

    folder: Path
    tenants: Path
    first: date
    script: Script
    dwd_url: str = ""
    living: set[str] = field(default_factory=set)
    wanted: dict[str, set[date]] = field(default_factory=dict)  # the days each tenant was there for
    came: dict[str, int] = field(default_factory=dict)  # the day each was added or switched on last
    broken: dict[str, Path] = field(default_factory=dict)
    held_back: list[tuple[int, Path, Path]] = field(default_factory=list)
    temperatures: dict[int, list[float]] = field(default_factory=dict)
    happened: dict[int, list[str]] = field(default_factory=dict)

    @property
    def dwd(self) -> Path:
        """The folder that DWD's server shows."""
        return self.folder / "dwd"

    def yesterday(self, number: int) -> date:
        """The day whose data the upstream gets on day `number`."""
        return self.first + timedelta(days=number - 1)

    def morning(self, number: int, hour: int) -> datetime:
        """A time of day `number`, UTC."""
        return datetime.combine(self.first + timedelta(days=number), time(hour), UTC)

    def begin(self) -> None:
        """The state before day 1: a few days of every upstream, four tenants."""
        for day in days_between(self.first - timedelta(days=LOOKBACK), self.first - timedelta(days=1)):
            for tenant in self._tempest():
                self._write_day(tenant, day)
        for station in STATIONS:
            self.temperatures[station] = [self._temperature(station, n) for n in range(24 * DWD_BEFORE)]
        self._publish_dwd(0)
        for tenant in AT_START:
            self._add(tenant, 0)

    def pass_day(self, number: int) -> list[str]:
        """Day `number`: yesterday's data, late data, and what the script says; what happened."""
        for verb, tenant in self.script.get(number, ()):
            getattr(self, f"_{verb}")(tenant, number)
        for due, source, target in [one for one in self.held_back if one[0] <= number]:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            self.held_back.remove((due, source, target))
        for tenant in self._tempest():
            self._write_day(tenant, self.yesterday(number), number)
        for station in STATIONS:
            held = self.temperatures[station]
            held += [self._temperature(station, len(held) + hour) for hour in range(24)]
        self._publish_dwd(number)
        for tenant in self.living:
            self.wanted[tenant].add(self.yesterday(number))
        self.happened[number] = [f"{verb} {tenant}" for verb, tenant in self.script.get(number, ())]
        return self.happened[number]

    def expected(self, tenant: str) -> set[date]:
        """The days a tenant's data must be there for now."""
        return self.wanted[tenant] - {date.fromisoformat(gap["day"]) for gap in self.broken_days(tenant)}

    def broken_days(self, tenant: str) -> list[dict[str, str]]:
        """The days of a tenant that cannot be loaded now, as `gaps` prints them."""
        cut = self.broken.get(tenant)
        return [{"day": str(self._day_of(cut)), "reason": "failed"}] if cut else []

    def window(self, tenant: str) -> tuple[date, date]:
        """What a living tenant wants without a hole: since it came last."""
        return self.first + timedelta(days=self.came[tenant] - LOOKBACK), max(self.wanted[tenant])

    def connection(self, tenant: str) -> dict[str, object]:
        """The connection as the tenant's file says it."""
        if SERVICE.get(tenant) == "dwd":
            return {
                "base_url": self.dwd_url, "stations": [f"{n:05d}" for n in STATIONS], "lookback_days": LOOKBACK,
                "requests_per_minute": 100_000,
            }  # fmt: skip
        return {"archive_url": str(self.folder / "tempest" / tenant), "lookback_days": LOOKBACK}

    def model(self, tenant: str) -> Tenant:
        """The tenant, switched on."""
        return Tenant.model_validate({"id": tenant, "services": {self.service(tenant): self.connection(tenant)}})

    def service(self, tenant: str) -> str:
        """The one service of a tenant."""
        return SERVICE.get(tenant, "tempest")

    def _tempest(self) -> Iterator[str]:
        """All tenants of Tempest that there will ever be: their upstreams know nothing of us."""
        scripted = {tenant for events in self.script.values() for _, tenant in events}
        return (t for t in sorted({*AT_START, *scripted}) if self.service(t) == "tempest")

    def _write_day(self, tenant: str, day: date, number: int = 0) -> None:
        """A day's objects. A steady tenant's lack an hour, which is put aside."""
        scratch, folder = self.folder / "scratch", self.folder / "tempest" / tenant
        seed = sum(map(ord, tenant)) % 90 + 1
        write_archive(SimulatedArchive(tenant, day, day, 1, seed, 60), ObjectStore(str(scratch)))
        late = scratch / day_folder(day) / f"hour={LATE_HOUR}"
        if number and tenant in STEADY:
            aside = self.folder / "late" / tenant / str(day)
            aside.parent.mkdir(parents=True, exist_ok=True)
            late.rename(aside)
            due = number + (2 if number % 3 == 0 else 1)
            self.held_back.append((due, aside, folder / day_folder(day) / late.name))
        target = folder / day_folder(day)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(scratch / day_folder(day), target, dirs_exist_ok=True)
        shutil.rmtree(scratch)

    def _temperature(self, station: int, hour: int) -> float:
        return round(10 + station + 5 * ((hour % 24) - 12) / 12 + hour % 7 * 0.1, 1)

    def _publish_dwd(self, number: int) -> None:
        """One file a station, as DWD replaces it every day; modified on day `number`."""
        begin = datetime.combine(self.first - timedelta(days=DWD_BEFORE), time(), UTC)
        stamp = self.morning(number, 3).timestamp()
        for station in STATIONS:
            body = hourly_zip(station, begin, self.temperatures[station])
            file = put(self.dwd, f"{RECENT}/stundenwerte_TU_{station:05d}_akt.new", body)
            os.utime(file, (stamp, stamp))
            file.rename(file.with_suffix(".zip"))

    def _restate(self, tenant: str, number: int) -> None:
        """A value of a day that the daily load does not look at any more."""
        hour = 24 * (DWD_BEFORE + number - 5) + 6
        self.temperatures[STATIONS[0]][hour] += 1.5

    def _break(self, tenant: str, number: int) -> None:
        cut = self.folder / "tempest" / tenant / day_folder(self.yesterday(number)) / "hour=12" / "cut-off.json.gz"
        cut.parent.mkdir(parents=True, exist_ok=True)
        cut.write_bytes(b"\x1f\x8b\x08 no more")
        self.broken[tenant] = cut

    def _repair(self, tenant: str, number: int) -> None:
        self.broken.pop(tenant).unlink()

    def _day_of(self, cut: Path) -> date:
        year, month, day = (int(part.split("=")[1]) for part in cut.parts[-5:-2])
        return date(year, month, day)

    def _add(self, tenant: str, number: int) -> None:
        """A file appears, or says again that the connection is on: the look-back's days are wanted."""
        self._write_file(tenant)
        self.living.add(tenant)
        self.came[tenant] = number
        days = days_between(self.first + timedelta(days=number - LOOKBACK), self.yesterday(number))
        self.wanted.setdefault(tenant, set()).update(days)

    _enable = _add

    def _disable(self, tenant: str, number: int) -> None:
        self._write_file(tenant, enabled=False)
        self.living.discard(tenant)

    def _remove(self, tenant: str, number: int) -> None:
        (self.tenants / f"{tenant}.yaml").unlink()
        self.living.discard(tenant)

    def _write_file(self, tenant: str, **more: object) -> None:
        self.tenants.mkdir(exist_ok=True)
        document = {"id": tenant, "services": {self.service(tenant): {**self.connection(tenant), **more}}}
        (self.tenants / f"{tenant}.new").write_text(yaml.safe_dump(document))
        (self.tenants / f"{tenant}.new").rename(self.tenants / f"{tenant}.yaml")
