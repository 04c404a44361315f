"""The registry of services: a new one is a folder beside this file and its name here."""

from __future__ import annotations

from importlib import import_module

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.service import Service

FOLDERS = ("tempest", "dwd", "aceiot", "ghcnh", "csv_folder")


def _declared(folder: str) -> Service:
    """The `SERVICE` that a folder declares, which is named as the folder is."""
    service: Service = import_module(f"weather_backfill.sources.{folder}").SERVICE
    assert service.name == folder, f"{folder} declares a service called {service.name}"
    return service


REGISTERED = tuple(map(_declared, FOLDERS))
SERVICES_BY_NAME = {service.name: service for service in REGISTERED}
SERVICES = tuple(SERVICES_BY_NAME)
"""The names of all services, in the order in which they are shown."""


def service_named(name: str) -> Service:
    """The service of a name; raises `ConfigurationError` naming those there are."""
    try:
        return SERVICES_BY_NAME[name]
    except KeyError:
        raise ConfigurationError(f"service {name!r} is not known: expected one of {', '.join(SERVICES)}.") from None


def any_of(services: tuple[str, ...] = SERVICES) -> str:
    """The names as help texts list them: `tempest, dwd or aceiot`."""
    *others, last = services
    return f"{', '.join(others)} or {last}" if others else last
