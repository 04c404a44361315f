"""The HTTP client of every source: retries, rate limits, circuit breakers, shared by all processes."""
