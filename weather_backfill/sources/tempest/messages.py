"""Decodes Tempest message bodies into columns: the wire format alone; where bodies are stored is `source.py`'s part.

An object holds one message, an array of messages, or one message a line; a message is an `obs_st` of UDP
(18 elements an observation), REST or WebSocket (22), or a REST answer with a `status`. Units are metric on
the wire whatever the user's settings (WeatherFlow Tempest API, "Observation Record Format", obs_st).
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from weather_backfill.sources.table import Reject

# Position in the array -> metric; position 0 is the time in epoch seconds, UTC.
FIELDS = (
    "wind_speed_lull",
    "wind_speed",
    "wind_speed_of_gust",
    "wind_from_direction",
    "wind_sample_interval",
    "surface_air_pressure",
    "air_temperature",
    "relative_humidity",
    "illuminance",
    "ultraviolet_index",
    "surface_downwelling_shortwave_flux_in_air",
    "precipitation_amount",
    "precipitation_type",
    "lightning_mean_distance",
    "lightning_strike_count",
    "battery_voltage",
    "reporting_interval",
    "precipitation_amount_of_local_day",
    "precipitation_amount_nearcast",
    "precipitation_amount_of_local_day_nearcast",
    "precipitation_analysis_type",
)
UDP_LENGTH, REST_LENGTH = 18, 22
_NEARCAST = [FIELDS.index(name) for name in FIELDS if name.endswith("_nearcast")]
_ANALYSIS = FIELDS.index("precipitation_analysis_type")

_MESSAGES = pa.schema(
    [
        ("type", pa.string()),
        ("serial_number", pa.string()),
        ("device_id", pa.int64()),
        ("status", pa.struct([("status_code", pa.int64())])),
        ("bucket_step_minutes", pa.int64()),
        ("obs", pa.list_(pa.list_(pa.float64()))),
    ]
)
_LONGEST_NAME = 100
_LONGEST_MINUTES = 1440  # of a report; the longest bucket is a day
_REPORTING = FIELDS.index("reporting_interval")
_LATEST_EPOCH = 4_102_444_800  # 2100-01-01: a later stamp is taken for damage


@dataclass(slots=True)
class Observations:
    """Decoded observations, one row a report, in the order received.

    `stations` name of each row's station; `epoch_us` int64 microseconds UTC, the instant that the station stamped;
    `values` float64 (rows, 21), NaN for null; `length` elements sent, 18 or 22; `source` index of each row's object.
    `seconds` int32, what the report stands for: the time up to its stamp. The message's bucket says it, else the report
    itself (reporting interval, minutes); one that says nothing is taken for a minute's, as stations send them.
    `covered` bool like `values`: of which finer reports say it already (`copies.drop_covered`). `counts` are those of
    messages by kind.
    """

    stations: list[str] = field(default_factory=list)
    epoch_us: np.ndarray = field(default_factory=lambda: np.empty(0, "i8"))
    values: np.ndarray = field(default_factory=lambda: np.empty((0, len(FIELDS))))
    length: np.ndarray = field(default_factory=lambda: np.empty(0, "i8"))
    source: np.ndarray = field(default_factory=lambda: np.empty(0, "i8"))
    seconds: np.ndarray = field(default_factory=lambda: np.empty(0, "i4"))
    covered: np.ndarray | None = None
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def decode(objects: Sequence[tuple[str, bytes]]) -> Observations:
    """Decode a batch of objects (key, decompressed body), given in the order received.

    A clean batch of one-message objects goes through Arrow's reader at once; a batch that it refuses is read message
    by message, so that an odd object is named in its reject and costs no other object. Never raises for bad content.
    """
    table = _read_at_once([body for _, body in objects])
    if table is None:
        return _decode_one_by_one(objects)
    return _columns(table, np.arange(len(objects)))


def _read_at_once(bodies: Sequence[bytes]) -> pa.Table | None:
    """Read all bodies as one Arrow table, one row each; None if any is not a plain good observation message."""
    lines = [body.strip() for body in bodies]
    if not lines or any(line[:1] != b"{" or b"\n" in line for line in lines):
        return None
    text = b"\n".join(lines)
    try:
        if not text.isascii():
            text.decode()  # Arrow checks no bytes of the fields that it skips
        table = pj.read_json(
            io.BytesIO(text),
            read_options=pj.ReadOptions(block_size=4 << 20),
            parse_options=pj.ParseOptions(explicit_schema=_MESSAGES, unexpected_field_behavior="ignore"),
        ).combine_chunks()
        table.validate(full=True)  # raises where a text is not UTF-8, which Arrow's reader does not check
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if table.num_rows != len(lines) or not _all_good(table):
        return None
    return table


def _all_good(table: pa.Table) -> bool:
    """True if every message is an obs_st that names its station and has well-formed observations."""
    name_length = pc.utf8_length(table["serial_number"])
    named = pc.or_kleene(
        pc.and_(pc.greater(name_length, 0), pc.less_equal(name_length, _LONGEST_NAME)),
        pc.and_(pc.is_null(name_length), pc.is_valid(table["device_id"])),
    )
    status = pc.fill_null(pc.struct_field(table["status"], "status_code"), 0)
    if not (
        pc.all(pc.fill_null(pc.equal(table["type"], "obs_st"), False)).as_py()
        and pc.all(pc.fill_null(named, False)).as_py()
        and pc.all(pc.equal(status, 0)).as_py()
        and pc.min(pc.fill_null(pc.list_value_length(table["obs"]), 0)).as_py() > 0
    ):
        return False
    reports = pc.list_flatten(table["obs"]).combine_chunks()
    lengths = reports.value_lengths()
    if reports.null_count or not pc.all(pc.is_in(lengths, pa.array([UDP_LENGTH, REST_LENGTH], pa.int32()))).as_py():
        return False
    if not pc.all(pc.fill_null(pc.is_finite(reports.flatten()), True)).as_py():
        return False  # NaN and Infinity are no JSON
    times = pc.list_element(reports, 0)
    limits = pc.and_(pc.greater(times, 0), pc.less(times, _LATEST_EPOCH))
    return bool(pc.all(pc.fill_null(limits, False)).as_py())


def _columns(table: pa.Table, source: np.ndarray) -> Observations:
    """Convert good messages (`_MESSAGES`) to observations; `source` is the index of each message's object."""
    messages = table["obs"].combine_chunks()
    per_message = np.asarray(messages.value_lengths().fill_null(0))
    reports = messages.flatten()
    length = np.asarray(reports.value_lengths(), dtype="i8")
    flat = np.asarray(reports.flatten().fill_null(np.nan), dtype="f8")
    starts = np.concatenate([[0], np.cumsum(length)[:-1]]).astype("i8") if len(length) else length
    columns = np.arange(1, REST_LENGTH)
    index = starts[:, None] + np.minimum(columns, length[:, None] - 1)
    values = np.where(columns < length[:, None], flat[index], np.nan)
    unrun = _clear_nearcast(values)
    buckets = np.asarray(pc.fill_null(table["bucket_step_minutes"].cast(pa.float64()), np.nan))
    seconds, assumed = report_seconds(np.repeat(buckets, per_message), values[:, _REPORTING])
    names = pc.coalesce(table["serial_number"], pc.cast(table["device_id"], pa.string())).to_pylist()
    return Observations(
        stations=[names[i] for i in np.repeat(np.arange(len(names)), per_message)],
        epoch_us=np.round(flat[starts] * 1e6).astype("i8"),
        values=values,
        length=length,
        source=np.repeat(source, per_message),
        seconds=seconds,
        counts=Counter(messages=table.num_rows, reports_of_assumed_length=int(assumed.sum()), nearcast_not_run=unrun),
    )


