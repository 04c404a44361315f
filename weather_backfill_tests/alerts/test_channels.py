"""What channels keep to themselves: the webhook's URL, the SMTP password."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from weather_backfill.alerts import channels
from weather_backfill.alerts.channels import EmailChannel, WebhookChannel, channels_of
from weather_backfill.model.errors import ConfigurationError, SourceUnavailableError
from weather_backfill.settings import Settings
from weather_backfill_tests.alerts.sinks import dripping_sink, webhook_sink
from weather_backfill_tests.servers import until

MAIL = {"alert_email_to": "ops@example.org", "alert_email_user": "u", "alert_email_password": "${SMTP_PASSWORD}"}


@pytest.mark.parametrize("form", ["http://127.0.0.1:{}/T0/SECRET", "HTTP://127.0.0.1:{}/T0/SECRET",
                                  "http://127.0.0.1:{}/a/../T0/SECRET|x", "http://LOCALHOST:{}/T0/SECRET"])  # fmt: skip
def test_however_a_webhooks_url_is_written_no_log_holds_it(
    form: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    with webhook_sink() as sink:
        monkeypatch.setenv("HOOK", form.format(sink.port))
        WebhookChannel("${HOOK}").tell("subject", "text")
        assert sink.texts == ["text"]
    assert "SECRET" not in caplog.text
    logging.getLogger("httpx").info("others are heard")
    assert "others are heard" in caplog.text


def test_a_webhooks_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook_sink() as sink:
        sink.answer = bytes(1 << 16)
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:{sink.port}/")
        WebhookChannel("${HOOK}").tell("subject", "text")
    assert sink.texts == ["text"]
    assert sink.answered < 64 << 20, "of 256 MB no more than what buffers hold"


@pytest.mark.parametrize(
    ("host", "tls", "refused"),
    [("smtp.example.org", False, True), ("10.0.0.1", False, True), ("smtp.example.org", True, False),
     ("127.0.0.1", False, False), ("::1", False, False), ("localhost", False, False)],
)  # fmt: skip
def test_no_password_goes_out_in_clear(host: str, tls: bool, refused: bool) -> None:
    given: dict[str, Any] = {**MAIL, "alert_email_host": host, "alert_email_tls": tls}
    if not refused:
        assert [channel.name for channel in channels_of(Settings(**given))] == ["log", "email"]
        return
    with pytest.raises(ConfigurationError, match="WEATHER_ALERT_EMAIL_TLS=true"):
        channels_of(Settings(**given))
    assert len(channels_of(Settings(**{**given, "alert_email_user": None}))) == 2, "without a user nothing is secret"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nX-Head: "])
def test_a_webhook_that_drips_its_answer_is_given_up_in_time(
    answer: bytes, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte begins the time for a read anew; of TLS the handshake drips."""
    monkeypatch.setattr(channels, "_TIMEOUT_SECONDS", 0.5)
    with dripping_sink(answer) as sink:
        monkeypatch.setenv("HOOK", f"{scheme}://127.0.0.1:{sink.port}/SECRET")
        began = time.monotonic()
        with pytest.raises(SourceUnavailableError, match="did not answer") as raised:
            WebhookChannel("${HOOK}").tell("subject", "text")
        assert time.monotonic() - began < 30, "three tries and their waits"
        until(lambda: sink.asked == 3, 10)  # the sink may come to the last connection after it was given up
    assert "SECRET" not in str(raised.value)


def test_a_webhooks_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with dripping_sink(b"HTTP/1.1 200 OK\r\n\r\n") as sink:
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:{sink.port}/")
        WebhookChannel("${HOOK}").tell("subject", "text")
        assert sink.asked == 1


@pytest.mark.parametrize("answer", [b"", b"220-", b"220 ready\r\n"])
def test_a_mail_server_that_drips_is_given_up_in_time(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "_TIMEOUT_SECONDS", 0.5)
    with dripping_sink(answer) as sink:
        settings = Settings(alert_email_host="127.0.0.1", alert_email_port=sink.port, alert_email_to="ops@example.org")
        began = time.monotonic()
        with pytest.raises(SourceUnavailableError, match="did not take the e-mail"):
            EmailChannel(settings).tell("subject", "text")
        assert time.monotonic() - began < 20
