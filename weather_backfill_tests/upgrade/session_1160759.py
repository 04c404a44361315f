"""What an operator does with 1160759 before the upgrade: a service more, and more that is done, half done and undone.

Runs with that commit's code alone. Three tenants (two of Tempest, one of DWD) and a fourth whose file is broken; days
that were replaced and rolled back; rejects; alerts; a run that was killed after one of its two days; backfills that are
completed, failed, paused, cancelled, under way and queued.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
from session import (
    PATIENCE,
    at_home,
    daemon,
    dagster,
    hour_folder,
    materialize,
    run,
    start,
    tempest_file,
    wait_for,
    write_tenants,
    write_upstream,
)

DAYS = {"acme": 5, "borealis": 6}
STATIONS = ("00901", "00902")  # DWD has none of these numbers
FILES = {
    **{tenant: tempest_file(tenant) for tenant in DAYS},
    "cirrus": "id: cirrus\nservices:\n  dwd:\n    base_url: file://PLACE/upstream/dwd\n"
    f"    products: [air_temperature, wind]\n    stations: {list(STATIONS)}\n    lookback_days: 10\n",
    "dunlin": "id: dunlin\nservices: {tempest: {archive: PLACE/upstream/acme}}\n",  # there is no setting `archive`
}
REPLACED, ROLLED_BACK = date(2024, 1, 1), date(2024, 1, 2)  # of borealis
KILLED = date(2024, 1, 4), date(2024, 1, 5)  # of borealis: the first is written, the second about to be
FIRST, LAST = date(2023, 12, 31), date(2024, 1, 4)  # of DWD's files
RESTATED = datetime(2024, 1, 2, 12)  # noqa: DTZ001 - as DWD writes it

# What Python runs by itself in the processes that are to hang: as they are about to put that file in its place.
HANG = """
import os, sys, threading
def hang(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith(os.environ["HANG_AT"]):
        with open(os.environ["HANG_SAYS"], "w") as file:
            file.write(f"{os.getpid()}\\n")
        threading.Event().wait()
if "HANG_AT" in os.environ:
    sys.addaudithook(hang)
"""


def write_dwd(place: Path, correction: float = 0) -> None:
    """The files of two stations: hourly temperature and humidity, speed and direction of the wind."""
    for number, station in enumerate(STATIONS):
        temperature = ["STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor", *_temperatures(number, correction)]
        wind = ["STATIONS_ID;MESS_DATUM;QN_3;   F;   D;eor"]
        wind += [f"{station:>11};{t:%Y%m%d%H};    3;{2 + t.hour % 5:6.1f};{10 * t.hour:6d};eor" for t in _hours()]
        for folder, code, kind, lines in (
            ("air_temperature", "TU", "tu", temperature), ("wind", "FF", "ff", wind),
        ):  # fmt: skip
            span = f"{FIRST:%Y%m%d}_{LAST:%Y%m%d}"
            target = (
                place / "upstream/dwd/hourly" / folder / f"historical/stundenwerte_{code}_{station}_{span}_hist.zip"
            )
            members = _metadata(station) | {f"produkt_{kind}_stunde_{span}_{station}.txt": "\r\n".join([*lines, ""])}
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, text in members.items():
                    archive.writestr(zipfile.ZipInfo(name, (2024, 2, 1, 0, 0, 0)), text.encode("latin-1"))


def _hours() -> Iterator[datetime]:
    first = datetime.combine(FIRST, datetime.min.time())
    return (first + timedelta(hours=hour) for hour in range(24 * ((LAST - FIRST).days + 1)))


def _temperatures(number: int, correction: float) -> Iterator[str]:
    for stamp in _hours():
        value = number + stamp.hour / 4 + (correction if (number, stamp) == (0, RESTATED) else 0)
        yield f"{STATIONS[number]:>11};{stamp:%Y%m%d%H};    3;{value:6.1f};{50 + stamp.hour:6.1f};eor"
        if (number, stamp) == (0, datetime.combine(REPLACED, datetime.min.time())):
            yield f"{STATIONS[number]:>11};{stamp:%Y%m%d%H};    3;  warm;  50.0;eor"


def _metadata(station: str) -> dict[str, str]:
    """What the zip says beside the product; the station has moved once."""
    number, name = int(station), f"Musterstadt-{station}"
    return {
        f"Metadaten_Geographie_{station}.txt": (
            "Stations_id;Stationshoehe;Geogr.Breite;Geogr.Laenge;von_datum;bis_datum;Stationsname\r\n"
            f"{number};  100.00; 52.0000; 13.0000;20000101;20101231;{name}\r\n"
            f"{number};  120.00; 52.0100; 13.0100;20110101;        ;{name}\r\n"
        ),
        f"Metadaten_Stationsname_{station}.txt": (
            f"Stations_ID;Stationsname;Von_Datum;Bis_Datum\r\n{number};{name};20000101;\r\n"
        ),
        f"Metadaten_Parameter_{station}.txt": (
            "Stations_ID;Von_Datum;Bis_Datum;Stationsname;Parameter;Parameterbeschreibung;Einheit;"
            "Datenquelle (Strukturversion=SV);Zusatz-Info;Besonderheiten;Literaturhinweis;eor;\r\n"
            + "".join(
                f"{number};20000101;{LAST:%Y%m%d};{name};{parameter};;;;Stundenwerte in UTC;;;eor;\r\n"
                for parameter in ("TT_TU", "RF_TU", "F", "D")
            )
        ),
    }


def change(place: Path, day: date) -> None:
    """Let borealis's archive say something else of a day's last hour, and no longer what cannot be read."""
    hour = hour_folder(place, "borealis", day, 23) / "station.json"
    said = json.loads(f"[{','.join(hour.read_text().splitlines())}]")
    for message in said:
        message["obs"][0][7] += 2  # the temperature
    hour.write_text("\n".join(map(json.dumps, said)))
    (hour_folder(place, "borealis", day, 6) / "half.json").unlink(missing_ok=True)


def replace_days(place: Path) -> None:
    """Two days of borealis are read again from an archive that has changed; one of them is rolled back."""
    for day in (REPLACED, ROLLED_BACK):
        change(place, day)
        materialize("tempest/raw_observations,tempest/refined_15m", "--partition", f"{day}|borealis")
    run("rollback", "--tenant", "borealis", "--service", "tempest", "--day", str(ROLLED_BACK), "--yes")


def be_killed(place: Path) -> None:
    """A run dies in the middle of its two days, and so does the daemon, before it tries the run again."""
    hooks, says = place / "hooks", place / "hanging"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(HANG)
    first, last = map(str, KILLED)
    start("borealis", first, last)
    environment = {
        "HANG_AT": f"raw_observations/service=tempest/tenant=borealis/date={last}/part.parquet",
        "HANG_SAYS": str(says), "PYTHONPATH": f"{hooks}{os.pathsep}{os.environ['PYTHONPATH']}",
    }  # fmt: skip
    with daemon(place, **environment) as running:
        until(lambda: says.exists() and says.read_text().endswith("\n"), "no run has come so far")
        running.kill()  # its code server lives on for a while, and says that the run has died
        running.wait()
        os.kill(int(says.read_text()), signal.SIGKILL)
        with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
            died = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={"dagster/will_retry": "true"})
            until(lambda: instance.get_runs(died), "the run is not known to have died")


def until(true: Callable[[], object], otherwise: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def work(place: Path) -> None:
    """The backfills, one after the other what ends, what is killed and what never begins."""
    many = {"WEATHER_MAX_ACTIVE_BACKFILLS": "10"}
    statuses = {
        start("acme", "2024-01-01", "2024-01-04"): "completed with failures",
        start("borealis", "2024-01-01", "2024-01-02", "--chunk-days", "1"): "completed",
        start("cirrus", "2024-01-01", "2024-01-03", service="dwd"): "completed",
        (paused := start("acme", "2024-01-05", "2024-01-05", **many)): "paused",
        (canceled := start("borealis", "2024-01-03", "2024-01-03", **many)): "canceled",
    }
    run("pause", paused)
    run("cancel", canceled)
    with daemon(place):
        wait_for(place, 8, statuses)
    for sensor in ("new_connections", "alerts"):  # one tick each
        dagster("sensor", "preview", sensor, "-m", "weather_backfill.definitions")
    replace_days(place)
    be_killed(place)
    materialize("dwd/station_history", "--partition", "cirrus")
    materialize("dwd/quarterly_features", "--partition", "2024-01-01|cirrus")
    write_dwd(place, correction=5)
    materialize("warehouse")
    run("plan", "--tenant", "acme", "--service", "tempest", "--start", "2024-01-01", "--end", "2024-01-05")
    run("start", "--tenant", "acme", "--service", "tempest", "--start", "2024-01-01", "--end", "2024-01-02", "--yes",
        codes=(2,))  # fmt: skip
    run("metrics")
    start("borealis", "2024-01-06", "2024-01-06", WEATHER_MAX_ACTIVE_BACKFILLS="1")


def main(place: Path) -> None:
    """Everything of this commit below `place`."""
    at_home(place)
    write_upstream(place, DAYS, hold=10)
    half = hour_folder(place, "borealis", REPLACED, 6)
    (half / "half.json").write_text((half / "station.json").read_text()[:60])
    write_dwd(place)
    write_tenants(place, FILES, str(place))
    for tenant in (*DAYS, "cirrus"):
        run("tenants", "register", tenant)
    work(place)
    write_tenants(place, FILES, "PLACE")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
