"""Every parser under hostile input: what goes in, and what must hold of what comes out.

A case takes a random generator, makes an input and returns its `Outcome`. A `WeatherError` is a refusal; any other
exception, and any promise that is broken, is a defect.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from weather_backfill.backfill.manifests import Manifest
from weather_backfill.backfill.plan import BackfillPlan
from weather_backfill.lake import layout, parquet
from weather_backfill.lake.journal import record_from_json, record_to_json
from weather_backfill.model import schemas
from weather_backfill.model.days import DayRecord
from weather_backfill.model.errors import ConfigurationError, UnreadableObjectError
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.model.schemas import RAW, RAW_TEXT_LIMIT
from weather_backfill.sources.aceiot.connection import AceiotConnection
from weather_backfill.sources.aceiot.day_assembly import sort_window
from weather_backfill.sources.aceiot.decode import Page, decode_page, micros
from weather_backfill.sources.aceiot.pagination import Cursor, walk_window
from weather_backfill.sources.aceiot.points import PointSet, choose_points
from weather_backfill.sources.dwd.directory_index import parse_directory, parse_station_list
from weather_backfill.sources.dwd.metadata import parse_metadata
from weather_backfill.sources.dwd.product_parser import ParsedProduct, parse_product
from weather_backfill.sources.dwd.products import parse_file_name, product
from weather_backfill.sources.dwd.time_reference import HourlyClock
from weather_backfill.sources.dwd.zip_file import open_archive, product_member
from weather_backfill.sources.table import estimate
from weather_backfill.sources.tempest import copies, messages, objects, source
from weather_backfill.sources.tempest.framing import Damage, unframed
from weather_backfill.tenants.files import parse_tenant
from weather_backfill_tests.hostile import seeds
from weather_backfill_tests.hostile.mutations import mutated


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows of an accepted input: `rows_in` is counted without the parser where that is possible."""

    rows_in: int = 0
    rows_out: int = 0
    rejects: int = 0
    duplicates: int = 0

    def reconciled(self) -> Outcome:
        """This, if nothing is silently gone."""
        assert self.rows_in == self.rows_out + self.rejects + self.duplicates, self
        return self


Case = Callable[[random.Random], Outcome]


def tempest_objects(rng: random.Random) -> Outcome:
    """A batch of objects, some damaged: every report comes out once, is rejected or is a duplicate."""
    bodies = [
        mutated(rng, seeds.tempest_body(rng)) if rng.random() < 0.5 else seeds.tempest_body(rng) for _ in range(3)
    ]
    batch = [(f"{n}.json", body) for n, body in enumerate(bodies)]
    decoded = messages.decode(batch)
    apart = [messages.decode([item]) for item in batch]
    kept, replaced, _ = copies.latest_only([decoded])
    table = source.long_table(kept)
    assert table.schema == RAW
    table.validate(full=True)
    # The fate of an object does not hang on what lies beside it.
    assert [len(a.epoch_us) for a in apart] == np.bincount(decoded.source, minlength=len(batch)).tolist()
    assert len(decoded.rejects) == sum(len(a.rejects) for a in apart)
    assert all(len(r.raw_text.encode()) <= 3 * RAW_TEXT_LIMIT for r in decoded.rejects)
    said = decoded.counts["empty_messages"] + decoded.counts["other_messages"]
    estimate(decoded.rejects, 0, 0, BYTES)
    lost = sum(reject.stands_for for reject in decoded.rejects)
    expected = sum(tempest_reports(body) for body in bodies)
    return Outcome(expected, len(kept.epoch_us) + said, lost, len(replaced)).reconciled()


def tempest_framing(rng: random.Random) -> Outcome:
    """Messages of which some are damaged within their line: all others are read, however these lie in the object."""
    sound = [seeds.tempest_message(rng, 5 * n) for n in range(6)]
    lines = [json.dumps(message).encode() for message in sound]
    damaged = set(rng.sample(range(6), rng.choice([0, 1, 2])))
    for n in damaged:
        lines[n] = lines[n][: rng.randrange(1, len(lines[n]))]
    framed, apart = seeds.framed(rng, lines), rng.random() < 0.5
    body = b"\n".join(lines) if damaged and apart else framed
    decoded = messages.decode([("a", body)])
    stamps = {round(stamp / 1e6) for stamp in decoded.epoch_us.tolist()}
    for n, message in enumerate(sound):
        told = {report[0] for report in message["obs"]}  # type: ignore[attr-defined]
        assert n in damaged or told <= stamps, (n, damaged, body)
        assert n not in damaged or not told & stamps, (n, damaged, body)
    assert bool(decoded.rejects) == bool(damaged), body
    return Outcome()


