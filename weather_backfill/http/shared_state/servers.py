"""Stores for several hosts: Postgres and Redis. Their clients are optional extras."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import orjson

from weather_backfill.http.shared_state.base import Change, Document, SharedStateError
from weather_backfill.model.errors import ConfigurationError

T = TypeVar("T")
_KEY = "weather_backfill:"


class PostgresState:
    """Documents in a table of a Postgres database, under row locks; the server's clock counts.

    A row lock is a lease: the server ends the transaction of a client that is silent for `LEASE_SECONDS` within it (a
    stopped process, a cut network), and others wait somewhat longer than that at most.
    """

    LEASE_SECONDS = 5.0

    def __init__(self, url: str) -> None:
        try:
            import psycopg2
        except ImportError as error:
            raise ConfigurationError(_missing("psycopg2-binary", "postgres")) from error
        self._psycopg2, self._url = psycopg2, url
        self._lock = threading.Lock()
        self._connection: Any = None

    def change(self, scope: str, change: Change[T]) -> T:
        def run(cursor: Any) -> T:
            cursor.execute("INSERT INTO weather_shared_state VALUES (%s, '{}') ON CONFLICT DO NOTHING", (scope,))
            cursor.execute("SELECT document FROM weather_shared_state WHERE scope = %s FOR UPDATE", (scope,))
            before = cursor.fetchone()[0]
            document: Document = orjson.loads(before)
            # Read after the lock was granted: now() would be the time at which the wait for it began.
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            result = change(document, cursor.fetchone()[0])
            after = orjson.dumps(document).decode()
            if after != before:
                cursor.execute("UPDATE weather_shared_state SET document = %s WHERE scope = %s", (after, scope))
            return result

        return self._transact(run)

    def read(self, scope: str) -> tuple[Document, float]:
        def run(cursor: Any) -> tuple[Document, float]:
            cursor.execute(
                "SELECT extract(epoch FROM clock_timestamp())::float8, "
                "(SELECT document FROM weather_shared_state WHERE scope = %s)",
                (scope,),
            )
            now, document = cursor.fetchone()
            return orjson.loads(document) if document else {}, now

        return self._transact(run)

    def scopes(self) -> list[str]:
        def run(cursor: Any) -> list[str]:
            cursor.execute("SELECT scope FROM weather_shared_state")
            return [row[0] for row in cursor.fetchall()]

        return self._transact(run)

    def _transact(self, run: Callable[[Any], T]) -> T:
        with self._lock:
            try:
                connection = self._open()
                with connection, connection.cursor() as cursor:
                    return run(cursor)
            except self._psycopg2.Error as error:
                self._connection = None  # the next call connects anew
                raise SharedStateError(_unreachable("Postgres", type(error).__name__)) from None

    def _open(self) -> Any:
        if self._connection is None or self._connection.closed:
            connection = self._psycopg2.connect(self._url, connect_timeout=10)
            with connection, connection.cursor() as cursor:
                lease = int(self.LEASE_SECONDS * 1000)
                cursor.execute(f"SET idle_in_transaction_session_timeout = {lease}")
                cursor.execute(f"SET lock_timeout = {3 * lease}")
                cursor.execute(f"SET statement_timeout = {4 * lease}")
                # Two processes that create the table at once would collide in the catalogue.
                cursor.execute("SELECT pg_advisory_xact_lock(7205759403792793)")
                cursor.execute(
                    "CREATE TABLE IF NOT EXISTS weather_shared_state (scope text PRIMARY KEY, document text NOT NULL)"
                )
            self._connection = connection
        return self._connection


class RedisState:
    """Documents in Redis; `WATCH` detects a second writer and the change runs again; the server's clock counts."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError as error:
            raise ConfigurationError(_missing("redis", "redis")) from error
        self._redis = redis
        self._client: Any = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=10)

    def change(self, scope: str, change: Change[T]) -> T:
        key = _KEY + scope

        def run(pipe: Any) -> T:
            before = pipe.get(key)
            document: Document = orjson.loads(before) if before else {}
            result = change(document, _seconds(pipe.time()))
            pipe.multi()
            after = orjson.dumps(document)
            if after != before:
                pipe.set(key, after)
            return result

        return self._guard(lambda: self._client.transaction(run, key, value_from_callable=True))

    def read(self, scope: str) -> tuple[Document, float]:
        def run() -> tuple[Document, float]:
            stored = self._client.get(_KEY + scope)
            return orjson.loads(stored) if stored else {}, _seconds(self._client.time())

        return self._guard(run)

    def scopes(self) -> list[str]:
        keys = self._guard(lambda: list(self._client.scan_iter(match=f"{_KEY}*")))
        return [key.decode().removeprefix(_KEY) for key in keys]

    def _guard(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except self._redis.RedisError as error:
            raise SharedStateError(_unreachable("Redis", type(error).__name__)) from None


def _seconds(answer: tuple[int, int]) -> float:
    return answer[0] + answer[1] / 1e6


def _missing(package: str, extra: str) -> str:
    return f"WEATHER_LIMITS_URL needs {package}: install it, or weather-backfill[{extra}]."


def _unreachable(what: str, error: str) -> str:
    # The client's own text is left out: it may hold the URL and with it the password.
    return (
        f"{what} behind WEATHER_LIMITS_URL failed ({error}): check that it runs, the address and the "
        "password. No request was sent to the upstream."
    )
