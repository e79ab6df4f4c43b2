"""How much work one model takes on at once, in requests and in tokens, and when there is room.

A request's cost is the most tokens it can take: its prompt and all that it may make. What is over
the limits is refused at once, with a time to come back that follows from the measured rate.
"""

import math
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager

from service.errors import ErrorKind, RequestError, invalid_value

__all__ = ["MAX_RETRY_SECONDS", "Admission"]

# Clients of OpenAI's library give up at once when they are told to wait for longer.
MAX_RETRY_SECONDS = 120
# The rate is a mean over about so many seconds of computing.
RATE_MEMORY_SECONDS = 10.0


class Admission:
    """The requests that one model has taken on.

    Args:
        max_requests: Requests at once, running and waiting.
        max_tokens: Sum of their costs.
        on_refusal: Told which limit refused a request: "requests" or "tokens".
        rng: Spreads the times at which refused clients come back.

    Attributes:
        num_requests: Requests taken on and not over.
        num_tokens: Their costs.
    """

    def __init__(
        self,
        *,
        max_requests: int,
        max_tokens: int,
        on_refusal: Callable[[str], None],
        rng: random.Random | None = None,
    ) -> None:
        self.num_requests = 0
        self.num_tokens = 0
        self._max_requests = max_requests
        self._max_tokens = max_tokens
        self._on_refusal = on_refusal
        self._rng = rng or random.Random()
        self._computed_tokens = 0.0
        self._computing_seconds = 0.0

    @contextmanager
    def enter(
        self, num_tokens: int, *, num_prompts: int = 1, held_tokens: int = 0
    ) -> Generator[None, None, None]:
        """Take on a request for as long as the block runs.

        Args:
            num_tokens: Its cost.
            num_prompts: Requests of its call, which are taken on together or not at all.
            held_tokens: Costs of those of them that were taken on before.

        Raises:
            RequestError: There is no room now, or there never will be.
        """
        self._check_call(num_prompts, num_tokens, held_tokens=held_tokens)
        if num_tokens > self._max_tokens:
            raise invalid_value(
                "max_tokens",
                f"asks for too much: prompt and continuations may take {num_tokens} tokens in all, "
                f"the server takes on {self._max_tokens} at once",
            )
        if self.num_requests >= self._max_requests:
            raise self._full(
                "requests",
                f"{self.num_requests} requests are being served or wait, the limit is "
                f"{self._max_requests}",
                # The mean time between the ends of two requests.
                tokens_to_wait=self.num_tokens / self.num_requests,
            )
        over = self.num_tokens + num_tokens - self._max_tokens
        if over > 0:
            raise self._full(
                "tokens",
                f"the requests being served or waiting may take {self.num_tokens} tokens, with "
                f"{num_tokens} more they would pass the limit of {self._max_tokens}",
                tokens_to_wait=over,
            )
        self.num_requests += 1
        self.num_tokens += num_tokens
        try:
            yield
        finally:
            self.num_requests -= 1
            self.num_tokens -= num_tokens

    def _check_call(self, num_prompts: int, num_tokens: int, *, held_tokens: int) -> None:
        # However often it is tried again, such a call would stand in its own way.
        if num_prompts > self._max_requests:
            raise invalid_value(
                "prompt",
                f"must hold at most {self._max_requests} prompts, which the server takes on at "
                f"once, got {num_prompts}",
            )
        if held_tokens > 0 and held_tokens + num_tokens > self._max_tokens:
            raise invalid_value(
                "prompt",
                f"asks for too much: its {num_prompts} prompts and their continuations may take "
                f"{held_tokens + num_tokens} tokens or more, the server takes on "
                f"{self._max_tokens} at once",
            )

    def note_step(self, *, num_tokens: int, seconds: float) -> None:
        """Measure the rate: tokens that a step computed, and what it took."""
        kept = math.exp(-seconds / RATE_MEMORY_SECONDS)
        self._computed_tokens = self._computed_tokens * kept + num_tokens
        self._computing_seconds = self._computing_seconds * kept + seconds

    @property
    def tokens_per_second(self) -> float | None:
        """The rate of the last seconds of computing; None before the first step."""
        if self._computing_seconds <= 0:
            return None
        return self._computed_tokens / self._computing_seconds

    def _full(self, limit: str, message: str, *, tokens_to_wait: float) -> RequestError:
        self._on_refusal(limit)
        rate = self.tokens_per_second
        seconds = 1 if not rate else math.ceil(min(tokens_to_wait / rate, MAX_RETRY_SECONDS))
        return RequestError(
            ErrorKind.SERVER_OVERLOADED,
            f"the queue is full: {message}",
            retry_after_seconds=self._spread(seconds),
        )

    def _spread(self, seconds: int) -> int:
        """A time from the given one to half as much again, so that not all come back at once."""
        last = min(seconds + max(1, seconds // 2), MAX_RETRY_SECONDS)
        first = max(1, min(seconds, last * 2 // 3))
        return self._rng.randint(first, last)
