"""ACE IoT: building sensors behind a paginated, rate-limited API.

`connection.py` is a tenant's configuration, `api.py` the calls on the wire, `decode.py` a page's bytes as columns,
`pagination.py` the cursor walk over one window, `day_assembly.py` windows to a day, `request_budget.py` the requests
that a range costs, and `source.py` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from weather_backfill.sources.service import ConnectOption, Service, Surroundings, words

if TYPE_CHECKING:
    from weather_backfill.sources.aceiot.connection import AceiotConnection
    from weather_backfill.sources.aceiot.source import AceiotSource

REQUESTS_PER_MINUTE = 50
"""The pace that the service's reference deployment keeps to; no limit is published."""


def _connection() -> type[AceiotConnection]:
    from weather_backfill.sources.aceiot.connection import AceiotConnection

    return AceiotConnection


def _open(connection: AceiotConnection, around: Surroundings) -> AceiotSource:
    from weather_backfill.sources.aceiot.source import open_source

    per_minute, own = around.pace(SERVICE, connection.requests_per_minute)
    return open_source(
        connection.model_copy(update={"requests_per_minute": per_minute if own else None}),
        around.tenant,
        limits_url=around.settings.limits_url,
        requests_per_minute=per_minute,
        patience=around.settings.outage_patience,
        private=around.settings.private_addresses,
        hurry=around.hurry,
    )


def _connect(values: Mapping[str, str | None]) -> dict[str, Any] | None:
    if not values["aceiot-sites"]:
        return None
    return {
        "base_url": values["aceiot-url"],
        "api_key": values["aceiot-key"],
        "sites": words(values["aceiot-sites"]),
        **({"points": words(values["aceiot-points"])} if values["aceiot-points"] else {}),
    }


def _simulate() -> Callable[..., None]:
    from weather_backfill.sources.aceiot.simulate import aceiot_command

    return aceiot_command


SERVICE = Service(
    name="aceiot",
    title="ACE IoT",
    connection=_connection,
    open=_open,
    requests_per_minute=REQUESTS_PER_MINUTE,
    has_request_budget=True,
    options=(
        ConnectOption("aceiot-sites", "ACE IoT sites (acme_north_campus,...)"),
        ConnectOption("aceiot-key", "Variable that holds the API key, as a reference: '${ACME_ACEIOT_KEY}'"),
        ConnectOption("aceiot-points", "Patterns of points to keep ('*/weather/*'); without it all"),
        ConnectOption("aceiot-url", "The API, up to and with /api", "https://flightdeck.aceiot.cloud/api"),
    ),
    connect=_connect,
    simulate=_simulate,
)
