"""`python -m weather_backfill.cli`."""

from weather_backfill.cli.main import app

app()
