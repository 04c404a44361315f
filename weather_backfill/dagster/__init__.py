"""The Dagster wing: assets, checks, IO manager, resources, sensors, schedules, the form, the run coordinator."""
