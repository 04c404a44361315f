"""A tenant's history in the lake: stations that could not be read keep what is known of them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from weather_backfill.dagster.assets.station_history import write_history
from weather_backfill.lake import layout, parquet
from weather_backfill.model.errors import SourceUnavailableError
from weather_backfill.model.schemas import STATION_HISTORY
from weather_backfill.sources.dwd.connection import DwdConnection
from weather_backfill.sources.dwd.source import DwdSource
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.sources.dwd.files import needs_data, tree


def history(*spans: tuple[str, date, date | None, float]) -> pa.Table:
    names = ("station_id", "valid_from", "valid_to", "height")
    rows = [dict(zip(names, span, strict=True)) for span in spans]
    return pa.Table.from_pylist(
        [row | {"is_current": row["valid_to"] is None, "instruments": ["T: X"]} for row in rows], STATION_HISTORY
    )


def test_a_station_that_cannot_be_read_keeps_its_rows(tmp_path: Path) -> None:
    store = ObjectStore(str(tmp_path))
    moved = date(2010, 5, 1)
    first = history(("1", date(1990, 1, 1), None, 1.0), ("2", date(1990, 1, 1), None, 2.0))
    write_history(store, "dwd", "acme", first)
    now = history(("1", date(1990, 1, 1), moved, 1.0), ("1", moved, None, 5.0))
    written = write_history(store, "dwd", "acme", now, {"2": "damaged"})
    assert [(r["station_id"], r["height"]) for r in written.to_pylist()] == [("1", 1.0), ("1", 5.0), ("2", 2.0)]
    key = layout.tenant_key(layout.STATION_HISTORY, "dwd", "acme")
    assert parquet.decode(store.get(key)).cast(STATION_HISTORY).equals(written)
    with pytest.raises(SourceUnavailableError, match="no station's metadata could be read: 1, 2"):
        write_history(store, "dwd", "acme", STATION_HISTORY.empty_table(), ["1", "2"])
    assert parquet.decode(store.get(key)).num_rows == 3


@needs_data
def test_real_stations(tmp_path: Path) -> None:
    connection = DwdConnection(base_url=tree("2020-03-27"), stations=("00078", "00096"))
    found, failed = DwdSource(connection).station_history()
    store = ObjectStore(str(tmp_path))
    table = write_history(store, "dwd", "acme", found, failed)
    current = [row for row in table.to_pylist() if row["is_current"]]
    assert not failed
    assert {row["station_id"]: row["valid_to"] for row in current} == {"00078": None, "00096": None}
    assert all(50 < row["latitude"] < 55 and row["name"] and row["height"] for row in current)
