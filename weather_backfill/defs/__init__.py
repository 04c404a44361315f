"""Definitions made with `dg scaffold defs`: whatever stands in this folder is loaded beside the platform's own.

`dg scaffold defs dagster.asset my_asset.py` puts a file here. It may use the platform's resources by name (`lake`,
`tenants`, `warehouse`) and name its assets as dependencies. A schedule or sensor is scaffolded with the target `*`:
name the assets it is for, as no one job can run assets of different partitions. The platform's own definitions are
built by `weather_backfill/definitions.py`, not here.
"""
