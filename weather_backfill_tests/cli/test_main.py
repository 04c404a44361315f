"""The command line as a user meets it: help, exit codes, one line an error, JSON that parses."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from weather_backfill_tests.platform import Platform

COMMANDS = [[], ["simulate"], ["simulate", "tempest"], ["tenants"], ["tenants", "add"], ["tenants", "list"],
            ["report"], ["demo"], ["dev"]]  # fmt: skip
SPAN = ["--start", "2024-01-01", "--end", "2024-01-03"]


def cli(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    return platform.run("weather-backfill", *arguments, check=False)


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "itself")
def test_every_command_has_help(command: list[str], local_platform: Platform) -> None:
    done = cli(local_platform, *command, "--help")
    assert done.returncode == 0
    assert "Usage: weather-backfill" in done.stdout
    assert len(done.stdout.splitlines()) > 5


def test_simulate_add_list_and_show(local_platform: Platform) -> None:
    platform = local_platform
    archive = str(platform.folder / "my [archive]")
    done = cli(platform, "simulate", "tempest", "--to", archive, *SPAN, "--stations", "1", "--minutes-per-object", "60")
    assert done.returncode == 0, done.stderr
    assert "72 objects of stations ST-00010100" in done.stdout
    assert "registered" in cli(platform, "tenants", "add", "acme", "--tempest", archive).stdout
    assert "was registered already" in cli(platform, "tenants", "add", "acme", "--tempest", archive).stdout
    [row] = json.loads(cli(platform, "tenants", "list", "--json").stdout)
    assert row == {"tenant": "acme", "services": "tempest", "problem": None}
    done = cli(platform, "report", "--service", "tempest", *SPAN, "--json")
    [row] = json.loads(done.stdout)
    assert (row["tenant"], row["days"], row["raw"]) == ("acme", 3, 0)
    assert (platform.folder / "report.png").stat().st_size > 1000
    assert "acme" in cli(platform, "report", "--service", "tempest", *SPAN).stdout


def test_a_broken_tenant_file_is_a_row_of_the_list(local_platform: Platform) -> None:
    platform = local_platform
    folder = platform.folder / "tenants"
    folder.mkdir()
    (folder / "broken.yaml").write_text("id: broken\nservices: {tempest: {archive_url: a, stations: '[bold]'}}\n")
    [row] = json.loads(cli(platform, "tenants", "list", "--json").stdout)
    assert (row["tenant"], row["services"]) == ("broken", None)
    assert "services.tempest.stations" in row["problem"]
    shown = "".join(cli(platform, "tenants", "list").stdout.split())
    assert "[bold]" in shown, "what a file says is shown, not obeyed"


def test_an_empty_list_is_json_too(local_platform: Platform) -> None:
    assert json.loads(cli(local_platform, "tenants", "list", "--json").stdout) == []


@pytest.mark.parametrize("tenant", ["a|b", "../x", "Acme", "[red]acme", "[/red]"])
def test_a_hostile_tenant_is_one_line_that_shows_it(local_platform: Platform, tenant: str) -> None:
    assert_one_line(cli(local_platform, "tenants", "add", tenant, "--tempest", "/archive"), repr(tenant), "Rename")
    assert not (local_platform.folder / "tenants").exists() or not list((local_platform.folder / "tenants").iterdir())


def test_errors_of_settings_files_and_stores_are_one_line(local_platform: Platform) -> None:
    platform = local_platform
    assert_one_line(cli(platform, "tenants", "add", "acme", "--tempest", ""), "connects no service", "--tempest")
    assert_one_line(cli(platform, "simulate", "tempest", "--to", "ftp://x", *SPAN), "ftp", "s3://bucket/prefix")
    reverse = ["--start", "2024-01-03", "--end", "2024-01-01"]
    assert_one_line(cli(platform, "report", "--service", "tempest", *reverse), "is before start")
    assert_one_line(cli(platform, "simulate", "tempest", "--to", "x", *reverse), "is before start")
    assert_one_line(cli(platform, "report", "--service", "tempset", *SPAN), "tempset", "tempest")
    platform.environment["WEATHER_CHUNK_DAYS"] = "[many]"
    assert_one_line(cli(platform, "tenants", "list"), "WEATHER_CHUNK_DAYS", "[many]")


def test_no_dagster_home_is_one_line(local_platform: Platform) -> None:
    local_platform.environment["DAGSTER_HOME"] = ""
    assert_one_line(cli(local_platform, "report", "--service", "tempest", *SPAN), "DAGSTER_HOME")
    assert_one_line(cli(local_platform, "tenants", "add", "acme", "--tempest", "/archive"), "DAGSTER_HOME")
    assert not (local_platform.folder / "tenants" / "acme.yaml").exists(), "nothing is done by half"


def test_wrong_arguments_exit_with_2(local_platform: Platform, tmp_path: Path) -> None:
    for arguments in (
        ["nothing"],
        ["report"],
        ["report", "--service", "tempest", "--start", "1 May", "--end", "x"],
    ):
        done = cli(local_platform, *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_the_version(local_platform: Platform) -> None:
    from weather_backfill import __version__

    assert cli(local_platform, "--version").stdout.strip() == __version__


def test_dev_does_not_start_where_something_listens(local_platform: Platform) -> None:
    """Else a second daemon would run on the instance of the first."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = local_platform.run("weather-backfill", "dev", "--folder", "here", "--port", port, check=False)
    assert done.returncode == 2
    assert f"http://127.0.0.1:{port} is in use" in " ".join(done.stderr.split())
    assert "Dagster:" not in done.stdout
