"""A connection's reach follows from its fields' types, and a field that nobody marked cannot escape it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, create_model

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.security.reach import Endpoint, Label, Place, ProfileName, ServerUrl, reach_of
from weather_backfill.security.secrets import SecretReference
from weather_backfill.settings import Settings
from weather_backfill.sources.connection import Connection
from weather_backfill.sources.registry import REGISTERED
from weather_backfill.storage.places import open_lake
from weather_backfill.tenants.access import check_connection
from weather_backfill.tenants.files import Tenant


class Inner(BaseModel):
    mirror: Place | None = None
    zone: Label = "Europe/Berlin"


class Everything(Connection):
    archive: Annotated[Place, AfterValidator(str.strip)]
    mirrors: tuple[Place, ...] = ()
    server: ServerUrl | None = None
    endpoint: Endpoint | None = None
    profile: ProfileName | None = None
    key: SecretReference | None = None
    patterns: dict[Label, Label] = {}  # noqa: RUF012 - pydantic copies it
    inner: Inner = Inner()
    forgotten: str | None = None


def test_every_kind_of_field_is_found_wherever_it_stands() -> None:
    connection = Everything(
        archive="s3://acme/a", mirrors=("/data/m", "https://mirror.example/x"), server="https://api.example",
        endpoint="https://s3.example", profile="acme", key="${ACME_KEY}", patterns={"*/t": "/a/b"},
        inner=Inner(mirror="file:///data/in%20ner"), forgotten="sub/folder",
    )  # fmt: skip
    reach = reach_of(connection)
    assert reach.places == {
        "archive": "s3://acme/a", "mirrors.0": "/data/m", "inner.mirror": "file:///data/in%20ner",
        "forgotten": "sub/folder",
    }  # fmt: skip
    assert sorted(map(str, reach.folders)) == ["/data/in ner", "/data/m", "sub/folder"]
    assert sorted(reach.urls) == ["https://api.example", "https://mirror.example/x"]
    assert (list(reach.secrets), reach.profile, reach.endpoint) == (["${ACME_KEY}"], "acme", "https://s3.example")


def tenant_with(connection: Connection) -> Tenant:
    """A tenant whose only connection is of a kind that the platform does not know; checked all the same."""
    services = create_model("Services", anything=(type(connection), ...))(anything=connection)
    return Tenant.model_construct(id="acme", name=None, services=services)


def refused(tmp_path: Path, field: str, kind: Any, value: str, **settings: Any) -> str:
    model = create_model("Odd", __base__=Connection, **{field: (kind, ...)})
    at = Settings(storage_url=str(tmp_path / "lake"), tenants_url=str(tmp_path / "tenants"), **settings)
    with pytest.raises(ConfigurationError) as error:
        check_connection(tenant_with(model(**{field: value})), "anything", open_lake(at), at)
    return str(error.value)


@pytest.mark.parametrize("field", ["folder", "archive_url", "drop_box", "x"])
@pytest.mark.parametrize("kind", [Place, str, str | None], ids=["marked", "plain", "optional"])
def test_a_folder_field_of_any_name_that_points_into_another_tenants_data_is_refused(
    tmp_path: Path, field: str, kind: Any
) -> None:
    others = tmp_path / "lake" / "raw_observations" / "service=tempest" / "tenant=bo"
    others.mkdir(parents=True)
    assert f"services.anything.{field}" in refused(tmp_path, field, kind, str(others))
    (tmp_path / "link").symlink_to(others)
    assert "lies in the lake" in refused(tmp_path, field, kind, str(tmp_path / "link"))
    assert "lies in the lake" in refused(tmp_path, field, kind, others.as_uri())
    assert "may not read the folder" in refused(
        tmp_path, field, kind, str(tmp_path / "bo"), tenant_folders=[str(tmp_path / "acme")]
    )


def test_the_registered_connections_mark_every_field_that_holds_a_place() -> None:
    """A text field of a registered model is marked, restricted, or without a slash in anything that it accepts."""
    marked = {
        (service.name, field)
        for service in REGISTERED
        for field, info in service.connection().model_fields.items()
        if any(word in field for word in ("url", "folder", "path", "archive"))
    }
    for name, field in marked:
        model = next(s for s in REGISTERED if s.name == name).connection()
        info = model.model_fields[field]
        assert "Names." in f"{info.metadata}{info.annotation}", f"{name}.{field} names no kind"
    assert {("tempest", "archive_url"), ("dwd", "base_url"), ("csv_folder", "folder")} <= marked
