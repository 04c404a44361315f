"""One run in its own process: reads days and stores each as Parquet, by a rename, as the lake does.

python -m ...worker CONFIG.json     # url, sites, days, out, limits, spill, requests, window, options
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import date
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from weather_backfill.http.shared_state import open_state
from weather_backfill.model.days import DayFailure
from weather_backfill.sources.aceiot.source import AceiotSource, open_client
from weather_backfill_tests.sources.aceiot.helpers import QUICK, connection


def main(config: dict[str, object]) -> int:
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    out = Path(str(config["out"]))
    chosen = connection(str(config["url"]), config["sites"], **config["options"])  # type: ignore[arg-type]
    client = open_client(
        chosen, "acme", open_state(str(config["limits"])), requests_per_minute=int(str(config["requests"])),
        window=float(str(config["window"])), policy=QUICK,
    )  # fmt: skip
    source = AceiotSource(chosen, client, spill_folder=Path(str(config["spill"])))
    failed = 0
    for day in source.days([date.fromisoformat(d) for d in config["days"]]):  # type: ignore[attr-defined]
        if isinstance(day, DayFailure):
            failed += 1
            print(day.date, repr(day.error), flush=True)
            continue
        staged = out / f".{day.date}.staged"
        pq.write_table(day.table, staged, compression="zstd")
        staged.replace(out / f"{day.date}.parquet")
        (out / f"{day.date}.json").write_bytes(orjson.dumps(dict(day.facts)))
        print(day.date, "done", dict(day.facts), flush=True)
    print(source.client.limiter.status(), source.client.breaker.status(), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(json.loads(Path(sys.argv[1]).read_text())))
