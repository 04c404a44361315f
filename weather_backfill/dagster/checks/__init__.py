"""Asset checks that look at a whole service: freshness, alignment of products."""
