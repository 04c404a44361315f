"""Every condition is provoked on a real instance, told once to real servers, and its end once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_backfill.alerts.incidents import LEASE, OPENED, Incident, Register
from weather_backfill.alerts.reconcile import reconcile_alerts
from weather_backfill.backfill.accepting import accept
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.backfill.launch import launch_backfill
from weather_backfill.dagster.private import BulkActionStatus
from weather_backfill.definitions import build_definitions
from weather_backfill.http.circuit_breaker import Breaker, BreakerRules, breaker_scope
from weather_backfill.http.shared_state import open_state
from weather_backfill.lake import layout, parquet, refiling
from weather_backfill.lake.expectation import footer_entries
from weather_backfill.lake.writer import write_day
from weather_backfill.model.days import DayTable
from weather_backfill.model.expectation import Lack
from weather_backfill.model.partitions import PartitionKey
from weather_backfill.settings import Settings
from weather_backfill.storage.object_store import ObjectStore
from weather_backfill_tests.alerts.sinks import Sink, smtp_sink, webhook_sink
from weather_backfill_tests.platform import START, Platform

SECRET_PATH = "T000/B000/very-secret"
BREAKER_OPEN = "sunny / aceiot: aceiot at down.example:81 keeps failing, no requests are sent (circuit breaker open)"


@dataclass
class Watched:
    """A platform whose alerts go to the sinks."""

    platform: Platform
    instance: dg.DagsterInstance
    settings: Settings
    hook: Sink
    mail: Sink

    @property
    def definitions(self) -> dg.Definitions:
        return build_definitions(self.settings)

    @property
    def context(self) -> BackfillContext:
        return BackfillContext(self.instance, self.definitions, self.settings)

    def tick(self) -> str:
        """One tick of the sensor; what it says."""
        definitions = self.definitions
        with dg.build_sensor_context(instance=self.instance, definitions=definitions) as sensor_context:
            return definitions.resolve_sensor_def("alerts").evaluate_tick(sensor_context).skip_message or ""

    def materialize(self, day: date, tenant: str = "acme") -> bool:
        """One chunk of one day, as the queue tags it; whether it succeeded."""
        return self.platform.load(self.instance, day, tenant=tenant, assets=["raw_observations"]).success

    def damage(self, day: date) -> Path:
        """An object of a day that cannot be read."""
        path = self.platform.folder / f"archive/acme/year={day:%Y}/month={day:%m}/day={day:%d}/hour=12/cut-off.json.gz"
        path.write_bytes(b"\x1f\x8b")
        return path

    def launch(self, name: str, days: list[date], **changes: Any) -> None:
        """A native backfill, as if the daemon had got so far with it."""
        launch_backfill(
            self.instance, self.definitions, backfill_id=name, service="tempest", tenant="acme", days=days
        )  # fmt: skip
        backfill = self.instance.get_backfill(name)
        assert backfill
        self.instance.update_backfill(backfill._replace(**changes))


@pytest.fixture
def watched(local_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    local_platform.add_tempest("acme", 8)
    with webhook_sink() as hook, smtp_sink() as mail, local_platform.instance as instance:
        monkeypatch.setenv("HOOK_URL", f"http://127.0.0.1:{hook.port}/services/{SECRET_PATH}")
        settings = local_platform.settings.model_copy(
            update={
                "alert_webhook": "${HOOK_URL}",
                "alert_email_host": "127.0.0.1",
                "alert_email_port": mail.port,
                "alert_email_to": "ops@example.org, duty@example.org",
                "limits_url": str(local_platform.folder / "limits.sqlite"),
            }
        )
        yield Watched(local_platform, instance, settings, hook, mail)


def day(number: int) -> date:
    return START + timedelta(days=number)


def test_failed_chunks(watched: Watched) -> None:
    paths = [watched.damage(day(n)) for n in range(4)]
    assert not any(watched.materialize(day(n)) for n in range(3))
    watched.tick()
    assert watched.hook.texts == [], "three in a row are not more than three"
    assert not watched.materialize(day(3))
    told_once(watched, "acme / tempest: more than 3 chunks in a row have failed")
    text = watched.hook.texts[0]
    for n in range(4):
        assert f"- {day(n)}: UnreadableObjectError" in text
    assert (
        "When the cause is gone: weather-backfill start --tenant acme --service tempest "
        "--start 2024-01-01 --end 2024-01-04 --reprocess failed --max-days 4 --yes" in text
    )
    good = watched.settings
    watched.settings = good.model_copy(update={"tenants_url": str(watched.platform.folder / "not-mounted")})
    assert "tenant files could not be read" in watched.tick()
    watched.settings = good
    watched.tick()
    assert len(watched.hook.texts) == 1, "of tenants that were not read nothing is known"
    paths[3].unlink()
    assert watched.materialize(day(3))
    resolved_once(watched, "acme / tempest: more than 3 chunks in a row have failed")


def test_long_backfill(watched: Watched) -> None:
    old = (datetime.now(UTC) - timedelta(hours=20, minutes=1)).timestamp()
    young = (datetime.now(UTC) - timedelta(hours=19, minutes=59)).timestamp()
    watched.materialize(day(0))
    watched.launch("young", [day(5)], backfill_timestamp=young)
    watched.launch("old", [day(n) for n in range(3)], backfill_timestamp=old)
    told_once(watched, "acme / tempest: backfill old is active for more than 20 hours")
    assert f"- {day(2)}: not done yet" in watched.hook.texts[0]
    assert "When the cause is gone: weather-backfill cancel old" in watched.hook.texts[0]
    backfill = watched.instance.get_backfill("old")
    assert backfill
    watched.instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
    resolved_once(watched, "acme / tempest: backfill old is active for more than 20 hours")


def test_completeness(watched: Watched) -> None:
    for n in range(4):
        watched.materialize(day(n))
    now = datetime.now(UTC).timestamp()
    ended = {"status": BulkActionStatus.COMPLETED_FAILED, "backfill_end_timestamp": now}
    watched.launch("whole", [day(n) for n in range(4)], **ended)
    watched.tick()
    assert watched.hook.texts == []
    watched.launch("partial", [day(n) for n in range(5)], **ended)
    watched.launch("again", [day(3), day(4)], **ended, backfill_timestamp=now + 600)
    told_once(watched, "acme / tempest: completeness under 90% after backfill partial")
    assert f"- {day(4)}: 0.0% of the expected values" in watched.hook.texts[0]
    assert f"--start {day(4)} --end {day(4)} --reprocess incomplete" in watched.hook.texts[0]
    watched.materialize(day(4))
    resolved_once(watched, "acme / tempest: completeness under 90% after backfill partial")


def test_a_day_that_lacks_a_required_metric_is_told_once_by_name_until_it_is_accepted(watched: Watched) -> None:
    for n in range(4):
        watched.materialize(day(n))
    lake, key = watched.platform.lake, PartitionKey(day(2), "acme")
    table = parquet.decode(lake.get(layout.day_key(layout.RAW_OBSERVATIONS, "tempest", key)))
    lack = Lack("ST-1", "surface_air_pressure", cause="required, and without a value all day")
    lineage = refiling.lineage_of(parquet.our_pairs(table.schema.metadata)) | footer_entries((lack,), None)
    plain = table.replace_schema_metadata(None)
    write_day(lake, "tempest", layout.RAW_OBSERVATIONS, DayTable(key, plain, lineage, incomplete=str(lack)))
    now = datetime.now(UTC).timestamp()
    ended = {"status": BulkActionStatus.COMPLETED_SUCCESS, "backfill_end_timestamp": now}
    watched.launch("short", [day(n) for n in range(4)], **ended)
    told_once(watched, "acme / tempest: 1 days lack what was asked for after backfill short")
    assert f"- {day(2)}: station ST-1 surface_air_pressure: required" in watched.hook.texts[0]
    accept(watched.context, "tempest", "acme", day(2), day(2), why="sensor sent in", station="ST-1")
    resolved_once(watched, "acme / tempest: 1 days lack what was asked for after backfill short")


def test_breaker_open(watched: Watched) -> None:
    text = "id: sunny\nservices:\n  aceiot:\n    base_url: http://down.example:81/api\n    sites: [roof]\n"
    (watched.platform.folder / "tenants" / "sunny.yaml").write_text(text + "    api_key: ${SUNNY_KEY}\n")
    scope = breaker_scope("aceiot", "down.example:81")
    breaker = Breaker(open_state(watched.settings.limits_url), scope, BreakerRules(threshold=2), lambda _: None)
    breaker.failure("503 overloaded")
    watched.tick()
    assert watched.hook.texts == []
    breaker.failure("503 overloaded")
    told_once(
        watched, "sunny / aceiot: aceiot at down.example:81 keeps failing, no requests are sent (circuit breaker open)"
    )
    assert "503 overloaded" in watched.hook.texts[0]
    assert "When the cause is gone: weather-backfill breakers" in watched.hook.texts[0]
    breaker.success()
    resolved_once(
        watched, "sunny / aceiot: aceiot at down.example:81 keeps failing, no requests are sent (circuit breaker open)"
    )


def test_broken_tenant_file(watched: Watched) -> None:
    path = watched.platform.folder / "tenants" / "beta.yaml"
    path.write_text("id: beta\nservices: {tempest: {archive: <!channel>}}\n")
    told_once(watched, "beta: the tenant file beta.yaml is broken")
    assert "archive" in watched.hook.texts[0]
    assert "<!" not in watched.hook.texts[0], "no text of a tenant mentions a whole Slack channel"
    assert (
        "When the cause is gone: correct beta.yaml, then: weather-backfill tenants check beta" in watched.hook.texts[0]
    )
    path.unlink()
    resolved_once(watched, "beta: the tenant file beta.yaml is broken")


def test_broken_defaults_are_one_incident(watched: Watched) -> None:
    path = watched.platform.folder / "tenants" / "_defaults.yaml"
    path.write_text("tempest: 3\n")
    told_once(watched, "platform: the tenant file _defaults.yaml is broken")
    path.unlink()
    resolved_once(watched, "platform: the tenant file _defaults.yaml is broken")


def told_once(watched: Watched, first_line: str) -> None:
    """Three ticks tell each channel once."""
    for _ in range(3):
        watched.tick()
    assert [text.splitlines()[0] for text in watched.hook.texts] == [first_line]
    assert [mail["Subject"] for mail in watched.mail.mails] == [f"[weather-backfill] {first_line}"]
    assert watched.mail.mails[0]["To"] == "ops@example.org, duty@example.org"
    assert watched.mail.mails[0].get_content().splitlines()[0] == first_line


def resolved_once(watched: Watched, first_line: str) -> None:
    """Three more ticks tell each channel the end once; then the same may come again."""
    for _ in range(3):
        watched.tick()
    assert len(watched.hook.texts) == len(watched.mail.mails) == 2
    assert watched.hook.texts[1].startswith(f"resolved: {first_line} (from 20")
    assert watched.mail.mails[1]["Subject"] == f"[weather-backfill] resolved: {first_line}"
    register = Register(watched.context.store)
    assert (register.open_incidents(), register.ending()) == ([], [])


def break_file(watched: Watched, tenant: str = "beta") -> Path:
    path = watched.platform.folder / "tenants" / f"{tenant}.yaml"
    path.write_text("id: nobody\nservices: {}\n")
    return path


def test_a_failing_channel_stops_nobody_and_is_tried_again(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    watched.hook.down = True
    break_file(watched, "beta")
    break_file(watched, "gamma")
    said = watched.tick()
    assert "webhook failed and is tried again: the webhook in ${HOOK_URL} answered 404" in said
    assert watched.hook.asked == 1, "a channel that fails is left alone until the next tick"
    assert len(watched.mail.mails) == 2
    (watched.platform.folder / "tenants" / "beta.yaml").unlink()
    watched.tick()
    watched.hook.down = False
    break_file(watched, "beta")  # the same again, while the webhook does not know the first one's end
    for _ in range(3):
        watched.tick()
    lines = [text.splitlines()[0].partition(" (from")[0] for text in watched.hook.texts]
    beta = "beta: the tenant file beta.yaml is broken"
    assert sorted(lines) == sorted([beta, f"resolved: {beta}", beta, "gamma: the tenant file gamma.yaml is broken"])
    assert lines.index(f"resolved: {beta}") > lines.index(beta)
    assert len(watched.mail.mails) == 4
    told = [record.getMessage() for record in caplog.records if record.name == "weather_backfill.alerts.channels"]
    assert len(told) == 4
    everything = caplog.text + said + "".join(p.read_text() for p in watched.platform.folder.rglob("*.json"))
    assert SECRET_PATH not in everything, "the webhook's URL is a secret"


def test_a_kind_that_cannot_be_judged_ends_nothing(watched: Watched) -> None:
    scope = breaker_scope("aceiot", "down.example")
    breaker = Breaker(open_state(watched.settings.limits_url), scope, BreakerRules(threshold=1), lambda _: None)
    breaker.failure("503")
    watched.tick()
    good = watched.settings
    watched.settings = good.model_copy(update={"limits_url": str(watched.platform.folder)})  # a folder is no database
    break_file(watched)
    assert "breaker_open could not be judged" in watched.tick()
    assert len(watched.hook.texts) == 2, "other kinds go on"
    watched.settings = good
    watched.tick()
    assert [i.kind for i in Register(watched.context.store).open_incidents()] == ["breaker_open", "tenant_file"]
    assert len(watched.hook.texts) == 2


def test_many_senders_at_once_tell_once(watched: Watched) -> None:
    for n in range(5):
        break_file(watched, f"beta{n}")
    contexts = [watched.context for _ in range(6)]
    barrier = threading.Barrier(len(contexts))

    def send(context: BackfillContext) -> None:
        barrier.wait()
        reconcile_alerts(context)

    threads = [threading.Thread(target=send, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watched.tick()
    lines = [text.splitlines()[0] for text in watched.hook.texts]
    assert sorted(lines) == [f"beta{n}: the tenant file beta{n}.yaml is broken" for n in range(5)]
    assert len(watched.mail.mails) == 5


def test_a_sender_that_died_loses_nothing(watched: Watched) -> None:
    path = break_file(watched)
    now = datetime.now(UTC)
    watched.settings = watched.settings.model_copy(update={"alert_webhook": None, "alert_email_host": None,
                                                           "alert_email_to": None})  # fmt: skip
    reconcile_alerts(watched.context, now)
    watched.settings = watched.settings.model_copy(update={"alert_webhook": "${HOOK_URL}"})
    register = Register(watched.context.store)
    [incident] = register.open_incidents()
    assert register.claim(incident, OPENED, "webhook", now), "a sender claims, and dies"
    path.unlink()
    reconcile_alerts(watched.context, now + LEASE / 2)
    assert watched.hook.texts == [], "it may still be at it; and the end does not come before the opening"
    for minutes in (5, 6, 7):
        reconcile_alerts(watched.context, now + timedelta(minutes=minutes))
    assert [text.split()[0] for text in watched.hook.texts] == ["beta:", "resolved:"]


def test_a_claim_of_a_clock_that_was_ahead_is_a_dead_senders(store: ObjectStore) -> None:
    register, now = Register(store), datetime.now(UTC)
    incident = Incident(id="x", kind="k", summary="s", opened_at=now)
    assert register.claim(incident, OPENED, "log", now + timedelta(days=365))
    key = register.claim(incident, OPENED, "log", now)
    assert key
    assert register.claim(incident, OPENED, "log", now - LEASE / 2) is None, "clocks differ a little: it is at it"
    register.sent(key, "text")
    assert register.claim(incident, OPENED, "log", now - timedelta(days=365)) is None, "what is sent stays sent"


def test_one_of_many_writers_creates(store: ObjectStore) -> None:
    register = Register(store)
    incidents = [Incident(id="x", kind="k", summary=str(n), opened_at=datetime.now(UTC)) for n in range(8)]
    won: list[bool] = []
    threads = [threading.Thread(target=lambda i=i: won.append(register.open(i))) for i in incidents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert len(register.open_incidents()) == 1


def test_commands(watched: Watched) -> None:
    import json

    platform = watched.platform
    assert json.loads(platform.run("weather-backfill", "alerts", "--json").stdout) == []
    break_file(watched)
    watched.tick()
    listed = platform.run("weather-backfill", "alerts", "--json", check=False)
    assert listed.returncode == 1
    [row] = json.loads(listed.stdout)
    assert (row["kind"], row["tenant"]) == ("tenant_file", "beta")
    platform.environment |= {"WEATHER_ALERT_WEBHOOK": "${HOOK_URL}", "WEATHER_ALERT_EMAIL_HOST": "127.0.0.1"}
    platform.environment |= {"WEATHER_ALERT_EMAIL_PORT": "1", "WEATHER_ALERT_EMAIL_TO": "ops@example.org"}
    tested = platform.run("weather-backfill", "alerts", "test", "--json", check=False)
    problems = {row["channel"]: row["problem"] for row in json.loads(tested.stdout)}
    assert (tested.returncode, problems["log"], problems["webhook"]) == (1, None, None)
    assert "did not take the e-mail" in problems["email"]
    assert watched.hook.texts[-1] == "weather-backfill: this is a test message, nothing is wrong."
    platform.environment["WEATHER_ALERT_WEBHOOK"] = "https://hooks.example/secret"
    refused = platform.run("weather-backfill", "alerts", "test", check=False)
    assert refused.returncode == 2
    assert "WEATHER_ALERT_WEBHOOK" in refused.stderr
    assert "hooks.example" not in refused.stderr + refused.stdout
