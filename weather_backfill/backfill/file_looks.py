"""The tenant files as the last tick of a sensor saw them: a change counts once two ticks in a row have seen it.

    _looks/<kind>.files.json    the version of each tenant's file at the last tick

An editor, or a copy that is under way, leaves half a file for a moment, which may be a whole one of another meaning:
without a connection, or without its `first_day`. What is so seen once stops and launches nothing. A file that says
where it ends, by YAML's line `...` as the command line writes it, is whole at the first look.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from weather_backfill.lake import layout
from weather_backfill.model.errors import NotFoundError, UnreadableObjectError
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

BROKEN = ""
"""Stands for the version of a file that cannot be read."""


class FileLooks:
    """Versions of the tenant files that the last tick of one kind of sensor saw; `save` keeps those of this one."""

    def __init__(self, store: ObjectStore, kind: str) -> None:
        self._store, self._key = store, layout.file_looks_key(kind)
        self._before = self._load()

    def _load(self) -> dict[str, str]:
        try:
            with json_documents.reading("these are no looks at tenant files", "delete them."):
                return {str(k): str(v) for k, v in json_documents.parsed(self._store.get(self._key)).items()}
        except (NotFoundError, UnreadableObjectError):
            return {}  # the first tick: the next one knows what this one saw

    def same(self, tenant: str, version: str) -> bool:
        """Return whether the last tick saw this version of the file too."""
        return self._before.get(tenant) == version

    def gone(self, names: list[str]) -> list[str]:
        """The tenants whose file the last tick saw, and which are not among `names`."""
        return sorted(self._before.keys() - set(names))

    def save(self, seen: Mapping[str, str]) -> None:
        """Remember what this tick saw; writes nothing where it is the same."""
        if dict(seen) != self._before:
            self._store.put(self._key, json.dumps(dict(seen)).encode())
