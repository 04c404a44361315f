"""The command line, `weather-backfill`: one module a group of commands, over `backfill/` and the lake."""
