"""The owner of a lake: the one installation (Dagster instance) that launches, writes and tidies there.

    _owner/owner.json    the lake's id, the installation's id and name, since when

Two installations that reconcile one lake take each other's backfills for those of connections that are gone. So the
first that works claims the lake by a create-only object, and a second one is refused; reading needs no claim.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from pydantic import AwareDatetime, TypeAdapter

from weather_backfill.lake import layout
from weather_backfill.model.errors import ConflictError, ForeignLakeError, UnreadableObjectError
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents


@dataclass(frozen=True, slots=True)
class Owner:
    """The installation that owns a lake, `since` a UTC time; `lake` is the lake's own id, which a take-over keeps."""

    lake: str
    installation: str
    name: str
    since: AwareDatetime

    def to_json(self) -> bytes:
        """Encode as the owner's object."""
        return json.dumps({**asdict(self), "since": self.since.isoformat()}, indent=2).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Owner:
        """Decode the owner's object; raises `UnreadableObjectError` if it is none."""
        return json_documents.read(_OWNER, data, "this is no owner of a lake", "say `weather-backfill lake take-over`.")


_OWNER = TypeAdapter(Owner)


def owner_of(store: ObjectStore) -> Owner | None:
    """Read who owns the lake; None: nobody yet. Raises `UnreadableObjectError`, with its address, for a damaged one."""
    seen = store.look(layout.OWNER)
    try:
        return Owner.from_json(seen.data) if seen else None
    except UnreadableObjectError as error:
        raise UnreadableObjectError(f"{store.uri(layout.OWNER)}: {error}") from error


def claim(store: ObjectStore, installation: str, name: str) -> Owner:
    """Own the lake if nobody does; raises as `refuse_foreign`. Of several that claim it at once one wins."""
    owner = owner_of(store)
    if owner is None:
        mine = Owner(uuid.uuid4().hex, installation, name, datetime.now(UTC))
        try:
            conditional.put_if(store, layout.OWNER, mine.to_json(), None)
        except ConflictError:  # another process was faster, perhaps of this installation
            owner = owner_of(store)
        else:
            return mine
    return refuse_foreign(store, owner or mine, installation)


def refuse_foreign(store: ObjectStore, owner: Owner, installation: str) -> Owner:
    """Return the owner if it is this installation; else raise `ForeignLakeError`."""
    if owner.installation == installation:
        return owner
    raise ForeignLakeError(
        f"the lake {store.url} belongs to another installation, {owner.name} ({owner.installation[:8]}), since "
        f"{owner.since:%Y-%m-%d %H:%M} UTC; this one is {installation[:8]}. Reading needs no claim: status, report, "
        "gaps, plan and read_refined work here. To write, give this installation a lake of its own "
        "(WEATHER_STORAGE_URL), or stop the other one for good and say `weather-backfill lake take-over`."
    )


def take_over(store: ObjectStore, installation: str, name: str) -> tuple[Owner | None, Owner]:
    """Make this installation the owner, whoever was; returns the owners before and after. A damaged owner is none."""

    def attempt() -> tuple[Owner | None, Owner]:
        seen = store.look(layout.OWNER)
        try:
            before = Owner.from_json(seen.data) if seen else None
        except UnreadableObjectError:
            before = None
        if before and before.installation == installation:
            return before, before
        fresh = Owner(uuid.uuid4().hex, installation, name, datetime.now(UTC))
        after = replace(fresh, lake=before.lake) if before else fresh
        conditional.put_if(store, layout.OWNER, after.to_json(), seen.etag if seen else None)
        return before, after

    return conditional.started_over(attempt)
