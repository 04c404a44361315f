"""The points of the path, and how a process comes to meet a fault at one of them.

Armed, this module changes a few functions of the product as their modules are imported: each counts how often it is
called, and at the wanted call the fault happens, once in all processes; or while one day is read, each time. Nothing
heavy is imported here, for every Python process of a disturbed platform reads it as it starts.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

VARIABLE = "WEATHER_TEST_FAULT"
OVER = ".over"
"""What is added to the name of the file `fired` for the one that says that the process lives on after its fault."""

POINTS = {
    "list": "a listing of the archive",
    "fetch": "reading an object of the archive",
    "decode": "decoding messages",
    "check": "checking a day",
    "write": "before an object of a dataset is written",
    "place": "the object is staged, not yet in its place (local)",
    "verify": "the object is in its place, not yet looked at",
    "begin": "before the journal notes which days have begun",
    "record": "before a day's journal is written",
    "event": "before Dagster stores a materialization",
    "refine": "refining a raw day",
    "audit": "before the ledger of writers, or an event of the audit, is written",
}


@dataclass(frozen=True)
class Fault:
    """What happens where: at the `nth` call of `point`, or at each while `day` (YYYY-MM-DD) is read.

    `fired` is the file that says it has happened.
    """

    point: str
    kind: str
    nth: int
    fired: str
    lake: str = ""
    home: str = ""
    clock: str = ""
    day: str = ""

    def to_environment(self) -> str:
        """As the environment's variable."""
        return json.dumps(asdict(self))


class _Trigger:
    """Counts the calls of the point, and lets the fault happen at the wanted one."""

    def __init__(self, fault: Fault) -> None:
        self._fault, self._calls, self._lock = fault, itertools.count(1), threading.Lock()
        self.reading = threading.local()
        """The day that a thread reads, as `day`."""

    def reached(self, point: str | None) -> None:
        if point != self._fault.point:
            return
        if self._fault.day:
            if getattr(self.reading, "day", "") == self._fault.day:
                self._let_happen(self._fault.day)
            return
        with self._lock:
            if next(self._calls) != self._fault.nth:
                return
        try:
            os.close(os.open(self._fault.fired, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return  # another process has met it
        self._let_happen()

    def _let_happen(self, note: str = "") -> None:
        from weather_backfill_tests.faults import kinds

        if note:
            with open(self._fault.fired, "a") as file:
                file.write(f"{note}\n")
        kinds.happen(self._fault)
        os.close(os.open(f"{self._fault.fired}{OVER}", os.O_CREAT))


def arm(text: str) -> None:
    """Let this process meet the fault."""
    trigger = _Trigger(Fault(**json.loads(text)))
    for name, change in _CHANGES.items():
        if name in sys.modules:
            change(trigger, sys.modules[name])
    sys.meta_path.insert(0, _Finder({name: functools.partial(change, trigger) for name, change in _CHANGES.items()}))


class _Finder(importlib.abc.MetaPathFinder):
    """Changes modules right after they are executed."""

    def __init__(self, changes: dict[str, Callable[[Any], None]]) -> None:
        self._changes = changes

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        change = self._changes.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path) if change else None
        if change is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def executed(module: Any) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def _change_storage(trigger: _Trigger, module: Any) -> None:
    store = module.ObjectStore
    call, put_local = store._call, store._put_local
    last = threading.local()

    def watched(self: Any, verb: str, key: str, action: Callable[[], Any]) -> Any:
        point = _point_of(self.url, verb, key, getattr(last, "written", None))

        def disturbed() -> Any:
            trigger.reached(point)  # within the call, so that errors are taken for the store's
            return action()

        done = call(self, verb, key, disturbed)
        last.written = key if verb == "write" else None
        return done

    def placed(self: Any, key: str, data: bytes, place: Callable[..., Any]) -> None:
        def disturbed(new: Any, to: Any) -> Any:
            trigger.reached("place" if _in_dataset(key) else None)
            return place(new, to)

        put_local(self, key, data, disturbed)

    store._call, store._put_local = watched, placed


def _in_dataset(key: str) -> bool:
    return key.startswith(("raw_observations/", "refined_15m/", "rejected_observations/"))


def _point_of(url: str, verb: str, key: str, written: str | None) -> str | None:
    if "/archive" in url:
        return {"list": "list", "read": "fetch"}.get(verb)
    if verb == "write":
        first = key.split("/")[0]
        if first == "_journal" and key.endswith("/begun"):
            return "begin"
        return {"_journal": "record", "_ledger": "audit", "_audit": "audit"}.get(
            first, "write" if _in_dataset(key) else None
        )
    return "verify" if verb == "look at" and key == written and _in_dataset(key) else None


def _wrap(*names: str, point: str) -> Callable[[_Trigger, Any], None]:
    def change(trigger: _Trigger, module: Any) -> None:
        for name in names:
            inner = getattr(module, name)

            @functools.wraps(inner)
            def outer(*arguments: Any, _inner: Any = inner, **named: Any) -> Any:
                trigger.reached(point)
                return _inner(*arguments, **named)

            setattr(module, name, outer)

    return change


def _change_tempest(trigger: _Trigger, module: Any) -> None:
    _wrap("decode", point="decode")(trigger, module)
    read_day = module.TempestSource.read_day

    def watched(self: Any, day: Any) -> Any:
        trigger.reading.day = str(day)
        return read_day(self, day)

    module.TempestSource.read_day = watched


def _change_days(trigger: _Trigger, module: Any) -> None:
    _wrap("check_raw", "check_refined", point="check")(trigger, module)
    _wrap("refine_file", point="refine")(trigger, module)


def _change_event_log(trigger: _Trigger, module: Any) -> None:
    storage = module.SqliteEventLogStorage
    one, many = storage.store_event, storage.store_event_batch

    def kinds_of(events: Any) -> Iterator[str | None]:
        return (event.dagster_event_type and event.dagster_event_type.value for event in events)

    def store_event(self: Any, event: Any) -> Any:
        trigger.reached("event" if "ASSET_MATERIALIZATION" in kinds_of([event]) else None)
        return one(self, event)

    def store_event_batch(self: Any, events: Any) -> Any:
        trigger.reached("event" if "ASSET_MATERIALIZATION" in kinds_of(events) else None)
        return many(self, events)

    storage.store_event, storage.store_event_batch = store_event, store_event_batch


_CHANGES: dict[str, Callable[[_Trigger, Any], None]] = {
    "weather_backfill.storage.object_store": _change_storage,
    "weather_backfill.sources.tempest.source": _change_tempest,
    "weather_backfill.refine.days": _change_days,
    "dagster._core.storage.event_log.sqlite.sqlite_event_log": _change_event_log,
}