BYTES = 200
"""Of a report, where its number is estimated."""


def tempest_reports(body: bytes) -> int:
    """Reports in an object, by its messages: one that holds none counts as one, what cannot be read by its bytes."""
    return sum(_reports(message, text) for message, text in unframed(body)) or 1


def _reports(message: Any, text: bytes | None) -> int:
    if message is Damage.NOT_CLOSED:
        return 1
    size = text if text is not None else orjson.dumps(message)
    if not isinstance(message, dict):
        return max(1, round(len(size) / BYTES))
    obs, status, kind = message.get("obs"), message.get("status"), message.get("type")
    if isinstance(obs, list) and obs:
        return len(obs)
    code = status.get("status_code") if isinstance(status, dict) else None
    known = kind in ("obs_st", "obs_air", "obs_sky")
    if code not in (None, 0) or (isinstance(kind, str) and not known):
        return 1
    silent = obs in (None, []) and not isinstance(obs, bool)
    if silent and (known or (kind is None and status is not None)):
        return 1
    return max(1, round(len(size) / BYTES))


def tempest_gzip(rng: random.Random) -> Outcome:
    """A packed object: it unpacks to what was packed, or is refused."""
    body = seeds.tempest_body(rng) if rng.random() < 0.9 else b" " * rng.choice([1 << 20, 70 << 20])
    packed = mutated(rng, gzip.compress(body, rng.choice([1, 9]), mtime=0))
    unpacked = objects.unpack(packed)
    assert len(unpacked) <= objects.MOST_BYTES
    return Outcome()


def _lines(data: bytes) -> int:
    """Rows below the header of a product, counted apart."""
    rows = re.split(rb"\r\n|\r|\n", data)[1:]
    return sum(bool(row.strip(b"\x1a\x00 \r")) for row in rows)


def _product_outcome(parsed: ParsedProduct, rows_in: int) -> Outcome:
    reasons = parsed.rejects["reason"].to_pylist()
    duplicates = reasons.count("another row holds the same instant")
    out = len(parsed.series[0].times) if parsed.series else 0
    for series in parsed.series:
        assert (np.diff(series.times) > 0).all()
        assert len(series.times) == out
        assert not np.isinf(series.values).any()
    return Outcome(rows_in, out, len(reasons) - duplicates, duplicates)


def dwd_product(rng: random.Random) -> Outcome:
    """An hourly product: every line is a row, a reject or a duplicate."""
    data = mutated(rng, seeds.dwd_text(rng))
    parsed = parse_product(data, product("hourly", "air_temperature"), source="a.txt")
    return _product_outcome(parsed, _lines(data)).reconciled()


def dwd_ranges(rng: random.Random) -> Outcome:
    """A one-minute product, whose lines stand for ranges: every minute comes out once or is a duplicate."""
    data = mutated(rng, seeds.dwd_ranges(rng))
    parsed = parse_product(data, product("1_minute", "precipitation"), source="a.txt")
    unreadable = len(parsed.rejects) - parsed.rejects["reason"].to_pylist().count("another row holds the same instant")
    return _product_outcome(parsed, parsed.rows + unreadable).reconciled()


def dwd_zip(rng: random.Random) -> Outcome:
    """A station's zip, and what is inside."""
    data = mutated(rng, seeds.dwd_zip(rng))
    product_member(data, "a.zip")
    archive = open_archive(data, "a.zip")
    clock = HourlyClock(archive.metadata.parameters)
    parsed = parse_product(archive.product, product("hourly", "air_temperature"), clock, "a.zip")
    return _product_outcome(parsed, _lines(archive.product)).reconciled()


def dwd_zip_content(rng: random.Random) -> Outcome:
    """A sound zip whose product is damaged inside."""
    data = seeds.dwd_zip(rng, mutated(rng, seeds.dwd_text(rng)) or b"x")
    archive = open_archive(data, "a.zip")
    parsed = parse_product(archive.product, product("hourly", "air_temperature"), source="a.zip")
    return _product_outcome(parsed, _lines(archive.product)).reconciled()


