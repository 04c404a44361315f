"""Tenants and their connections: YAML files, one a tenant, in a folder or bucket (`WEATHER_TENANTS_URL`).

    id: acme
    services:
      tempest:
        archive_url: s3://acme-weather/tempest

`_defaults.yaml` beside them holds defaults by service (`tempest: {lookback_days: 365}`); a tenant's own settings
go on top. A file that is broken names its file, field, value and fix, and never blocks another tenant. Secrets appear
only as references to environment variables: `${ACME_SECRET}`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from weather_backfill.lake.listing import own_names
from weather_backfill.model.errors import ConfigurationError, NotFoundError, shown, some
from weather_backfill.model.partitions import validate_tenant_id
from weather_backfill.security.secrets import WITHHELD
from weather_backfill.sources.registry import REGISTERED
from weather_backfill.storage import conditional
from weather_backfill.storage.object_store import ObjectStore

DEFAULTS = "_defaults.yaml"
_MAX_FILE_BYTES = 64 * 1024
_MOST_PROBLEMS = 20
_MOST_PARSED = 20_000
# PyYAML fails as it falls on tagged values: `!!bool x` with KeyError, `!!timestamp x` with AttributeError.
_ZEROS_IN_FRONT = re.compile(r"0[0-9]+")
_YAML_ERRORS = (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError, OverflowError)


_FIELDS: dict[str, Any] = {service.name: (service.connection() | None, None) for service in REGISTERED}
Services = create_model(
    "Services",
    __config__=ConfigDict(extra="forbid", frozen=True),
    __doc__="The services a tenant connects: a field a registered service.",
    **_FIELDS,
)


class Tenant(BaseModel):
    """One tenant file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: Annotated[str, AfterValidator(validate_tenant_id)]
    name: str | None = Field(None, max_length=200)
    services: Services

    def connection(self, service: str) -> Any:
        """The tenant's connection to a service; raises `ConfigurationError` if it has none."""
        connection = getattr(self.services, service, None)
        if connection is None:
            raise ConfigurationError(
                f"tenant {self.id!r} has no connection to {service!r}: add it under services in {self.id}.yaml."
            )
        return connection

    def switched_on(self, service: str) -> Any:
        """The connection to a service; raises `ConfigurationError` if there is none or it is off."""
        connection = self.connection(service)
        if not connection.enabled:
            raise ConfigurationError(
                f"tenant {self.id!r} has switched {service!r} off (enabled: false in {self.id}.yaml)."
            )
        return connection


Defaults = tuple[dict[str, Any], bool]
"""Defaults by service, and whether their file says where it ends."""

_parsed: dict[tuple[str, str], Tenant] = {}  # by address and version; tenants are frozen


class TenantRegistry:
    """Reads and writes tenant files."""

    def __init__(self, files: ObjectStore) -> None:
        self._files = files

    def ids(self) -> list[str]:
        """The ids of all tenant files, readable or not; hidden files (`._acme.yaml`) and editors' copies are none.

        Raises `NotFoundError` if their folder or bucket is not there: it may not be mounted, and no tenant is gone.
        """
        try:
            names = self._files.names()
        except NotFoundError as error:
            raise NotFoundError(
                f"the tenant files' place {self._files.url} is not there: mount it, or add the first tenant with "
                "`weather-backfill tenants add`."
            ) from error
        own = own_names(self._files, names, lambda name: name.endswith(".yaml") and not name.startswith("."))
        return [name.removesuffix(".yaml") for name in own if name != DEFAULTS]

    def get(self, tenant: str) -> Tenant:
        """One tenant; raises `ConfigurationError` that names file, field, value and fix."""
        return self.read(tenant)[0]

    def read(self, tenant: str, with_defaults: Defaults | None = None) -> tuple[Tenant, str, bool]:
        """One tenant, the version of its file and the defaults, and whether these say where they end; raises as `get`.

        A file that does not say so (by YAML's line `...`) may be half of one that is being written. Who reads many
        tenants hands over the `defaults`.
        """
        file = f"{validate_tenant_id(tenant)}.yaml"
        try:
            text = self._read(file)
        except NotFoundError as error:
            raise ConfigurationError(
                f"tenant {tenant!r} is not known: there is no {self._files.uri(file)}. "
                "Add it with `weather-backfill tenants add`."
            ) from error
        defaults, whole = with_defaults or self.defaults()
        version = hashlib.sha256(text + b"\0" + repr(sorted(defaults.items())).encode()).hexdigest()[:16]
        return self._parsed(text, file, tenant, version, defaults), version, whole and _is_ended(text)

    def _parsed(self, text: bytes, file: str, tenant: str, version: str, defaults: Mapping[str, Any]) -> Tenant:
        """A tenant from its file; a version that this process has parsed is not parsed again at each tick."""
        known = (self._files.uri(file), version)
        found = _parsed.get(known)
        if found is None:
            found = parse_tenant(text, known[0], tenant, defaults)
            if len(_parsed) >= _MOST_PARSED:
                _parsed.clear()
            _parsed[known] = found
        return found

    def problem_of_defaults(self) -> str | None:
        """What is wrong with `_defaults.yaml`, which every tenant is read with; None if nothing is."""
        try:
            self.defaults()[0]
        except ConfigurationError as error:
            return str(error)
        return None

    def _read(self, file: str) -> bytes:
        """A file's bytes; a huge one is refused before it is read."""
        _check_size(self._files.head(file).size, self._files.uri(file))
        return self._files.get(file)

    def defaults(self) -> Defaults:
        """The defaults, and whether their file says where it ends (or there is none); raises `ConfigurationError`."""
        try:
            text = self._read(DEFAULTS)
        except NotFoundError:
            return {}, True
        defaults = _mapping(text, self._files.uri(DEFAULTS))
        unknown = sorted(set(defaults) - set(Services.model_fields))
        if unknown or not all(isinstance(value, dict) for value in defaults.values()):
            found = f"; found {some(map(str, unknown))}." if unknown else "."
            raise ConfigurationError(
                f"{self._files.uri(DEFAULTS)}: expected a mapping of settings for each of "
                f"{', '.join(Services.model_fields)}{found}"
            )
        return defaults, _is_ended(text)

    def remove(self, tenant: str) -> str:
        """Delete a tenant's file: nothing more is loaded, its data stays. Returns where the file was."""
        file = f"{validate_tenant_id(tenant)}.yaml"
        if not self._files.exists(file):
            raise ConfigurationError(f"tenant {tenant!r} is not known: there is no {self._files.uri(file)}.")
        self._files.delete(file)
        return self._files.uri(file)

    def connect(
        self, tenant: str, services: dict[str, dict[str, Any]], check: Callable[[Tenant], Any] = lambda _: None
    ) -> str:
        """Write a tenant's file with these connections; others it has stay. Returns where.

        Whoever loses to another writer of the file reads it again: both writers' connections are in it then. Raises
        `ConfigurationError` naming the field, or what `check` raises, and then writes nothing.
        """
        if not services:
            raise ConfigurationError(f"tenant {tenant!r} connects no service: name one, for example --tempest.")
        file = f"{validate_tenant_id(tenant)}.yaml"
        uri = self._files.uri(file)

        def write() -> None:
            with suppress(NotFoundError):
                _check_size(self._files.head(file).size, uri)
            seen = self._files.look(file)
            # What the file says, not what the defaults add to it, is what is written back.
            known: dict[str, Any] = _mapping(seen.data, uri) if seen else {"id": tenant}
            document = {**known, "services": {**(known.get("services") or {}), **services}}
            text = yaml.safe_dump(document, sort_keys=False, explicit_end=True).encode()
            check(parse_tenant(text, uri, tenant, self.defaults()[0]))
            conditional.put_if(self._files, file, text, seen.etag if seen else None)

        conditional.started_over(write)
        return uri

    def put(self, tenant: Tenant) -> str:
        """Write a tenant's file, all of it; returns where. To add a connection to what is there: `connect`."""
        document = tenant.model_dump(mode="json", exclude_none=True, exclude_unset=True)
        text, file = yaml.safe_dump(document, sort_keys=False, explicit_end=True).encode(), f"{tenant.id}.yaml"

        def write() -> None:
            seen = self._files.look(file)
            conditional.put_if(self._files, file, text, seen.etag if seen else None)

        conditional.started_over(write)
        return self._files.uri(file)


