"""Dagster's webserver behind `SameOriginOnly`, also as `python -m weather_backfill.dagster.webserver`.

Takes the options and variables (`DAGSTER_WEBSERVER_PORT`) of `dagster-webserver`. GraphQL is its one way to command,
beside the routes that report asset events: both by POST with JSON alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Scope

from weather_backfill.dagster.private import webserver_command
from weather_backfill.security.own_hosts import OwnHosts
from weather_backfill.security.same_origin import SameOriginOnly
from weather_backfill.settings import load_settings

DEFAULT_PORT = 3000


def guarded(app: ASGIApp, host: str, port: int, allowed_hosts: Sequence[str] = ()) -> SameOriginOnly:
    """Wrap Dagster's app, to be served on `host` and `port`."""
    return SameOriginOnly(app, OwnHosts.of(host, port, allowed_hosts), _is_mutation)


def serve(app: ASGIApp, host: str, port: int | None, **options: Any) -> None:
    """Serve Dagster's app behind the guard until stopped; raises `ConfigurationError` for wrong settings."""
    bound = port or DEFAULT_PORT
    uvicorn.run(guarded(app, host, bound, load_settings().allowed_hosts), host=host, port=bound, **options)


def main(arguments: Sequence[str] | None = None, program: str = "weather-backfill webserver") -> None:
    """Run the command; exits as Click's commands do."""
    command = webserver_command(serve)
    command.main(
        list(sys.argv[1:] if arguments is None else arguments), program, auto_envvar_prefix="DAGSTER_WEBSERVER"
    )


def _is_mutation(scope: Scope) -> bool:
    """Return whether a GET request asks GraphQL for anything but queries; what cannot be parsed counts as such.

    Dagster answers a browser that asks for a page with GraphiQL, and runs nothing.
    """
    if not scope["path"].rstrip("/").endswith("/graphql") or "text/html" in Headers(scope=scope).get("accept", ""):
        return False
    parameters = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    return not all(_only_queries(text) for name, text in parameters if name == "query")


def _only_queries(text: str) -> bool:
    try:
        definitions = parse(text, no_location=True).definitions
    except (GraphQLError, RecursionError):
        return False
    operations = [node.operation for node in definitions if isinstance(node, OperationDefinitionNode)]
    return all(operation is OperationType.QUERY for operation in operations)


if __name__ == "__main__":
    main()
