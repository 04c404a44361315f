"""The services, one line each. A new one is a folder beside this file and an entry here."""

from __future__ import annotations

from weather_backfill.model.errors import ConfigurationError
from weather_backfill.sources.aceiot import SERVICE as ACEIOT
from weather_backfill.sources.dwd import SERVICE as DWD
from weather_backfill.sources.service import Service
from weather_backfill.sources.tempest import SERVICE as TEMPEST

REGISTERED = (TEMPEST, DWD, ACEIOT)

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
