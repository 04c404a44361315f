"""Encoding and decoding of the lake's Parquet files: sorted, small, the same bytes for the same rows.

zstd level 3, dictionary pages for ids, metrics and values, delta encoding for times. A row group never splits
the series of a station and metric, so a reader can aggregate one row group after
another without meeting the same series twice; such files have `weather.row_groups` in the footer.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from weather_backfill import __version__
from weather_backfill.model import intervals
from weather_backfill.model.days import Cadence
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.model.schemas import file_schema, refuse_newer
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.objects import StoredObject
from weather_backfill.util import json_documents

ROW_GROUP_ROWS = 1_000_000
PAGE_ROWS = 131_072
"""Most rows of a page: zstd then compresses the equal stamps and similar values of some ninety series together (the
times of a day of scans take 0.02 bytes a row; with pages of 20,000 rows, 0.12)."""
FOOTER_BYTES = 64 * 1024  # more than enough: our footers take a few kB
SHARED_STAMPS = 0.01  # distinct stamps per row
REGULAR_STEPS = 16
WHOLE_SERIES = "whole series"
TAGS = ("station_id", "metric")
_OURS = b"weather."


@dataclass(frozen=True, slots=True)
class Encoded:
    """A Parquet file's bytes, their sha256 in hex, and the `content` of its footer (None if the footer has none)."""

    data: bytes = field(repr=False)
    sha256: str
    content: str | None

    @classmethod
    def of(cls, data: bytes) -> Encoded:
        """Hash a file that was read and parse its footer; `content` is None where the footer is damaged."""
        metadata = metadata_of(data)
        content = footer_of(metadata).get("content") if metadata else None
        return cls(data, hashlib.sha256(data).hexdigest(), content)


def encode(table: pa.Table, lineage: Mapping[str, str]) -> Encoded:
    """Encode one day of a dataset as a Parquet file, `lineage` and the schema's metadata in the footer.

    The footer also holds the time that the rows span (`first_observation`, `last_observation`, UTC), under `content`
    a hash of the pages and the metadata, and under `rows` a hash of the pages alone.
    """
    has_tags = set(TAGS) <= set(table.schema.names)
    metrics = _distinct(table, "metric") if has_tags else []
    span = zip(("first_observation", "last_observation"), span_of(table), strict=True)
    footer = {"code_version": __version__, **{n: t.isoformat() for n, t in span if t}, **lineage}
    if has_tags:
        footer["row_groups"] = WHOLE_SERIES
    schema = file_schema(table.schema, footer, metrics)
    # Times of a station's own clock compress best as deltas; times that many rows share, as a dictionary.
    times = [f.name for f in schema if pa.types.is_timestamp(f.type) and not _suits_dictionary(table[f.name])]
    sink = io.BytesIO()
    with pq.ParquetWriter(
        pa.PythonFile(sink),
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=[f.name for f in schema if f.name not in times],
        column_encoding=dict.fromkeys(times, "DELTA_BINARY_PACKED"),
        store_schema=False,
        write_page_index=True,
        write_page_checksum=True,
        max_rows_per_page=PAGE_ROWS,
    ) as writer:
        for part in _prepared(table, _row_groups(table, has_tags)):
            writer.write_table(part.replace_schema_metadata(schema.metadata), row_group_size=max(part.num_rows, 1))
        pairs = {k.decode(): v.decode() for k, v in schema.metadata.items()}
        content = hashlib.sha256(json.dumps(sorted(pairs.items())).encode())
        with sink.getbuffer() as pages:
            content.update(pages)
            file_hash, size = hashlib.sha256(pages), len(pages)
        hashes = {"weather.content": content.hexdigest()[:32], "weather.rows": file_hash.hexdigest()[:32]}
        writer.add_key_value_metadata({**pairs, **hashes})
    data = sink.getvalue()
    file_hash.update(memoryview(data)[size:])  # the pages are hashed already
    return Encoded(data, file_hash.hexdigest(), hashes["weather.content"])


def _prepared(table: pa.Table, ranges: Sequence[tuple[int, int]]) -> Iterator[pa.Table]:
    """Yield the rows of each row group in canonical form, prepared on another thread while the previous one is written.

    Arrow encodes on one thread, and that takes most of the time of a large day.
    """
    if len(ranges) == 1:  # a small day: a thread would cost more than it gives
        yield _canonical(table)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="parquet") as pool:
        parts = (pool.submit(_canonical, table.slice(start, stop - start)) for start, stop in ranges)
        pending = next(parts)
        for following in parts:
            yield pending.result()
            pending = following
        yield pending.result()


