"""Everything that Dagster runs: assets, checks, IO manager, resources, sensors, schedules, the backfill form, the run
coordinator."""
