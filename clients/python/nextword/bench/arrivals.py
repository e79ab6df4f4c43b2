"""When the requests of an open loop are to be sent, drawn before the first one is."""

import random
from typing import Literal

__all__ = ["Arrivals", "arrival_times"]

Arrivals = Literal["poisson", "constant"]


def arrival_times(
    arrivals: Arrivals,
    *,
    rate: float,
    seconds: float | None,
    num_requests: int | None,
    rng: random.Random,
) -> list[float]:
    """Seconds from the start, rising, at least one.

    Args:
        arrivals: ``constant`` for equal pauses, ``poisson`` for those of many independent callers.
        rate: Requests a second.
        seconds: All arrivals are before; None where they are counted.
        num_requests: How many; None where `seconds` says it.
        rng: Draws the pauses.
    """
    times: list[float] = []
    at = 0.0
    while (num_requests is None or len(times) < num_requests) and (seconds is None or at < seconds):
        times.append(at)
        # A multiple, so that rounding does not add up.
        at = len(times) / rate if arrivals == "constant" else at + rng.expovariate(rate)
    return times