def parse_tenant(text: bytes, file: str, expected_id: str, defaults: Mapping[str, Any] | None = None) -> Tenant:
    """A tenant from the bytes of its YAML file, its connections on top of the services' defaults."""
    document = _mapping(text, file)
    services = document.get("services")
    if defaults and isinstance(services, dict):
        merged = {k: {**defaults.get(k, {}), **v} if isinstance(v, dict) else v for k, v in services.items()}
        document = {**document, "services": merged}
    try:
        tenant = Tenant.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(f"{file}: {_problems(error)}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from error
    if tenant.id != expected_id:
        raise ConfigurationError(f"{file}: id is {tenant.id!r}; expected {expected_id!r}, as the file is named.")
    return tenant


def _is_ended(text: bytes) -> bool:
    """Return whether YAML's line for the end of a document is the last one."""
    return text.rstrip().endswith(b"\n...")


def _mapping(text: bytes, file: str) -> dict[str, Any]:
    _check_size(len(text), file)
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigurationError(f"{file} is not YAML: {problem}{where}.") from error
    except _YAML_ERRORS as error:
        raise ConfigurationError(f"{file} is not YAML: {(str(error).splitlines() or ['?'])[0][:200]}.") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}: expected a mapping with id and services, found {type(document).__name__}.")
    return document


def _check_size(size: int, file: str) -> None:
    if size > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{file}: {size} bytes; a tenant file has at most {_MAX_FILE_BYTES}.")


class _Loader(yaml.SafeLoader):
    """A safe loader without aliases, which make a few lines as large as memory, and without names that come twice.

    A number with zeros in front (`00433`) is the text that stands there: YAML would make the octal number 283 of it.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[str] = set()
        for name in (key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if name in names:
                problem = f"{str(name)[:80]!r} stands twice, and one would hide the other"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
            names.add(name)
        return super().construct_mapping(node, deep)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not allowed, write the value out", problem_mark=mark)
        return super().compose_node(parent, index)


def _as_written(loader: _Loader, node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    return text if _ZEROS_IN_FRONT.fullmatch(text) else loader.construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _as_written)


def _problems(error: ValidationError) -> str:
    """The first problems of a file, and how many more it has."""
    found = error.errors(include_url=False)
    more = f"; and {len(found) - _MOST_PROBLEMS} problems more" if len(found) > _MOST_PROBLEMS else ""
    return "; ".join(_problem(details) for details in found[:_MOST_PROBLEMS]) + more


def _problem(details: ErrorDetails) -> str:
    """Field, what was expected and the value given; no value where a secret may have gone astray."""
    where = ".".join(str(part)[:80] for part in details["loc"]) or "file"
    text = f"{where}: {details['msg'].removeprefix('Value error, ')}"
    value = details["input"]
    whole = isinstance(value, (dict, list))
    if details["type"] in (WITHHELD, "extra_forbidden", "missing") or (whole and details["type"] == "value_error"):
        return text  # what a whole connection is refused for says itself which value it was
    given = "a list or mapping" if whole else repr(shown(str(value))[:80])
    return f"{text} (given {given})"
