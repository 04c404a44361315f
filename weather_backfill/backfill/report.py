"""The coverage report: an HTML page with the calendar and one row per tenant, and the same as Dagster metadata."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse }}
th, td {{ padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right }}
th:first-child, td:first-child, td:last-child {{ text-align: left }} img {{ max-width: 100% }}
</style></head><body>
<h1>{title}</h1>
<p>Judged from the files in the lake, {written_at} UTC.</p>
<img alt="Coverage calendar, tenant by day" src="data:image/png;base64,{picture}">
<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>
</body></html>
"""


def write_report(
    rows: Sequence[Mapping[str, Any]], picture: Path, service: str, start: date, end: date, path: Path
) -> Path:
    """Write a self-contained HTML page from the rows of a summary and the calendar's picture; returns the path."""
    columns = list(rows[0]) if rows else ["tenant"]
    page = _PAGE.format(
        title=html.escape(f"Coverage of {service}, {start} to {end}"),
        written_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        picture=base64.b64encode(picture.read_bytes()).decode(),
        head="".join(f"<th>{html.escape(name)}</th>" for name in columns),
        body="".join(
            "<tr>" + "".join(f"<td>{html.escape(_cell(name, row[name]))}</td>" for name in columns) + "</tr>"
            for row in rows
        ),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def markdown(rows: Sequence[Mapping[str, Any]], picture: Path) -> str:
    """The report as Markdown for Dagster's metadata: the calendar as an inline picture above a table."""
    columns = list(rows[0]) if rows else ["tenant"]
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"
    body = "\n".join("| " + " | ".join(_cell(name, row[name]) for name in columns) + " |" for row in rows)
    image = base64.b64encode(picture.read_bytes()).decode()
    return f"![coverage](data:image/png;base64,{image})\n\n{head}\n{body}"


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if name == "complete" else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value or "")
