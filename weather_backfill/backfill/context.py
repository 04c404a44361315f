"""The context of every command on backfills: instance, definitions, settings and lake; and whose the lake is."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

import dagster as dg

from weather_backfill.dagster.private import installation_id
from weather_backfill.lake import owner
from weather_backfill.lake.owner import Owner
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.storage.places import open_lake


@dataclass(frozen=True)
class BackfillContext:
    """The context of every command: Dagster's instance, the definitions, the settings and the lake."""

    instance: dg.DagsterInstance
    definitions: dg.Definitions
    settings: Settings

    @property
    def graph(self) -> Any:
        """The asset graph."""
        return self.definitions.resolve_asset_graph()

    @property
    def store(self) -> ObjectStore:
        """The lake."""
        return open_lake(self.settings)

    @property
    def installation(self) -> str:
        """The id of this installation."""
        return installation_id(self.instance)

    def claim(self) -> None:
        """Own the lake from here on; see `claim_lake`."""
        claim_lake(self.instance, self.store)


def claim_lake(instance: dg.DagsterInstance, store: ObjectStore) -> None:
    """Own the lake, or raise `ForeignLakeError` where another installation does: call it before anything is changed.

    An instance in memory, which ends with its process, owns nothing: it may write where there is no owner.
    """
    if not instance.is_persistent:
        if known := owner.owner_of(store):
            owner.refuse_foreign(store, known, installation_id(instance))
        return
    owner.claim(store, installation_id(instance), name_of(instance))


def is_foreign(context: BackfillContext) -> bool:
    """Return whether the lake is another installation's."""
    known = owner.owner_of(context.store)
    return known is not None and known.installation != context.installation


def take_over(context: BackfillContext) -> tuple[Owner | None, Owner]:
    """Make this installation the lake's owner; returns the owners before and after."""
    return owner.take_over(context.store, context.installation, name_of(context.instance))


def name_of(instance: dg.DagsterInstance) -> str:
    """The name of an installation for people: the host that claimed the lake, and the instance's folder there."""
    return f"{socket.gethostname()}:{instance.root_directory}"
