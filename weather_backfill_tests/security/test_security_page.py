"""The policies of the security page: well-formed, enough for what we do, and for nothing else."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from weather_backfill.lake import layout
from weather_backfill_tests.platform import PROJECT

POLICIES = sorted((PROJECT / "deploy" / "iam").glob("*.json"))
DAY = "raw_observations/service=tempest/tenant=acme/date=2024-01-01/" + layout.FILE


@pytest.mark.parametrize("path", POLICIES, ids=lambda p: p.stem)
def test_a_policy_is_well_formed_and_names_what_it_allows(path: Path) -> None:
    document = json.loads(path.read_text())
    assert document["Version"] == "2012-10-17"
    assert {s["Sid"] for s in document["Statement"]}
    for statement in document["Statement"]:
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow"
        assert statement["Resource"].startswith("arn:aws:s3:::")
        for action in _list(statement["Action"]):
            assert "*" not in action, "every call is named"
            assert statement["Resource"].endswith("/*") == (action != "s3:ListBucket")
    page = (PROJECT / "docs" / "security.md").read_text()
    assert f"deploy/iam/{path.name}" in page


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def allows(policy: str, action: str, resource: str, prefix: str | None = None) -> bool:
    """Whether a policy of Allow statements grants a call (`*` is the only wildcard here)."""
    document = json.loads((PROJECT / "deploy" / "iam" / f"{policy}.json").read_text())
    for statement in document["Statement"]:
        patterns = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", ["*"])
        if (
            action in _list(statement["Action"])
            and fnmatchcase(resource, statement["Resource"])
            and any(fnmatchcase(prefix or "", pattern) for pattern in patterns)
        ):
            return True
    return False


LAKE, TENANTS = "arn:aws:s3:::my-weather/lake/", "arn:aws:s3:::my-weather/tenants/"
ARCHIVE = "arn:aws:s3:::acme-weather/tempest/"


@pytest.mark.parametrize("action", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])
def test_the_platform_writes_its_lake_and_nothing_else(action: str) -> None:
    assert allows("platform", action, LAKE + DAY)
    assert allows("platform", action, TENANTS + "acme.yaml") == (action == "s3:GetObject")
    assert not allows("platform", action, ARCHIVE + "x.json")
    assert allows("archive", action, ARCHIVE + "year=2024/x.json") == (action == "s3:GetObject")
    assert not allows("archive", action, LAKE + DAY)
    assert not allows("archive", action, "arn:aws:s3:::acme-weather/invoices/x.pdf")


def test_listing_ends_at_the_prefix() -> None:
    assert allows("platform", "s3:ListBucket", "arn:aws:s3:::my-weather", "lake/raw_observations/")
    assert not allows("platform", "s3:ListBucket", "arn:aws:s3:::my-weather", "")
    assert allows("archive", "s3:ListBucket", "arn:aws:s3:::acme-weather", "tempest/year=2024/")
    assert not allows("archive", "s3:ListBucket", "arn:aws:s3:::acme-weather", "invoices/")


def test_the_page_shows_the_policies_as_they_are() -> None:
    page = (PROJECT / "docs" / "security.md").read_text()
    for path in POLICIES:
        assert f"```json\n{path.read_text().strip()}\n```" in page