def dwd_metadata(rng: random.Random) -> Outcome:
    """Metadata files; what they say is usable by the clock."""
    files = seeds.dwd_metadata(rng)
    chosen = rng.choice(sorted(files))
    files[chosen] = mutated(rng, files[chosen])
    metadata = parse_metadata(files)
    stamps = np.array([0, 1_700_000_000_000_000], dtype=np.int64)
    HourlyClock(metadata.parameters).offsets(stamps, "TT_TU")
    for place in metadata.places:
        assert all(v is None or np.isfinite(v) for v in (place.latitude, place.longitude, place.height))
    return Outcome()


def dwd_page(rng: random.Random) -> Outcome:
    """A folder's page: no name leads out of the folder."""
    entries = parse_directory(mutated(rng, seeds.dwd_page(rng)).decode("utf-8", "replace"), "https://x.org/a/b/")
    for entry in entries:
        assert "/" not in entry.name
        assert ".." not in entry.name
        parse_file_name(product("hourly", "air_temperature"), entry.name)
    return Outcome(len(entries), len(entries))


def dwd_stations(rng: random.Random) -> Outcome:
    """A station list: every line is a station or named as unreadable."""
    data = mutated(rng, seeds.dwd_stations(rng))
    found = parse_station_list(data, "list.txt")
    lines = [line for line in data.decode("latin-1").replace("\x1a", "").splitlines() if line.strip()]
    body = [n for n in lines if n.strip("- ") and not n.lower().lstrip().startswith("stations_id")]
    for station in found.stations:
        assert np.isfinite([station.latitude, station.longitude, station.height]).all()
    return Outcome(len(body), len(found.stations), len(found.unreadable)).reconciled()


@cache
def _points() -> PointSet:
    connection = AceiotConnection(base_url="https://x.org/api", api_key="${KEY}", sites=("site",))
    return choose_points("site", seeds.POINTS, connection)


def _decode(body: bytes) -> Page:
    page = decode_page(body, _points(), seeds.NOW, seeds.NOW + timedelta(days=1), "aceiot:site")
    counts = page.counts
    assert counts.reconciled
    assert len(page.samples.codes) == len(page.samples.values) == counts.kept
    assert page.rejects.num_rows == counts.rejected
    page.rejects.validate(full=True)
    assert np.isfinite(page.samples.values).all()
    low, high = micros(seeds.NOW), micros(seeds.NOW + timedelta(days=1))
    assert ((page.samples.times >= low) & (page.samples.times < high)).all()
    return page


def aceiot_page(rng: random.Random) -> Outcome:
    """A page of samples."""
    body = mutated(rng, seeds.aceiot_page(rng))
    page = _decode(body)
    try:
        sent = len(json.loads(body.decode("utf-8-sig"))["point_samples"])
    except (ValueError, RecursionError):
        sent = page.rows  # Arrow also takes what Python's reader does not
    counts = page.counts
    gone = counts.null + counts.unconfigured + counts.outside
    return Outcome(sent, counts.kept + gone, counts.rejected, counts.duplicate).reconciled()


def _hostile_cursor(rng: random.Random) -> str | None:
    document = rng.choice(
        [
            {"timestamp": seeds.NOW.replace(tzinfo=None).isoformat(), "offset": rng.choice([0, 1, 10**6, -1, 2**70])},
            {"timestamp": rng.choice(["0001-01-01", "9999-12-31T23:59:59+14:00", "x", None, 5, "2024-01-01T00:00:00Z"]),
             "offset": rng.choice([0, True, None, "1", 1.5])},
            [], None, {"offset": 1},
        ]
    )  # fmt: skip
    text = base64.b64encode(mutated(rng, json.dumps(document).encode())).decode()
    return rng.choice([text, text, mutated(rng, text.encode()).decode("latin-1"), None])


def aceiot_cursor(rng: random.Random) -> Outcome:
    """A cursor is a place or none; a place survives being written and read."""
    text = _hostile_cursor(rng)
    place = Cursor.decode(text) if text is not None else None
    if place is not None:
        assert Cursor.decode(place.encode()) == place
    return Outcome()