def span_of(table: pa.Table) -> tuple[datetime | None, datetime | None]:
    """The first and the last time (UTC) of the first column; None without rows or if it is not a time column."""
    first = table.schema.field(0)
    if not table.num_rows or not pa.types.is_timestamp(first.type):
        return None, None
    span = pc.min_max(table[first.name]).as_py()
    return span["min"], span["max"]


def _canonical(table: pa.Table) -> pa.Table:
    """Reduce dictionaries to the names that occur, sorted, so that the same rows are encoded to the same bytes."""
    table = table.unify_dictionaries().combine_chunks()
    for position, tag in enumerate(table.schema):
        column = table.column(position).combine_chunks()
        if pa.types.is_dictionary(tag.type) and table.num_rows and not column.null_count:
            codes = np.asarray(column.indices)
            used = np.flatnonzero(np.bincount(codes, minlength=len(column.dictionary)))
            names = column.dictionary.take(pa.array(used))
            if len(used) == len(column.dictionary) and names.equals(names.sort()):
                continue
            order = np.asarray(pc.sort_indices(names))
            rank = np.zeros(len(column.dictionary), dtype="i4")
            rank[used[order]] = np.arange(len(used), dtype="i4")
            tags = pa.DictionaryArray.from_arrays(pa.array(rank[codes]), names.take(pa.array(order)))
            table = table.set_column(position, tag, tags)
    return table


def _suits_dictionary(times: pa.ChunkedArray) -> bool:
    """Return whether many rows share few irregular times, as when all points of a site are read in one scan.

    Regular times are a constant step to the delta encoding, however many rows share them.
    """
    stamps = np.sort(np.asarray(pc.unique(times.cast(pa.int64()))))
    regular = len(np.unique(np.diff(stamps))) <= REGULAR_STEPS
    return 0 < len(stamps) < SHARED_STAMPS * len(times) and not regular


def _row_groups(table: pa.Table, has_tags: bool) -> list[tuple[int, int]]:
    """Row ranges `[start, stop)` of at most about `ROW_GROUP_ROWS`, cut where the series changes."""
    rows = table.num_rows
    if rows <= ROW_GROUP_ROWS or not has_tags:
        return [(0, rows)]
    changes = series_starts(table)
    ranges, start = [], 0
    while start < rows:
        cut = changes[(changes > start) & (changes <= start + ROW_GROUP_ROWS)]
        later = changes[changes > start + ROW_GROUP_ROWS]
        stop = (
            rows if rows - start <= ROW_GROUP_ROWS else int(cut[-1] if len(cut) else later[0] if len(later) else rows)
        )
        ranges.append((start, stop))
        start = stop
    return ranges


def series_starts(table: pa.Table) -> np.ndarray:
    """The numbers of the first rows of the (station, metric) series of a sorted table."""
    if not table.num_rows:
        return np.empty(0, "i8")
    table = unified(table.select(TAGS))
    changed = np.zeros(table.num_rows, dtype=bool)
    for name in TAGS:
        codes = np.concatenate([np.asarray(chunk.indices) for chunk in table[name].chunks])
        changed[1:] |= codes[1:] != codes[:-1]
    changed[0] = True
    return np.flatnonzero(changed)


def series_names(table: pa.Table, starts: np.ndarray) -> list[tuple[str, str]]:
    """The station and metric of the rows with these numbers."""
    return list(zip(*(table[name].take(starts).cast(pa.string()).to_pylist() for name in TAGS), strict=True))


def in_order(table: pa.Table) -> pa.Table:
    """Raw rows by station, metric, time and interval; one that is not known comes last."""
    table = unified(table).combine_chunks()
    ranks = []
    for name in TAGS:
        tags = table[name].chunk(0)
        rank = np.empty(len(tags.dictionary), dtype="i4")
        rank[np.asarray(pc.sort_indices(tags.dictionary))] = np.arange(len(tags.dictionary), dtype="i4")
        ranks.append(rank[np.asarray(tags.indices)])
    times = np.asarray(table["observed_at"].cast(pa.int64()))
    lengths = intervals.lengths(table, unknown=np.iinfo(np.int32).max)
    return table.take(pa.array(np.lexsort((lengths, times, ranks[1], ranks[0]))))


def unified(table: pa.Table) -> pa.Table:
    """Unify the dictionaries of each column; a table that needs it not is returned as it is, as unifying copies."""
    for column in table.columns:
        if pa.types.is_dictionary(column.type) and column.num_chunks > 1:
            first = column.chunk(0).dictionary
            if not all(chunk.dictionary.equals(first) for chunk in column.chunks[1:]):
                return table.unify_dictionaries()
    return table


