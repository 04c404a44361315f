"""The retry policy of every read and write of a day."""

from __future__ import annotations

import tenacity

from weather_backfill.model.errors import WeatherError

TRIES = 3


def is_retryable(error: BaseException) -> bool:
    """Return whether the taxonomy of errors calls this one retryable."""
    return isinstance(error, WeatherError) and error.retryable


def retrying() -> tenacity.Retrying:
    """Retry retryable errors: three attempts, exponential back-off (1 to 10 s) with jitter; raises the last error."""
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_exponential_jitter(initial=1, max=10),
        retry=tenacity.retry_if_exception(is_retryable),
        reraise=True,
    )
