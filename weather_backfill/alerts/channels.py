"""Channels that alerts are sent to: always the log, a Slack-compatible webhook and e-mail where they are set."""

from __future__ import annotations

import ipaddress
import logging
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Protocol

import httpx

from weather_backfill.model.errors import AccessDeniedError, ConfigurationError, PermanentError, SourceUnavailableError
from weather_backfill.security.secrets import resolve_secret, reveal
from weather_backfill.settings import Settings
from weather_backfill.util.deadlines import Deadline, deadline
from weather_backfill.util.retries import retrying

logger = logging.getLogger(__name__)
_HTTP_LOGS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")
_UNPACKED = {"Accept-Encoding": "identity"}
_TIMEOUT_SECONDS = 8.0  # three tries and their waits stay below a sensor's minute


class Channel(Protocol):
    """Sends messages; raises a `WeatherError`, which never holds a secret, if it cannot."""

    name: str

    def tell(self, subject: str, text: str) -> None:
        """Send a message: its first line, and the whole text."""
        ...


class LogChannel:
    """Python's log, logger `weather_backfill.alerts.channels`, level WARNING."""

    name = "log"

    def tell(self, subject: str, text: str) -> None:
        logger.warning(text)


class WebhookChannel:
    """POST of `{"text": ...}`, as Slack, Mattermost and others accept it. The URL is a secret."""

    name = "webhook"

    def __init__(self, reference: str) -> None:
        self._reference = reference

    def tell(self, subject: str, text: str) -> None:
        url = resolve_secret(self._reference).get_secret_value()
        # Slack's three control characters, so that no text can mention everybody or hide a link.
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        with _unlogged():
            retrying()(self._post, url, {"text": escaped})

    def _post(self, url: str, document: dict[str, str]) -> None:
        try:
            status = _status_of_post(url, document)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise ConfigurationError(
                f"the webhook's URL in {self._reference} is not a URL: expected https://host/path."
            ) from None
        except httpx.HTTPError as error:  # without its text or cause, which may quote the URL
            raise SourceUnavailableError(
                f"the webhook in {self._reference} did not answer ({type(error).__name__})."
            ) from None
        if status == 429 or status >= 500:
            raise SourceUnavailableError(f"the webhook in {self._reference} answered {status}.")
        if not 200 <= status < 300:
            raise PermanentError(f"the webhook in {self._reference} answered {status}: check its URL.")


def _status_of_post(url: str, document: dict[str, str]) -> int:
    """Return the status of the answer, which has to arrive in time, however slowly it drips; its body is not read."""
    with deadline(_TIMEOUT_SECONDS) as limit:

        def trace(event: str, info: dict[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                limit.watch(info["return_value"].get_extra_info("socket"))

        try:
            with (
                httpx.Client(timeout=_TIMEOUT_SECONDS, headers=_UNPACKED, follow_redirects=False) as client,
                client.stream("POST", url, json=document, extensions={"trace": trace}) as response,
            ):
                return response.status_code
        except httpx.HTTPError:
            if limit.passed:
                raise httpx.ReadTimeout("the time is over") from None
            raise


@contextmanager
def _unlogged() -> Iterator[None]:
    """Drop the log records of this thread's HTTP requests: httpx logs every request with its URL, a secret."""
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logs = [logging.getLogger(name) for name in _HTTP_LOGS]
    for log in logs:
        log.addFilter(keep)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(keep)


class EmailChannel:
    """One e-mail per message over SMTP."""

    name = "email"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def tell(self, subject: str, text: str) -> None:
        s = self._settings
        message = EmailMessage(policy.SMTP.clone(max_line_length=400))  # a subject in one line
        message["Subject"] = f"[weather-backfill] {' '.join(subject.split())[:180]}"
        message["From"], message["To"] = s.alert_email_from, s.alert_email_to
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain="weather-backfill")
        message.set_content(text)
        password = reveal(s.alert_email_password)
        server = f"{s.alert_email_host}:{s.alert_email_port}"
        try:
            with (
                deadline(_TIMEOUT_SECONDS) as limit,
                _WatchedSmtp(limit, s.alert_email_host or "", s.alert_email_port) as smtp,
            ):
                if s.alert_email_tls:
                    smtp.starttls(context=ssl.create_default_context())
                if s.alert_email_user:
                    smtp.login(s.alert_email_user, password or "")
                refused = smtp.send_message(message)
        except smtplib.SMTPAuthenticationError:  # its text may hold what was sent
            raise AccessDeniedError(
                f"{server} refused the user {s.alert_email_user!r}: check WEATHER_ALERT_EMAIL_USER and the password in "
                f"{s.alert_email_password}."
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise SourceUnavailableError(f"{server} did not take the e-mail: {type(error).__name__}: {error}") from None
        if refused:
            logger.error("%s refused some recipients of an alert: %s", server, ", ".join(refused))


class _WatchedSmtp(smtplib.SMTP):
    """An SMTP client whose connection ends at a deadline, however slowly the server's answers arrive."""

    def __init__(self, limit: Deadline, host: str, port: int) -> None:
        self._limit = limit
        super().__init__(host, port, timeout=_TIMEOUT_SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Open the connection, as smtplib's own subclass for TLS does."""
        connected: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        self._limit.watch(connected)
        return connected


def channels_of(settings: Settings) -> list[Channel]:
    """The channels that the settings configure.

    Raises `ConfigurationError` for incomplete e-mail settings, or where the password would be sent in clear.
    """
    channels: list[Channel] = [LogChannel()]
    if settings.alert_webhook:
        channels.append(WebhookChannel(settings.alert_webhook))
    if bool(settings.alert_email_host) != bool(settings.alert_email_to):
        raise ConfigurationError(
            "e-mail needs both WEATHER_ALERT_EMAIL_HOST and WEATHER_ALERT_EMAIL_TO: set the other one too."
        )
    if settings.alert_email_user and not settings.alert_email_tls and not _is_this_machine(settings.alert_email_host):
        raise ConfigurationError(
            "WEATHER_ALERT_EMAIL_USER without TLS would send its password in clear: set WEATHER_ALERT_EMAIL_TLS=true."
        )
    if settings.alert_email_host:
        channels.append(EmailChannel(settings))
    return channels


def _is_this_machine(host: str | None) -> bool:
    """Return whether a host is literally this machine; no name is resolved, for that may change."""
    try:
        return host in (None, "localhost") or ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False
