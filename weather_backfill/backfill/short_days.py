"""Looks again at incomplete days: after 1, 2, 4, 8, 16 and at most 30 days, or when what is listed of them has changed.

    _looks/short/<tenant>-<service>.json    by day: looks so far, the last one's date, what was listed then

A station that is dead for good costs one look in 30 days; a file that comes back costs none that finds nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from weather_backfill.backfill.plan import BackfillPlan, Reason
from weather_backfill.lake import layout
from weather_backfill.model.errors import UnreadableObjectError
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.util import json_documents

LONGEST_WAIT = timedelta(days=30)
_MISSING = (Reason.MISSING, Reason.FAILED, Reason.UNREFINED)


@dataclass(frozen=True, slots=True)
class Look:
    """The last look at an incomplete day, on a UTC date; `looks` so far, `listed` upstream then."""

    looks: int
    last: date
    listed: str

    def is_due(self, today: date, listed: str) -> bool:
        """Whether the day is to be looked at again; a look in the future means that a clock was set back."""
        wait = min(timedelta(days=2 ** min(self.looks - 1, 10)), LONGEST_WAIT)
        return listed != self.listed or not self.last <= today < self.last + wait


class ShortDays:
    """The looks at a connection's incomplete days."""

    def __init__(self, store: ObjectStore, connection: str) -> None:
        self._store, self._key = store, layout.look_key("short", connection)

    def due(self, plan: BackfillPlan, today: date) -> BackfillPlan:
        """The plan with the missing days, and those incomplete or accepted ones that are due: these as incomplete."""
        looks = self._looks()

        def reason(day: date, found: Reason) -> Reason | None:
            if found not in (Reason.INCOMPLETE, Reason.ACCEPTED):
                return found if found in _MISSING else None
            look = looks.get(day)
            lacks = day in plan.lacking or found is Reason.ACCEPTED
            due = lacks and (look is None or look.is_due(today, plan.listed.get(day, "")))
            return Reason.INCOMPLETE if due else None

        kept = {day: why for day, found in plan.reasons.items() if (why := reason(day, found))}
        return replace(plan, reasons=kept)

    def looked(self, plan: BackfillPlan, today: date) -> None:
        """Note that the incomplete days of a plan are looked at now; days that it does not have keep their looks."""
        looks = self._looks()
        for day, why in plan.reasons.items():
            if why is Reason.INCOMPLETE:
                before = looks.get(day)
                listed = plan.listed.get(day, "")
                again = before.looks + 1 if before and before.listed == listed else 1
                looks[day] = Look(again, today, listed)
            else:
                looks.pop(day, None)
        forgotten = today - 4 * LONGEST_WAIT  # such a day is whole by now
        kept = {day: look for day, look in sorted(looks.items()) if look.last >= forgotten}
        rows = {str(day): [look.looks, str(look.last), look.listed] for day, look in kept.items()}
        self._store.put(self._key, json.dumps(rows).encode())

    def _looks(self) -> dict[date, Look]:
        seen = self._store.look(self._key)
        if seen is None:
            return {}
        try:
            with json_documents.reading("this is no record of looks", "delete it."):
                document: Mapping[str, list[object]] = json_documents.parsed(seen.data)
                return {
                    date.fromisoformat(day): Look(int(str(looks)), date.fromisoformat(str(last)), str(listed))
                    for day, (looks, last, listed) in document.items()
                }
        except UnreadableObjectError:
            return {}  # only the waits are lost: look now
