"""Assets, one module each: thin bodies over functions that do not know Dagster."""
