"""What rows of schema 1 stand for: what the connection says now, by metric."""

from __future__ import annotations

import pyarrow as pa

from weather_backfill.sources.csv_folder.connection import CsvFolderConnection
from weather_backfill.sources.declared import Declared, by_metric


def declares(connection: CsvFolderConnection, table: pa.Table, cadence_seconds: int) -> Declared:
    """The intervals of the connection."""
    return by_metric(table, connection.interval_of)
