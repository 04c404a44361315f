"""Faults on purpose at each point of the path, and whether the lake comes out of each as if nothing had been.

`make test-faults` runs the matrix; `python -m weather_backfill_tests.faults` a random sequence. No product code knows
of this: a process that is to meet a fault gets `hooks/` on its PYTHONPATH and the fault in its environment.
"""
