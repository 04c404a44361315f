"""Processes on a clock that a test sets, by Debian's libfaketime."""

from __future__ import annotations

from pathlib import Path

_PLACES = [Path(f"/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1") for machine in ("x86_64", "aarch64")]
NO_LIBRARY = f"no libfaketime (Debian: apt install libfaketime): looked for {', '.join(map(str, _PLACES))}"


def faketime_library() -> Path | None:
    """Debian's libfaketime, if it is installed."""
    return next((place for place in _PLACES if place.exists()), None)


def on_faked_clock(file: Path) -> dict[str, str]:
    """The environment of a process for which it is what `file` says: `+3600` is an hour later than the machine's clock.

    The monotonic clock stays as it is.
    """
    library = faketime_library()
    assert library, NO_LIBRARY
    return {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Otherwise a wait for Python's lock until a monotonic time ends at once: threads spin, eight times slower.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }  # fmt: skip
