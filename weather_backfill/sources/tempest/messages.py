"""Decodes Tempest message bodies into columns: the wire format alone; where bodies are stored is `source.py`'s part.

How messages lie in an object is `framing.py`'s part, what stands where in a report that of `layouts.py`. A message is
one of UDP, of a WebSocket, or a REST answer with a `status`; reports of Tempest, Air and Sky devices are read, what a
hub or device says of itself and its events is known and passed over (`PASSED_OVER`).
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from weather_backfill.sources.table import UNKNOWN, Reject
from weather_backfill.sources.tempest.framing import Damage, one_a_line, unframed
from weather_backfill.sources.tempest.layouts import (
    FIELDS,
    LAYOUT_OF,
    LONGEST,
    POSITIONS,
    SAID,
    TYPES,
)

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
PASSED_OVER = (
    "hub_status", "device_status", "rapid_wind", "ack", "connection_opened", "light_debug", "wind_debug", "rain_debug",
    "evt_precip", "evt_strike", "evt_device_online", "evt_device_offline", "evt_station_online", "evt_station_offline",
)  # fmt: skip
"""Types of messages that hold no report; those of other events (`evt_...`) are passed over as `_EVENT`."""
_EVENT = "evt_"
_LONGEST_NAME = 100
_LONGEST_MINUTES = 1440  # of a report; the longest bucket is a day
_REPORTING = FIELDS.index("reporting_interval")
_LATEST_EPOCH = 4_102_444_800  # 2100-01-01: a later stamp is taken for damage


@dataclass(slots=True)
class Observations:
    """Decoded observations, one row a report, in the order received.

    `stations` name of each row's station; `epoch_us` int64 microseconds UTC, the instant that the station stamped;
    `values` float64 (rows, 21), NaN for null and for what the report does not speak of; `said` int32, the fields that
    it speaks of (`layouts.speaks_of`); `source` index of each row's object.
    `seconds` int32, what the report stands for: the time up to its stamp. The message's bucket says it, else the report
    itself (reporting interval, minutes); one that says nothing is taken for a minute's, as stations send them.
    `covered` bool like `values`: of which finer reports say it already (`copies.drop_covered`). `counts` are those of
    messages by kind; of those passed over also by type (`"rapid_wind messages"`). `unread` are the objects of which
    nothing could be understood, by index.
    """

    stations: list[str] = field(default_factory=list)
    epoch_us: np.ndarray = field(default_factory=lambda: np.empty(0, "i8"))
    values: np.ndarray = field(default_factory=lambda: np.empty((0, len(FIELDS))))
    said: np.ndarray = field(default_factory=lambda: np.empty(0, "i4"))
    source: np.ndarray = field(default_factory=lambda: np.empty(0, "i8"))
    seconds: np.ndarray = field(default_factory=lambda: np.empty(0, "i4"))
    covered: np.ndarray | None = None
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unread: list[int] = field(default_factory=list)


def decode(objects: Sequence[tuple[str, bytes]]) -> Observations:
    """Decode a batch of objects (key, decompressed body), given in the order received.

    A clean batch goes through Arrow's reader at once; a batch that it refuses is read message by message, so that an
    odd object is named in its reject and costs no other object. Never raises for bad content.
    """
    framed = one_a_line([body for _, body in objects])
    table = _read_at_once(framed[0], len(framed[1])) if framed else None
    if framed is None or table is None:
        return _decode_one_by_one(objects)
    return _all_of(table, framed[1]) or _decode_one_by_one(objects)


def _read_at_once(text: bytes, lines: int) -> pa.Table | None:
    """Read lines as one Arrow table, one row each; None if any is not a message."""
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
    return table if table.num_rows == lines else None


def _all_of(table: pa.Table, source: np.ndarray) -> Observations | None:
    """The observations of messages; None unless each is a good one or of a kind that is passed over."""
    types = table["type"].combine_chunks()
    kinds = pc.fill_null(pc.index_in(types, pa.array(TYPES)), -1)
    counts: Counter[str] = Counter()
    if pc.min(kinds).as_py() < 0:
        passed = pc.or_(pc.is_in(types, pa.array(PASSED_OVER)), pc.fill_null(pc.starts_with(types, _EVENT), False))
        if not pc.all(pc.or_(passed, pc.greater_equal(kinds, 0))).as_py():
            return None
        if pc.any(pc.and_(passed, pc.is_valid(table["obs"]))).as_py():
            return None
        for named in pc.value_counts(types.filter(passed)).to_pylist():
            _pass_over(counts, named["values"], named["counts"])
        kept = pc.invert(passed)
        table, kinds, source = table.filter(kept), kinds.filter(kept), source[np.asarray(kept)]
    kind = np.asarray(kinds)
    if not _all_good(table):
        return None
    reports = pc.list_flatten(table["obs"]).combine_chunks()
    per_message = np.asarray(table["obs"].combine_chunks().value_lengths(), dtype="i8")
    length = np.minimum(np.asarray(reports.value_lengths()), LONGEST + 1)
    layout = LAYOUT_OF[np.repeat(kind, per_message), length]
    if len(layout) and layout.min() < 0:
        return None
    observations = _columns(table, source, layout)
    observations.counts += counts
    return observations


def _pass_over(counts: Counter[str], kind: str, times: int = 1) -> None:
    counts["other_messages"] += times
    counts[f"{kind if kind in PASSED_OVER else _EVENT} messages"] += times


def _all_good(table: pa.Table) -> bool:
    """True if every message names its station and has reports with a time and of numbers."""
    if not table.num_rows:
        return True
    name_length = pc.utf8_length(table["serial_number"])
    named = pc.or_kleene(
        pc.and_(pc.greater(name_length, 0), pc.less_equal(name_length, _LONGEST_NAME)),
        pc.and_(pc.is_null(name_length), pc.is_valid(table["device_id"])),
    )
    status = pc.fill_null(pc.struct_field(table["status"], "status_code"), 0)
    if not (
        pc.all(pc.fill_null(named, False)).as_py()
        and pc.all(pc.equal(status, 0)).as_py()
        and pc.min(pc.fill_null(pc.list_value_length(table["obs"]), 0)).as_py() > 0
    ):
        return False
    reports = pc.list_flatten(table["obs"]).combine_chunks()
    if reports.null_count or pc.min(reports.value_lengths()).as_py() < 1:
        return False
    if not pc.all(pc.fill_null(pc.is_finite(reports.flatten()), True)).as_py():
        return False  # NaN and Infinity are no JSON
    times = pc.list_element(reports, 0)
    limits = pc.and_(pc.greater(times, 0), pc.less(times, _LATEST_EPOCH))
    return bool(pc.all(pc.fill_null(limits, False)).as_py())


def _columns(table: pa.Table, source: np.ndarray, layout: np.ndarray) -> Observations:
    """Good messages as columns; `source` holds each message's object, `layout` each report's layout by number."""
    messages = table["obs"].combine_chunks()
    per_message = np.asarray(messages.value_lengths().fill_null(0))
    reports = messages.flatten()
    length = np.asarray(reports.value_lengths(), dtype="i8")
    flat = np.asarray(reports.flatten().fill_null(np.nan), dtype="f8")
    starts = np.concatenate([[0], np.cumsum(length)[:-1]]).astype("i8") if len(length) else length
    same = len(layout) > 0 and bool((layout == layout[0]).all())
    at = POSITIONS[layout[:1]] if same else POSITIONS[layout]  # of one layout for all: broadcast
    values = flat[starts[:, None] + at]
    if not at.all():
        values = np.where(at > 0, values, np.nan)
    unrun = _clear_nearcast(values)
    buckets = np.asarray(pc.fill_null(table["bucket_step_minutes"].cast(pa.float64()), np.nan))
    seconds, assumed = report_seconds(np.repeat(buckets, per_message), values[:, _REPORTING])
    names = pc.coalesce(table["serial_number"], pc.cast(table["device_id"], pa.string())).to_pylist()
    return Observations(
        stations=[names[i] for i in np.repeat(np.arange(len(names)), per_message)],
        epoch_us=np.round(flat[starts] * 1e6).astype("i8"),
        values=values,
        said=SAID[layout],
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
    judged = _Judged()
    for number, (key, body) in enumerate(objects):
        understood, messages = judged.understood, 0
        for message, text in unframed(body):
            messages += 1
            judged.add(message, text, key, number)
        if not messages:  # an empty array
            judged.counts["empty_messages"] += 1
        elif judged.understood == understood:
            judged.unread.append(number)
    observations = _columns(
        pa.Table.from_pylist(judged.good, schema=_MESSAGES), np.array(judged.source, "i8"), np.array(judged.layout, int)
    )
    observations.rejects, observations.unread = judged.rejects, judged.unread
    observations.counts += judged.counts
    return observations


@dataclass(slots=True)
class _Judged:
    """Messages that were judged one by one: the good ones with their objects and layouts, the others."""

    good: list[dict[str, Any]] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    layout: list[int] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unread: list[int] = field(default_factory=list)
    understood: int = 0

    def add(self, message: Any, text: bytes | None, key: str, number: int) -> None:
        """Judge a message of the object `key`, which is the batch's `number`th."""
        if isinstance(message, Damage):
            held = UNKNOWN if message is Damage.NOT_JSON else 1
            self.rejects.append(Reject(message.value, key, text or b"", stands_for=held))
            return
        kind, reports = _judge(message)
        if kind == "other_messages":
            _pass_over(self.counts, message["type"])
        elif kind == "empty_messages":
            self.counts[kind] += 1
        elif kind != "good":
            whole = _text(message) if text is None else text
            held = UNKNOWN if kind == "not_a_message" else max(1, len(reports))
            self.rejects.append(Reject(kind, key, whole, _station(message), stands_for=held))
            return
        else:
            good = self._good(message, reports, key)
            if not good:
                return
            bucket = message.get("bucket_step_minutes")
            step = bucket if isinstance(bucket, int) and not isinstance(bucket, bool) else None
            self.good.append({"serial_number": _station(message), "obs": good, "bucket_step_minutes": step})
            self.source.append(number)
        self.understood += 1

    def _good(self, message: dict[str, Any], reports: list[Any], key: str) -> list[list[float | None]]:
        """The reports of a message that can be kept; their layouts are noted, the others are rejects."""
        good, kind = [], TYPES.index(message.get("type") or TYPES[0])
        for report in reports:
            if problem := _report_problem(report, kind):
                self.rejects.append(Reject(problem, key, _text(report), _station(message)))
                continue
            self.layout.append(int(LAYOUT_OF[kind, len(report)]))
            good.append([None if value is None else float(value) for value in report])
        return good


