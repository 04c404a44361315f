"""Refinement: quality flags, checks, 15-minute windows and quarterly features."""
