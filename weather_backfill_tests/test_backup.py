"""A snapshot may have been tampered with: restoring it writes nothing outside of its places."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from weather_backfill.backup import Places, restore
from weather_backfill.errors import ConfigurationError
from weather_backfill.lake.storage import ObjectStore


@pytest.mark.parametrize("name", ["instance/../../evil", "lake/../evil", "elsewhere/x", "lake", "instance//evil"])
def test_names_that_leave_their_place_are_refused(tmp_path: Path, name: str) -> None:
    data = b"evil"
    digest = hashlib.sha256(data).hexdigest()
    source = ObjectStore(str(tmp_path / "backup"))
    source.put(f"objects/{digest[:2]}/{digest}", data)
    entry = {"size": len(data), "sha256": digest, "stamp": ""}
    source.put("snapshots/20240101T000000.json", json.dumps({"objects": {name: entry}}).encode())
    home = tmp_path / "deep" / "home"
    places = Places(ObjectStore(str(tmp_path / "lake")), ObjectStore(str(tmp_path / "tenants")), home)
    with pytest.raises(ConfigurationError, match="no place of ours"):
        restore(places, source, lambda _: nullcontext(lambda _: None))
    assert not list(tmp_path.rglob("evil"))
