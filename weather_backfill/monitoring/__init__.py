"""Metrics for Prometheus, exported from the instance and the lake: a pushed metric would die with its run."""
