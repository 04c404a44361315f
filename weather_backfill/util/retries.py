"""Trying again: one rule for what is worth another try, used wherever a day is read or written."""

from __future__ import annotations

import tenacity

from weather_backfill.model.errors import WeatherError

TRIES = 3


def is_retryable(error: BaseException) -> bool:
    """Whether the taxonomy says that the same call may succeed a little later."""
    return isinstance(error, WeatherError) and error.retryable


def retrying() -> tenacity.Retrying:
    """Three tries for retryable errors, with exponential back-off and jitter; the last error is raised."""
    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_exponential_jitter(initial=1, max=10),
        retry=tenacity.retry_if_exception(is_retryable),
        reraise=True,
    )