def aceiot_walk(rng: random.Random) -> Outcome:
    """A walk against a service that answers anything ends, with all it was given or with an error of ours."""
    asked = 0

    def fetch(start: datetime, cursor: str | None, page_size: int) -> Page:
        nonlocal asked
        asked += 1
        body = seeds.aceiot_page(rng)
        document = json.loads(body) | {"next_cursor": _hostile_cursor(rng), "has_more": rng.random() < 0.9}
        return _decode(json.dumps(document).encode())

    result = walk_window(fetch, seeds.NOW, 100, "window")
    assert len(result.pages) == asked
    read = result.counts.read
    codes, _, _ = sort_window(result)
    counts = result.counts
    assert counts.reconciled
    assert len(codes) == counts.kept
    gone = counts.null + counts.unconfigured + counts.outside
    return Outcome(read, counts.kept + gone, counts.rejected, counts.duplicate).reconciled()


def tenant_file(rng: random.Random) -> Outcome:
    """A tenant's file: one line says what is wrong, or the tenant is usable."""
    try:
        tenant = parse_tenant(mutated(rng, seeds.tenant_file(rng)), "acme.yaml", "acme")
    except ConfigurationError as error:
        if "\n" in str(error):
            raise AssertionError("more than one line") from error
        raise
    assert tenant.id == "acme"
    assert parse_tenant(tenant.model_dump_json().encode(), "acme.yaml", "acme") == tenant
    return Outcome()


def plan_file(rng: random.Random) -> Outcome:
    """A plan that is taken is the plan that it writes."""
    data = mutated(rng, json.dumps(seeds.plan(rng).to_json()).encode())
    plan = BackfillPlan.from_json_text(data.decode(errors="replace"))
    assert BackfillPlan.from_json(plan.to_json()) == plan
    assert len(plan.fingerprint) == 16
    PartitionKey.parse(str(PartitionKey(plan.start, plan.tenant)))
    return Outcome(len(plan.reasons), len(plan.reasons))


def manifest_file(rng: random.Random) -> Outcome:
    """The same of a manifest."""
    manifest = Manifest.from_json(mutated(rng, seeds.manifest(rng).to_json()))
    assert Manifest.from_json(manifest.to_json()) == manifest
    return Outcome()


def journal_file(rng: random.Random) -> Outcome:
    """A journal's record of a day."""
    record = DayRecord(PartitionKey(seeds.NOW.date(), "acme"), "a/b", {"rows": 5, "etag": "x"})
    found = record_from_json(mutated(rng, record_to_json(record)))
    assert record_from_json(record_to_json(found)) == found
    return Outcome()


def partition_key(rng: random.Random) -> Outcome:
    """A key is the one text of its day and tenant."""
    text = mutated(rng, b"2024-01-31|acme_1").decode("utf-8", "replace")
    assert str(PartitionKey.parse(text)) == text
    return Outcome()


def parquet_file(rng: random.Random) -> Outcome:
    """A damaged file is refused, or holds every row as it was written."""
    table, data = seeds.raw_file(rng)
    damaged = mutated(rng, data)
    found = schemas.conformed(parquet.decode(damaged), RAW, layout.RAW_OBSERVATIONS)
    values = [column.cast(pa.string()).to_pylist() for column in (found["station_id"], found["metric"])]
    if found.schema.equals(table.schema, check_metadata=False) and damaged != data:
        same = all(found[name].to_pylist() == table[name].to_pylist() for name in table.schema.names)
        assert same, "damage went unnoticed"
    assert found.num_rows == len(values[0])
    return Outcome(table.num_rows, found.num_rows).reconciled()


def parquet_tail(rng: random.Random) -> Outcome:
    """A damaged footer says nothing, or something that can be used."""
    _, data = seeds.raw_file(rng)
    metadata = parquet.metadata_of(mutated(rng, data[-rng.choice([100, 2000, 100_000]) :]))
    if metadata is None:
        raise UnreadableObjectError("no footer")
    footer = parquet.footer_of(metadata)
    if "cadence" in footer:
        parquet.cadence_of(footer)
    return Outcome()


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        tempest_objects, tempest_framing, tempest_gzip, dwd_product, dwd_ranges, dwd_zip, dwd_zip_content, dwd_metadata,
        dwd_page, dwd_stations, aceiot_page, aceiot_cursor, aceiot_walk, tenant_file, plan_file, manifest_file,
        journal_file, partition_key, parquet_file, parquet_tail,
    )
}  # fmt: skip
"""Every parser by name."""
