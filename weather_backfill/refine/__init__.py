"""Refine: quality flags on raw observations, and 15-minute windows made from them."""
