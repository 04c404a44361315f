"""Snapshots: what they hold of a platform that is being written, and what of one that was tampered with."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from weather_backfill.cli import history
from weather_backfill.cli.main import app
from weather_backfill.maintenance.backup import Places, backup, load, restore, snapshots
from weather_backfill.model.errors import ConfigurationError, UnreadableObjectError
from weather_backfill.storage.object_store import ObjectStore


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"objects": {"lake/a": {"size": 1}}}', b'{"objects": NaN}'])
def test_a_damaged_snapshot_is_named(tmp_path: Path, damaged: bytes) -> None:
    backups = ObjectStore(str(tmp_path))
    backups.put("snapshots/20240101T000000.json", damaged)
    with pytest.raises(UnreadableObjectError, match=r"snapshots/20240101T000000\.json is no snapshot of a backup"):
        load(backups, "snapshots/20240101T000000.json")


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


def quiet(total: int) -> nullcontext:
    return nullcontext(lambda steps: None)


def database(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE written (key TEXT, data BLOB)")
    connection.commit()
    return connection


class Busy(Places):
    """A platform that writes a day and records it just before a database is copied."""

    @contextmanager
    def copied(self, name: str) -> Iterator[Path]:
        self.lake.put("raw/b", b"2")
        with closing(sqlite3.connect(self.path(name))) as connection:
            connection.execute("INSERT INTO written VALUES ('raw/b', NULL)")
            connection.commit()
        with super().copied(name) as copy:
            yield copy


def test_what_a_snapshots_instance_knows_its_lake_holds(tmp_path: Path) -> None:
    home = tmp_path / "home"
    database(home / "runs.db").close()
    lake, tenants, to = (ObjectStore(str(tmp_path / name)) for name in ("lake", "tenants", "backup"))
    lake.put("raw/a", b"1")
    backup(Busy(lake, tenants, home), to, quiet)
    new = Places(*(ObjectStore(str(tmp_path / "new" / name)) for name in ("lake", "tenants")), tmp_path / "new/home")
    restore(new, to, quiet)
    with closing(sqlite3.connect(tmp_path / "new/home/runs.db")) as connection:
        known = [key for (key,) in connection.execute("SELECT key FROM written")]
    assert known == ["raw/b"]
    assert [stored.key for stored in new.lake.list()] == ["raw/a", "raw/b"]


def test_a_second_backup_copies_no_database_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    database(home / "runs.db").close()
    places = Places(*(ObjectStore(str(tmp_path / name)) for name in ("lake", "tenants")), home)
    to = ObjectStore(str(tmp_path / "backup"))
    assert backup(places, to, quiet)["copied_objects"] == 1
    assert backup(places, to, quiet)["copied_objects"] == 0
    assert list(load(to, snapshots(to)[-1])) == ["instance/runs.db"]


MEASURED = """
import re, sys
from contextlib import nullcontext
from pathlib import Path
from weather_backfill.cli import history
from weather_backfill.maintenance.backup import Places, backup, restore
from weather_backfill.storage.object_store import ObjectStore

def places(folder):
    return Places(ObjectStore(str(folder / "lake")), ObjectStore(str(folder / "tenants")), folder / "home")

root = Path(sys.argv[1])
to = ObjectStore(str(root / "backup"))
def peak():  # of this program alone; getrusage's is at least that of whoever has started it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

before = peak()
backup(places(root), to, lambda total: nullcontext(lambda steps: None))
restore(places(root / "new"), to, lambda total: nullcontext(lambda steps: None))
print(peak() - before)
"""


def test_memory_never_holds_a_database(tmp_path: Path) -> None:
    size = 256 << 20
    with closing(database(tmp_path / "home" / "index.db")) as connection:
        for _ in range(size >> 24):
            connection.execute("INSERT INTO written VALUES ('x', zeroblob(?))", (1 << 24,))
        connection.commit()
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < size / 2
    assert (tmp_path / "new/home/index.db").stat().st_size >= size


POSTGRES = {
    "run_storage": ("dagster_postgres.run_storage", "PostgresRunStorage"),
    "event_log_storage": ("dagster_postgres.event_log", "PostgresEventLogStorage"),
    "schedule_storage": ("dagster_postgres.schedule_storage", "PostgresScheduleStorage"),
}


@pytest.mark.parametrize("form", ["nothing", "sqlite", "storage", "each of three"])
def test_an_instance_is_backed_up_where_its_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    url = {"postgres_url": "postgresql://u:p@127.0.0.1:1/x"}
    three = {kind: {"module": m, "class": c, "config": url} for kind, (m, c) in POSTGRES.items()}
    given = {"sqlite": {"storage": {"sqlite": {"base_dir": str(tmp_path)}}}, "storage": {"storage": {"postgres": url}}}
    given |= {"each of three": three}
    home = tmp_path / "home"
    home.mkdir()
    if form in given:
        (home / "dagster.yaml").write_text(yaml.safe_dump(given[form]))
    for name, value in {"DAGSTER_HOME": home, "WEATHER_STORAGE_URL": tmp_path / "lake"}.items():
        monkeypatch.setenv(name, str(value))
    before = sorted(home.iterdir())
    assert history._places().home == (home if form in ("nothing", "sqlite") else None)
    assert sorted(home.iterdir()) == before, "no instance is made by looking"
    (home / "dagster.yaml").write_text("storage: null")
    with pytest.raises(ConfigurationError, match=r"dagster\.yaml is no configuration"):
        history._places()


def test_a_backup_goes_to_no_place_that_is_backed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the place is called by: here a link."""
    (tmp_path / "lake").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "lake")
    (tmp_path / "home").mkdir()
    for name, value in {"DAGSTER_HOME": "home", "WEATHER_STORAGE_URL": "lake"}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    done = CliRunner().invoke(app, ["backup", "--to", str(tmp_path / "link" / "backup")])
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "lake" / "backup").exists()
