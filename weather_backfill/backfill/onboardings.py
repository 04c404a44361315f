"""The onboardings of a connection: managed backfills over its look-back, one after the other."""

from __future__ import annotations

from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.desired_state import WantedConnection
from weather_backfill.backfill.manifests import Manifest, ManifestState, load_manifest
from weather_backfill.lake import layout

LOOKBACK = "weather/lookback"
"""The label of a manifest with the look-back that it onboards."""


def last_of_window(context: BackfillContext, wanted: WantedConnection) -> Manifest | None:
    """The latest onboarding over the connection's present look-back, if there is one."""
    found = [
        m
        for m in onboardings(context, wanted.name)
        if m.labels.get(LOOKBACK) == label_of(wanted) and m.state != ManifestState.STOPPED
    ]
    return found[-1] if found else None


def label_of(wanted: WantedConnection) -> str:
    return f"{wanted.connection.lookback_days}/{wanted.connection.first_day or ''}"


def onboarding_id(connection: str, again: int = 0) -> str:
    return f"{layout.ONBOARD}{connection}" + (f".again{again}" if again else "")


def onboardings(context: BackfillContext, connection: str) -> list[Manifest]:
    """The connection's onboardings so far, each read by its id: the cost does not grow with the lake's history."""
    found: list[Manifest] = []
    while manifest := load_manifest(context.store, onboarding_id(connection, len(found))):
        found.append(manifest)
    return found
