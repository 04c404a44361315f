"""Benchmarks: the product against the obvious ways to do the same, side by side (`make bench`)."""
