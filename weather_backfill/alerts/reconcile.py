"""Compares the conditions that hold now with the recorded incidents, and notifies channels of openings and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from weather_backfill.alerts import messages
from weather_backfill.alerts.channels import Channel, LogChannel, channels_of
from weather_backfill.alerts.conditions import current_conditions
from weather_backfill.alerts.incidents import OPENED, RESOLVED, Condition, Explanation, Incident, Register
from weather_backfill.backfill.context import BackfillContext
from weather_backfill.model.errors import ConfigurationError

GIVE_UP = timedelta(days=7)
"""A channel that fails is tried again until this long after an incident's end."""


def reconcile_alerts(context: BackfillContext, now: datetime | None = None) -> list[str]:
    """Run one reconciling pass; returns notes of what happened. Safe to call at any time, from several processes."""
    context.claim()
    now = now or datetime.now(UTC)
    register, notes = Register(context.store), list[str]()
    over = {incident.name for incident in register.ending()}
    for incident in register.open_incidents():
        if incident.name in over:
            register.end(incident)  # a pass died between the two steps of an end
    current = current_conditions(context, now)
    notes += current.notes
    conditions = {condition.incident_id: condition for condition in current.conditions}
    incidents = {incident.id: incident for incident in register.open_incidents()}
    for name, condition in conditions.items():
        if name not in incidents:
            register.open(_incident(condition, now, notes))
    for name, incident in incidents.items():
        if name not in conditions and incident.kind not in current.unjudged:
            register.end(replace(incident, ended_at=now))
    try:
        channels = channels_of(context.settings)
    except ConfigurationError as error:
        channels = [LogChannel()]
        notes.append(str(error))
    return notes + _tell_all(register, channels, now)


def _incident(condition: Condition, now: datetime, notes: list[str]) -> Incident:
    try:
        explanation = condition.explain()
    except Exception as error:  # the alert matters more than its details
        notes.append(f"{condition.subject}: no details: {type(error).__name__}: {error}")
        explanation = Explanation({}, "")
    return Incident(
        condition.incident_id, condition.kind, condition.summary, now, condition.tenant, condition.service,
        dict(explanation.days), explanation.command,
    )  # fmt: skip


def _tell_all(register: Register, channels: Sequence[Channel], now: datetime) -> list[str]:
    """Notify every channel of openings and ends that are new to it; one that fails is skipped until the next tick."""
    notes: list[str] = []
    ending, still_open = register.ending(), register.open_incidents()
    failed: set[str] = set()
    for channel in channels:
        for incident in ending + still_open:
            if channel.name not in failed and not _tell(register, channel, incident, now, notes):
                failed.add(channel.name)
    for incident in ending:
        missing = [c.name for c in channels if not register.told(incident, RESOLVED, c.name)]
        if missing and incident.ended_at and now - incident.ended_at > GIVE_UP:
            notes.append(f"{incident.id}: {', '.join(missing)} could not be told for {GIVE_UP.days} days: given up")
            missing = []
        if not missing:
            register.forget(incident)
    return notes


def _tell(register: Register, channel: Channel, incident: Incident, now: datetime, notes: list[str]) -> bool:
    """Notify a channel of an incident's opening and, if it is over, of its end; False if the channel failed."""
    for event in (OPENED, RESOLVED) if incident.ended_at else (OPENED,):
        key = register.claim(incident, event, channel.name, now)
        if key is None:
            if register.told(incident, event, channel.name):
                continue
            return True  # another sender has claimed it: the end is sent after the opening
        text = messages.text(incident, event)
        try:
            channel.tell(messages.subject(incident, event), text)
        except Exception as error:  # one channel never stops another
            register.withdraw(key)
            notes.append(f"{channel.name} failed and is tried again: {error}")
            return False
        register.sent(key, text)
        notes.append(f"{channel.name} told: {messages.subject(incident, event)}")
    return True


def send_test(channels: Sequence[Channel]) -> list[dict[str, str | None]]:
    """Send a test message to each channel; returns one row per channel: `channel` and `problem` (None if sent)."""
    rows: list[dict[str, str | None]] = []
    for channel in channels:
        try:
            channel.tell("test", "weather-backfill: this is a test message, nothing is wrong.")
            rows.append({"channel": channel.name, "problem": None})
        except Exception as error:
            rows.append({"channel": channel.name, "problem": str(error)})
    return rows
