"""Imported by the server that commands are forked from, and nowhere else."""

from weather_backfill_tests.commands import import_all

import_all()
