"""The text of an incident's message, the same for all channels."""

from __future__ import annotations

from weather_backfill.alerts.incidents import RESOLVED, Incident

_MOST_DAYS = 20
_MOST_CHARACTERS = 300


def subject(incident: Incident, event: str) -> str:
    """The subject line: whose incident, and its summary."""
    whom = " / ".join(part for part in (incident.tenant, incident.service) if part) or "platform"
    line = f"{whom}: {incident.summary}"
    return f"resolved: {line}" if event == RESOLVED else line


def text(incident: Incident, event: str) -> str:
    """The message: failing days with their reasons and the commands that fix them; one line if it is resolved."""
    if event == RESOLVED:
        ended = f" until {incident.ended_at:%Y-%m-%d %H:%M} UTC" if incident.ended_at else ""
        return f"{subject(incident, event)} (from {incident.opened_at:%Y-%m-%d %H:%M}{ended})"
    lines = [subject(incident, event)]
    shown = sorted(incident.days.items())[:_MOST_DAYS]
    lines += [f"- {day}: {_short(reason)}" for day, reason in shown]
    if len(incident.days) > len(shown):
        lines.append(f"- and {len(incident.days) - len(shown)} more days")
    if incident.command:
        lines += [f"When the cause is gone: {line}" for line in incident.command.splitlines()]
    return "\n".join(lines)


def _short(reason: str) -> str:
    line = " ".join(reason.split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}..."
