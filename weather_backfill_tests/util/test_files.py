"""Who may read what we write: nobody but owner and group, and less where the umask says so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weather_backfill.http.shared_state.local import FolderState
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill.tenants.files import Tenant, TenantRegistry


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    yield os.umask
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


@pytest.mark.parametrize(("mask", "file", "folder"), [(0, 0o640, 0o750), (0o022, 0o640, 0o750), (0o077, 0o600, 0o700)])
def test_objects_of_a_local_store(
    mask: int, file: int, folder: int, tmp_path: Path, umask: Callable[[int], int]
) -> None:
    umask(mask)
    (tmp_path / "given").write_bytes(b"x")
    store = ObjectStore(str(tmp_path / "above" / "lake"))
    store.put("a/b/put", b"x")
    store.put_file("a/put_file", tmp_path / "given")
    assert store.create("a/create", b"x")
    TenantRegistry(store).put(Tenant.model_validate({"id": "acme", "services": {"tempest": {"archive_url": "/x"}}}))
    found = modes(tmp_path / "above")
    assert found.pop("lake/acme.yaml") == file
    assert {name: found.pop(name) for name in ("lake/a/b/put", "lake/a/put_file", "lake/a/create")} == dict.fromkeys(
        ("lake/a/b/put", "lake/a/put_file", "lake/a/create"), file
    )
    [lock] = [name for name in found if name.endswith(".lock")]
    assert found.pop(lock) == file
    assert found == dict.fromkeys(("lake", "lake/_locks", "lake/_staging", "lake/a", "lake/a/b"), folder)
    assert (tmp_path / "above").stat().st_mode & 0o777 == folder
    store.get_file("a/create", tmp_path / "fetched")
    assert (tmp_path / "fetched").stat().st_mode & 0o777 == file


def test_shared_state_is_its_owners_alone(tmp_path: Path, umask: Callable[[int], int]) -> None:
    umask(0)
    FolderState(tmp_path / "limits").change("scope", lambda document, now: document.update(x=1))
    [scope] = (tmp_path / "limits").iterdir()
    [version] = scope.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "limits", scope, version)] == [0o750, 0o750, 0o600]


def test_what_is_there_already_stays_as_it_is(tmp_path: Path, umask: Callable[[int], int]) -> None:
    """Whoever shares a folder with a group that writes has set it up so."""
    umask(0o022)
    path = tmp_path / "limits"
    path.mkdir()
    path.chmod(0o2770)
    FolderState(path).change("scope", lambda document, now: document.update(x=1))
    [scope] = path.iterdir()
    [version] = scope.iterdir()
    assert [made.stat().st_mode & 0o7777 for made in (path, scope, version)] == [0o2770, 0o2770, 0o660]
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake").chmod(0o2775)
    ObjectStore(str(tmp_path / "lake")).put("a", b"x")
    assert (tmp_path / "lake").stat().st_mode & 0o7777 == 0o2775
