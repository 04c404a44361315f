"""Each registered service is declared as its folder, opens lazily and knows no other."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

import weather_backfill.sources
from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.connection import Connection
from weather_backfill.sources.registry import FOLDERS, REGISTERED, SERVICES, any_of, service_named
from weather_backfill.sources.service import Service
from weather_backfill.tenants.files import Services

ROOM = Path(weather_backfill.sources.__file__).parent


def imports_of(folder: Path) -> set[str]:
    """The modules that the files of a folder import, wherever in them."""
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("service", REGISTERED, ids=lambda service: service.name)
def test_a_service_is_whole(service: Service) -> None:
    assert issubclass(service.connection(), Connection)
    assert service.first_day >= date(1781, 1, 1)
    assert service.chunk_days >= 1
    assert (service.requests_per_minute or 1) >= 1
    assert service.connect(dict.fromkeys(option.name for option in service.options)) is None, "asked for by nothing"
    assert all(option.help for option in service.options)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_service_knows_neither_tenants_nor_the_other_services(folder: str) -> None:
    others = {f"weather_backfill.sources.{other}" for other in FOLDERS if other != folder}
    above = {"weather_backfill.tenants", "weather_backfill.settings", "weather_backfill.backfill", "dagster"}
    reached = {
        name for name in imports_of(ROOM / folder) for far in others | above if (name + ".").startswith(far + ".")
    }
    assert reached == set()


def test_tenants_may_connect_every_service_and_no_option_is_of_two() -> None:
    assert tuple(Services.model_fields) == SERVICES == FOLDERS
    options = [option.name for service in REGISTERED for option in service.options]
    assert len(set(options)) == len(options)
    assert any_of(("a",)) == "a"
    assert any_of(("a", "b", "c")) == "a, b or c"
    with pytest.raises(ConfigurationError, match="'noaa' is not known: expected one of tempest"):
        service_named("noaa")


def test_declaring_the_services_imports_nothing_heavy() -> None:
    """The command line's help and the settings need the names alone."""
    code = "import sys, weather_backfill.sources.registry; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pyarrow", "pandas", "obstore", "duckdb", "httpx", "dagster"} & set(done.stdout.split()) == set()
