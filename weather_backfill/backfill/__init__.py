"""Backfills: plan, launch, watch, cancel and retry them, and report the coverage of the lake."""