def _clear_nearcast(values: np.ndarray) -> int:
    """Take 0.0 of Nearcast for missing, in place, until Nearcast has run; returns of how many reports.

    Before, elements 19 and 20 are 0.0 and 21, the kind of analysis, is 0 ("none"; WeatherFlow's Swagger of
    `/observations/device`, quoted in briis/smartweather issue 89): in 9 of the 16 real reports of kind 0, null in the
    others. That is not "no rain". An amount above 0 is one whatever 21 says.
    """
    amounts = values[:, _NEARCAST]
    unrun = (amounts == 0) & ~(values[:, [_ANALYSIS]] > 0)
    if not unrun.any():
        return 0
    values[:, _NEARCAST] = np.where(unrun, np.nan, amounts)
    return int(unrun.any(axis=1).sum())


def report_seconds(*said: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The seconds that reports stand for, by the first of the lengths said (minutes) that can be one.

    Where none can, it is a minute, as stations send them: the second array marks these.
    """
    minutes = np.full(len(said[0]), np.nan)
    for length in said:
        possible = (length > 0) & (length <= _LONGEST_MINUTES)
        minutes = np.where(np.isnan(minutes) & possible, length, minutes)
    assumed = np.isnan(minutes)
    return np.round(np.where(assumed, 1.0, minutes) * 60).astype("i4"), assumed


def _decode_one_by_one(objects: Sequence[tuple[str, bytes]]) -> Observations:
    """Decode message by message: a message or report that cannot be kept becomes a reject, all others are kept."""
    good: list[dict[str, Any]] = []
    source: list[int] = []
    rejects: list[Reject] = []
    counts: Counter[str] = Counter()
    for number, (key, body) in enumerate(objects):
        messages = list(_messages(body))
        counts["empty_messages"] += not messages  # an empty array
        for message, text in messages:
            kind, reports = _judge(message)
            if kind in ("other_messages", "empty_messages"):
                counts[kind] += 1
                continue
            if kind != "good":
                rejects.append(Reject(kind, key, text, _station(message)))
                continue
            good_reports = []
            for report in reports:
                if problem := _report_problem(report):
                    rejects.append(Reject(problem, key, _text(report), _station(message)))
                else:
                    good_reports.append([None if value is None else float(value) for value in report])
            if good_reports:
                bucket = message.get("bucket_step_minutes")
                step = bucket if isinstance(bucket, int) and not isinstance(bucket, bool) else None
                good.append({"serial_number": _station(message), "obs": good_reports, "bucket_step_minutes": step})
                source.append(number)
    observations = _columns(pa.Table.from_pylist(good, schema=_MESSAGES), np.array(source, dtype="i8"))
    observations.rejects = rejects
    observations.counts += counts
    return observations


def _messages(body: bytes) -> Iterator[tuple[Any, bytes]]:
    """Yield a body's messages with their texts; `None` with its text where JSON does not parse."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        lines = [line for line in body.splitlines() if line.strip()]
        parsed = [_parse_line(line) for line in lines]
        if all(message is None for message in parsed):
            yield None, body  # not NDJSON either: one reject for the object, not one a line
        else:
            yield from zip(parsed, lines, strict=True)
        return
    if isinstance(document, list):
        for message in document:
            yield message, _text(message)
    else:
        yield document, body


def _text(value: Any) -> bytes:
    """A part of a document as JSON text, near enough to how it was sent."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b"(nested too deeply to be shown)"  # orjson reads deeper than it writes


def _parse_line(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _judge(message: Any) -> tuple[str, list[Any]]:
    """Classify a message: `good` with its reports, a kind that is only counted, or the reason to reject it."""
    if not isinstance(message, dict):
        return ("not_json" if message is None else "not_a_message"), []
    status = message.get("status")
    code = status.get("status_code") if isinstance(status, dict) else None
    if code not in (None, 0):
        return "error_answer", []
    kind, reports = message.get("type"), message.get("obs")
    if kind is None and reports and "bucket_step_minutes" in message:
        return "unknown_layout", []  # REST answers bucketed by day carry a local date and other columns
    if kind not in (None, "obs_st"):
        return "other_messages", []
    if not reports and (kind == "obs_st" or status is not None):
        return "empty_messages", []
    if not isinstance(reports, list):
        return "not_a_message", []
    return ("good", reports) if _station(message) else ("no_station", [])


def _station(message: Any) -> str | None:
    """The station's name: the serial number, else the device id."""
    if not isinstance(message, dict):
        return None
    for field_name in ("serial_number", "device_id"):
        value = message.get(field_name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and 0 < len(str(value)) <= _LONGEST_NAME:
            return str(value)
    return None


def _report_problem(report: Any) -> str | None:
    """The reason to reject a report, or None if it is well-formed."""
    if not isinstance(report, list) or len(report) not in (UDP_LENGTH, REST_LENGTH):
        return "unknown_layout"
    if any(v is not None and (isinstance(v, bool) or not isinstance(v, (int, float))) for v in report):
        return "not_a_number"
    if any(v is not None and not math.isfinite(v) for v in report):
        return "not_a_number"
    if report[0] is None or not 0 < report[0] < _LATEST_EPOCH:
        return "no_time"
    return None


def rejected(observations: Observations, keys: Sequence[str], rows: np.ndarray, reason: str) -> list[Reject]:
    """Reject the marked rows: reports stored in the folder of a day to which they do not belong."""
    rejects = []
    for row in np.flatnonzero(rows):
        epoch = float(observations.epoch_us[row]) / 1e6
        elements = observations.values[row, : observations.length[row] - 1].tolist()
        rejects.append(
            Reject(
                reason,
                keys[observations.source[row]],
                orjson.dumps([epoch, *(None if np.isnan(v) else v for v in elements)]),
                observations.stations[row],
                int(observations.epoch_us[row]),
            )
        )
    return rejects
