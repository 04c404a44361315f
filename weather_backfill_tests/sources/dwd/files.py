"""Where the real files lie, and small products made by hand."""

from __future__ import annotations

import io
import os
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from weather_backfill.model.days import DayFailure, RawDay
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.source import DwdSource

ROOT = Path(__file__).resolve().parents[3]
DWD = (ROOT / os.environ.get("WEATHER_TEST_DATA", "../shared/data")).resolve() / "dwd"
needs_data = pytest.mark.skipif(not DWD.is_dir(), reason=f"no real files at {DWD}: set WEATHER_TEST_DATA")

NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)
HOURLY_HEADER = "STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor"


def tree(day: str) -> str:
    """The `file://` URL of a snapshot of the server."""
    return (DWD / f"cdc-{day}").as_uri()


def member(path: Path, prefix: str = "produkt_") -> bytes:
    """A file inside a zip, read with zipfile alone."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(n for n in archive.namelist() if n.lower().startswith(prefix.lower())))


def zipped(**members: str | bytes) -> bytes:
    """A zip with these members; `__` in a keyword stands for the dot of its ending."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def hourly(station: int, start: datetime, values: list[float], level: int = 3) -> str:
    """An hourly temperature product with CRLF ends."""
    lines = [HOURLY_HEADER]
    for hour, value in enumerate(values):
        stamp = start + timedelta(hours=hour)
        lines.append(f"{station:11d};{stamp:%Y%m%d%H};{level:5d};{value:6.1f};{50.0:6.1f};eor")
    return "\r\n".join(lines) + "\r\n"


def hourly_zip(station: int, start: datetime, values: list[float], level: int = 3) -> bytes:
    """The same as a station file."""
    return zipped(produkt_tu_stunde__txt=hourly(station, start, values, level))


def put(root: Path, path: str, body: bytes) -> Path:
    """Write a file into a tree."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(body)
    return target


def read_days(connection: DwdConnection, dates: list, **options: object) -> list[RawDay | DayFailure]:
    """All days of a fresh source."""
    return list(DwdSource(connection, **options).days(dates))  # type: ignore[arg-type]


def good(days: list[RawDay | DayFailure]) -> list[RawDay]:
    """The days as `RawDay`, none of them failed or incomplete."""
    for day in days:
        assert isinstance(day, RawDay), day
        assert day.incomplete is None, day.incomplete
    return days  # type: ignore[return-value]


def frame(days: list[RawDay]) -> pd.DataFrame:
    """The rows of days as pandas: station_id, metric, observed_at, value, source_quality."""
    tables = [d.table for d in days]
    fields = [pa.field(f.name, pa.string()) if pa.types.is_dictionary(f.type) else f for f in tables[0].schema]
    return pa.concat_tables([t.cast(pa.schema(fields)) for t in tables]).to_pandas()


def truth(text: bytes, columns: dict[str, str], level: str) -> pd.DataFrame:
    """The same rows computed by pandas alone from the bytes of a product stamped in UTC."""
    wide = pd.read_csv(io.BytesIO(text), sep=";", skipinitialspace=True, encoding="latin-1")
    wide.columns = wide.columns.str.strip()
    (number,) = wide["STATIONS_ID"].unique()
    stamps = moments(wide["MESS_DATUM"].to_numpy())
    parts = []
    for column, metric in columns.items():
        value = wide[column].astype(float)
        parts.append(
            pd.DataFrame(
                {
                    "station_id": f"{number:05d}",
                    "metric": metric,
                    "observed_at": stamps,
                    "value": value.where(value != -999, np.nan),
                    "source_quality": wide[level].astype(float),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def moments(stamps: np.ndarray) -> pd.DatetimeIndex:
    """Stamps as whole numbers, YYYYMMDDHH or YYYYMMDDHHMM, as moments of UTC."""
    minutes = stamps * 100 if stamps[0] < 10**10 else stamps
    year, month, day, hour, minute = (
        minutes // 10**8, minutes // 10**6 % 100, minutes // 10**4 % 100, minutes // 100 % 100, minutes % 100
    )  # fmt: skip
    months = (year * 12 + month - 1 - 1970 * 12).astype("M8[M]").astype("M8[m]")
    return pd.DatetimeIndex((months + ((day - 1) * 24 + hour) * 60 + minute).astype("M8[us]"), tz="UTC")


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted the way the lake sorts them, with plain columns."""
    kept = rows[["station_id", "metric", "observed_at", "value", "source_quality"]].copy()
    kept["source_quality"] = kept["source_quality"].astype(float)
    kept["station_id"], kept["metric"] = kept["station_id"].astype("category"), kept["metric"].astype("category")
    kept = kept.sort_values(["station_id", "metric", "observed_at"]).reset_index(drop=True)
    return kept.astype({"station_id": object, "metric": object})