def _distinct(table: pa.Table, column: str) -> list[str]:
    return sorted(pc.unique(table[column]).cast(pa.string()).to_pylist())


def open_file(source: object) -> pq.ParquetFile:
    """Open a Parquet file of the lake, tags as dictionaries; `source` is a path or a buffer.

    Raises `UnreadableObjectError` if the footer is damaged, and `NewerSchemaError` if a newer release has written it.
    Pages' checksums are verified when they are read.
    """
    with _reading():
        metadata = pq.read_metadata(source)
        refuse_newer(footer_of(metadata).get("schema_version"), "this file")
        columns = [metadata.schema.column(n) for n in range(metadata.num_columns)]
        # A tag is never null; the station of a reject may be, and is a plain string.
        tags = [column.name for column in columns if column.name in TAGS and column.max_definition_level == 0]
        return pq.ParquetFile(source, metadata=metadata, read_dictionary=tags, page_checksum_verification=True)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except MemoryError:  # Arrow's is an ArrowException too: nothing is wrong with the file
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system, not of the file
        raise UnreadableObjectError(
            f"this Parquet file is damaged ({' '.join(str(error).split())[:200]}): its rows cannot be known. Reprocess "
            "its day, or restore the object's previous version."
        ) from error


def decode(data: bytes) -> pa.Table:
    """Decode a whole file; raises `UnreadableObjectError` if it is damaged, `NewerSchemaError` as `open_file`."""
    with _reading():
        table = open_file(pa.BufferReader(data)).read()
        table.validate(full=True)
        return table


def rows(data: bytes, condition: pc.Expression) -> pa.Table:
    """Decode the rows of a file that meet a condition, tags as dictionaries; other row groups are not decoded.

    Raises `UnreadableObjectError` if the footer or a decoded row group is damaged.
    """
    with _reading():
        table = pq.read_table(
            pa.BufferReader(data), filters=condition, read_dictionary=list(TAGS), page_checksum_verification=True
        )
        table.validate(full=True)
        refuse_newer(our_pairs(table.schema.metadata).get("schema_version"), "this file")
        return table


def footer(file: pq.ParquetFile) -> dict[str, str]:
    """The file's key-value metadata that starts with `weather.`, without that prefix."""
    return footer_of(file.metadata)


def metadata_of(tail: bytes) -> pq.FileMetaData | None:
    """Parse a file's metadata from its last bytes (or all); None if they do not hold a whole footer."""
    try:
        with _reading():
            return pq.read_metadata(pa.BufferReader(tail))
    except UnreadableObjectError:
        return None


def stored_metadata(store: ObjectStore, stored: StoredObject) -> pq.FileMetaData | None:
    """Read the metadata of a stored file, mostly by its last bytes alone; None if it is damaged."""
    return metadata_of(store.tail(stored, FOOTER_BYTES)) or metadata_of(store.get(stored.key))


def footer_of(metadata: pq.FileMetaData) -> dict[str, str]:
    """`footer` of parsed metadata."""
    return our_pairs(metadata.metadata)


def our_pairs(pairs: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """The pairs of a file's or a schema's metadata that start with `weather.`, without that prefix."""
    return {
        key[len(_OURS) :].decode(errors="replace"): value.decode(errors="replace")
        for key, value in (pairs or {}).items()
        if key.startswith(_OURS)
    }


def cadence_lineage(cadence: Cadence) -> dict[str, str]:
    """Encode a cadence for the footer, so that refining a raw file needs nothing but the file."""
    document: dict[str, Any] = {"seconds": cadence.seconds, "by_metric": dict(sorted(cadence.by_metric.items()))}
    if cadence.by_station:
        document["by_station"] = {name: dict(sorted(own.items())) for name, own in sorted(cadence.by_station.items())}
    return {"cadence": json.dumps(document)}


def cadence_of(footers: Mapping[str, str]) -> Cadence:
    """Parse the cadence that `cadence_lineage` wrote; raises `UnreadableObjectError` if the footer has none."""
    with json_documents.reading("this file's footer has no valid cadence", "reprocess its day."):
        document = json_documents.parsed(footers["cadence"])
        by_station = {str(name): _seconds(own) for name, own in document.get("by_station", {}).items()}
        return Cadence(int(document["seconds"]), _seconds(document["by_metric"]), by_station)


def _seconds(document: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(seconds) for name, seconds in document.items()}


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Concatenate tables, dictionaries unified; no tables give an empty table of the schema."""
    return pa.concat_tables(tables).unify_dictionaries() if tables else schema.empty_table()
