"""The HTTP client of every source: retries, and rate limits and circuit breakers shared by all processes."""
