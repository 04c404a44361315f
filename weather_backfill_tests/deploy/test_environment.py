"""How environments are made: by uv from where pip takes its packages, by pip itself where uv is not to be had."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.long  # a virtual environment each
PROJECT = Path(__file__).parents[2]
UV = Path(sys.prefix) / "bin" / "uv"


def wheel(folder: Path, name: str) -> Path:
    """A package of one module, as an installer takes it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}.py": "",
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{name}-1.0.dist-info/RECORD"
    files[record] = "".join(f"{file},,\n" for file in [*files, record])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def lock(path: Path, *wheels: Path) -> Path:
    """The wheels with their hashes, as a lock has them."""
    pins = [f"{w.name.split('-')[0]}==1.0 --hash=sha256:{hashlib.sha256(w.read_bytes()).hexdigest()}" for w in wheels]
    path.write_text("\n".join(pins))
    return path


def environment_of(home: Path, **changes: str) -> dict[str, str]:
    """The variables of this process without what it says to pip and uv; pip's own file is the one below `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "PYTHON"))}
    kept |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "UV_CACHE_DIR": str(home / "cache")}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", **changes}


def run(*command: str | Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """The address of a package index that has `tinypackage` and nothing else."""
    page = tmp_path / "index" / "simple" / "tinypackage"
    page.mkdir(parents=True)
    built = wheel(page, "tinypackage")
    (page / "index.html").write_text(f'<!DOCTYPE html><a href="{built.name}">{built.name}</a>')
    lock(tmp_path / "tiny.lock", built)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "index"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def with_uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has pip and uv, as `.ci/uv` leaves it."""
    if not UV.exists():
        pytest.skip("this environment was made by pip: there is no uv to look at")
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    shutil.copy(UV, folder / "bin" / "uv")
    return folder


@pytest.mark.parametrize(
    ("written", "variables"),
    [
        ("[global]\nindex-url = {index}", {}),
        ("[global]\nindex-url = http://127.0.0.1:9/simple\n[install]\nindex-url = {index}", {}),
        ("[global]\nindex-url = http://127.0.0.1:9/simple", {"PIP_INDEX_URL": "{index}"}),
        ("[global]\nindex-url = http://127.0.0.1:9/simple", {"UV_DEFAULT_INDEX": "{index}"}),
        ("[global]\nindex-url = {index}\nextra-index-url =\n    {index}/none\n    {index}", {}),
        ("[global]\nno-index = true\nfind-links =\n    {folder}/none\n    {folder}", {}),
    ],
    ids=["global", "install before global", "environment before file", "uv's own", "several", "folders"],
)
def test_uv_takes_packages_from_where_pip_does(
    tmp_path: Path, with_uv: Path, index: str, written: str, variables: dict[str, str]
) -> None:
    places = {"index": index, "folder": str(tmp_path / "index" / "simple" / "tinypackage")}
    (tmp_path / "none").mkdir()
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text(written.format(**places))
    environment = environment_of(tmp_path, **{key: value.format(**places) for key, value in variables.items()})
    target = tmp_path / "target"
    done = run(
        *(PROJECT / ".ci" / "uv", with_uv, "pip", "install", "--python", with_uv / "bin" / "python"),
        *("--target", target, "--require-hashes", "-r", tmp_path / "tiny.lock"),
        environment=environment,
    )
    assert done.returncode == 0, done.stderr
    assert (target / "tinypackage.py").exists()


def test_pip_goes_on_where_uv_cannot_be_had(tmp_path: Path) -> None:
    """The folder that pip is sent to has no uv."""
    locked = lock(tmp_path / "tiny.lock", wheel(tmp_path, "tinypackage"))
    wheel(tmp_path, "another")
    environment = environment_of(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path), PYTHON=sys.executable)
    made = tmp_path / "made"
    done = run(
        *(PROJECT / ".ci" / "environment", made, "--require-hashes", "-r", locked, "--", "--no-deps", "another"),
        environment=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip goes on") == 1
    assert not (made / "bin" / "uv").exists()
    assert run(made / "bin" / "python", "-c", "import tinypackage, another", environment=environment).returncode == 0


def test_what_neither_can_install_fails(tmp_path: Path) -> None:
    locked = lock(tmp_path / "tiny.lock", wheel(tmp_path, "tinypackage"))
    locked.write_text(locked.read_text()[:-4] + "0000")
    environment = environment_of(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path), PYTHON=sys.executable)
    done = run(
        *(PROJECT / ".ci" / "environment", tmp_path / "made", "--require-hashes", "-r", locked),
        environment=environment,
    )
    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert "is ready" not in done.stderr


@pytest.mark.parametrize(
    ("allowed", "said"), [(">=3.5,<3.11", "Python 3.5 to 3.10"), (">=3.98,<3.100", "Python 3.98 to 3.99")]
)
def test_a_python_that_is_too_new_or_too_old_is_refused(tmp_path: Path, allowed: str, said: str) -> None:
    """The running interpreter, by a project that wants another."""
    shutil.copytree(PROJECT / ".ci", tmp_path / ".ci")
    (tmp_path / "pyproject.toml").write_text(f'[project]\nrequires-python = "{allowed}"\n')
    script = tmp_path / ".ci" / "environment"
    done = run(script, tmp_path / "made", "x", environment=environment_of(tmp_path, PYTHON=sys.executable))
    assert done.returncode == 1
    version = ".".join(map(str, sys.version_info[:3]))
    assert done.stderr.startswith(f"{sys.executable} is Python {version}: this project runs on {said}.")
    assert "make PYTHON=" in done.stderr
    done = run(script, tmp_path / "made", "x", environment=environment_of(tmp_path))
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "made").exists()


def test_the_versions_named_are_the_versions_allowed() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    oldest, beyond = map(int, re.findall(r"3\.(\d+)", project["project"]["requires-python"]))
    named = [f"Programming Language :: Python :: 3.{minor}" for minor in range(oldest, beyond)]
    assert project["project"]["classifiers"] == named
    assert project["tool"]["mypy"]["python_version"] == f"3.{oldest}"
    assert f"Python 3.{oldest} to 3.{beyond - 1}" in (PROJECT / "README.md").read_text()
