"""`Reach`: everything outside the platform that a connection's settings name, derived from the types of its fields.

A field says by its type what it names: `Place` (a folder or bucket), `ServerUrl`, `Endpoint` (an S3 server),
`ProfileName`, `SecretReference`, or `Label` (nothing outside: a pattern, a zone, a name). A text with a slash in a
field without such a type counts as a place: a field that somebody forgot to mark is refused rather than let through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel


class Names(Enum):
    """The kind of thing outside the platform that a field names."""

    PLACE = "place"
    SERVER = "server"
    ENDPOINT = "endpoint"
    PROFILE = "profile"
    SECRET = "secret"  # noqa: S105 - a kind, not a secret
    NOTHING = "nothing"


Place = Annotated[str, Names.PLACE]
"""A folder, `file:///folder`, `s3://bucket/prefix` or a server's address that data is read from."""
ServerUrl = Annotated[str, Names.SERVER]
"""An `https://` or `http://` address."""
Endpoint = Annotated[str, Names.ENDPOINT]
"""An S3 server that is asked without a guard of ours on the connection, so that only its address can be checked."""
ProfileName = Annotated[str, Names.PROFILE]
"""An AWS profile of the machine."""
Label = Annotated[str, Names.NOTHING]
"""A text that names nothing outside the connection, whatever characters it holds."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The folders, servers and secrets that a connection names; `places` are all storage URLs, by field."""

    urls: Sequence[str] = ()
    folders: Sequence[Path] = ()
    secrets: Sequence[str] = ()
    profile: str | None = None
    endpoint: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)


def folder_of(url: str) -> Path | None:
    """The folder that a plain path or a `file://` URL names; None for others."""
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return Path(unquote(parts.path) if parts.scheme else url)
    return None


def reach_of(settings: BaseModel) -> Reach:
    """The reach of a connection's settings: every field looked at, also those of models and collections inside."""
    named: dict[Names, dict[str, str]] = {kind: {} for kind in Names}
    for place, kind, text in _texts(settings, ""):
        named[kind][place] = text
    by_address = {f: text for f, text in named[Names.PLACE].items() if text.startswith(("http://", "https://"))}
    places = {f: text for f, text in named[Names.PLACE].items() if f not in by_address}
    return Reach(
        urls=(*named[Names.SERVER].values(), *by_address.values()),
        folders=tuple(folder for text in places.values() if (folder := folder_of(text))),
        secrets=tuple(named[Names.SECRET].values()),
        profile=next(iter(named[Names.PROFILE].values()), None),
        endpoint=next(iter(named[Names.ENDPOINT].values()), None),
        places=places,
    )


def _texts(settings: BaseModel, prefix: str) -> Iterator[tuple[str, Names, str]]:
    for name, info in type(settings).model_fields.items():
        kinds = {mark for mark in (*info.metadata, *_marks(info.annotation)) if isinstance(mark, Names)}
        kind = next(iter(kinds)) if len(kinds) == 1 else None
        yield from _inside(getattr(settings, name), prefix + name, kind)


def _inside(value: Any, place: str, kind: Names | None) -> Iterator[tuple[str, Names, str]]:
    if isinstance(value, BaseModel):
        yield from _texts(value, f"{place}.")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _inside(key, f"{place}.{key}", kind)
            yield from _inside(inner, f"{place}.{key}", kind)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for number, inner in enumerate(value):
            yield from _inside(inner, f"{place}.{number}", kind)
    elif isinstance(value, (str, Path)):
        text = str(value)
        if kind is not None:
            yield place, kind, text
        elif "/" in text:
            yield place, Names.PLACE, text


def _marks(annotation: Any) -> Iterator[Any]:
    """The marks anywhere in an annotation: `Place | None`, `tuple[Annotated[...], ...]`."""
    for argument in get_args(annotation):
        yield argument
        yield from _marks(argument)