def _text(value: Any) -> bytes:
    """A part of a document as JSON text, near enough to how it was sent."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b"(nested too deeply to be shown)"  # orjson reads deeper than it writes


def _judge(message: Any) -> tuple[str, list[Any]]:
    """Classify a message: `good`, a kind that is only counted, or the reason to reject it; and its reports."""
    if not isinstance(message, dict):
        return "not_a_message", []
    status, kind, obs = message.get("status"), message.get("type"), message.get("obs")
    reports = obs if isinstance(obs, list) else []
    if isinstance(status, dict) and status.get("status_code") not in (None, 0):
        return "error_answer", reports
    if kind is None and reports and "bucket_step_minutes" in message:
        return "unknown_layout", reports  # REST answers bucketed by day carry a local date and other columns
    if kind is not None and not isinstance(kind, str):
        return "not_a_message", reports
    if kind is not None and kind not in TYPES:
        if obs is None and (kind in PASSED_OVER or kind.startswith(_EVENT)):
            return "other_messages", []
        return ("unknown_layout" if kind.removesuffix("_ext") in TYPES else "unsupported_message"), reports
    if obs in (None, []) and (kind is not None or status is not None):
        return "empty_messages", []
    if not isinstance(obs, list):
        return "not_a_message", []
    return ("good" if _station(message) else "no_station"), reports


def _station(message: Any) -> str | None:
    """The station's name: the serial number, else the device id."""
    if not isinstance(message, dict):
        return None
    for field_name in ("serial_number", "device_id"):
        value = message.get(field_name)
        if isinstance(value, (str, int)) and not isinstance(value, bool) and 0 < len(str(value)) <= _LONGEST_NAME:
            return str(value)
    return None


def _report_problem(report: Any, kind: int) -> str | None:
    """The reason to reject a report of a message's type by number, or None if it is well-formed."""
    if not isinstance(report, list) or LAYOUT_OF[kind, min(len(report), LONGEST + 1)] < 0:
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
        at = POSITIONS[int(np.flatnonzero(observations.said[row] == SAID)[0])]
        elements = observations.values[row, np.argsort(at)[(at == 0).sum() :]].tolist()
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
