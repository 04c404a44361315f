"""Expectation: what a day should hold by what was asked for, and what it lacks.

A connection asks for stations, products and sites (`Asked`, in the footer of every raw day). A source says what of it
could not be brought (`Lack`): a file that is not listed or cannot be read, a site that is refused. What arrives never
shrinks either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALL = "*"
"""Stands for all stations of a connection that names none: all of the service's, or those that report."""
_NAMED = 20


@dataclass(frozen=True, slots=True, order=True)
class Lack:
    """A thing that a day lacks: a station's values, or one metric of it, with the cause.

    `part` names what can be read alone to bring it: a product of DWD, a site of ACE IoT; "" where there is none.
    """

    station: str
    metric: str = ""
    part: str = ""
    cause: str = ""

    def __str__(self) -> str:
        what = " ".join(filter(None, (self.station and f"station {self.station}", self.metric))) or "the day"
        return f"{what}: {self.cause}" if self.cause else what


def words(lacks: Sequence[Lack]) -> str | None:
    """A sentence that names what is lacking, at most twenty of it; None where nothing is.

    Causes that several stations share are said once.
    """
    if not lacks:
        return None
    by_cause: dict[tuple[str, str], list[str]] = {}
    for lack in sorted(lacks):
        by_cause.setdefault((lack.metric, lack.cause), []).append(lack.station)
    parts = []
    for (metric, cause), stations in list(by_cause.items())[:_NAMED]:
        more = f" and {len(stations) - _NAMED} more" if len(stations) > _NAMED else ""
        parts.append(str(Lack(", ".join(stations[:_NAMED]) + more, metric, cause=cause)))
    if len(by_cause) > _NAMED:
        parts.append(f"and {len(by_cause) - _NAMED} more")
    return " | ".join(parts)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a connection asks of every day: parts (products, sites) of stations; `ALL` stands for all there are.

    `whole` are the settings that change what every row is, so that another value of them asks for the whole day.
    """

    parts: frozenset[str] = frozenset((ALL,))
    stations: frozenset[str] = frozenset((ALL,))
    whole: str = ""

    def beyond(self, before: Asked) -> tuple[Lack, ...]:
        """What this asks for and `before` did not, as lacks of a day that was written by `before`.

        A selection such as "all of Hessen" is a name like a station's: another one asks for every part anew.
        """
        if self.whole != before.whole:
            return (Lack("", cause="the connection's settings have changed"),)
        parts = () if ALL in before.parts else sorted(self.parts - before.parts)
        stations = () if ALL in before.stations else sorted(self.stations - before.stations)
        cause = "asked for since the day was loaded"
        lacks = [Lack("" if station == ALL else station, cause=cause) for station in stations]
        return (*(Lack("", part=part, cause=f"{part} was {cause}") for part in parts), *lacks)
