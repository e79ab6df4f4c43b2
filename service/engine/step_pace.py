"""How many tokens of prompts a step may compute, from what steps have taken so far. Torch-free.

While others stream, a prompt's piece is what keeps their gap bounded; when nothing streams, it is
as large as a step that is still short enough to let newcomers and cancels in.
"""

__all__ = ["StepPace"]

# Beside streams a step with a piece of a prompt takes about 2.5 times one without.
PROMPT_SHARE_BESIDE_STREAMS = 1.5
# Alone it takes about this long: what arrives meanwhile waits for its end.
STEP_SECONDS_ALONE = 0.25
MIN_PROMPT_TOKENS = 16
# In deterministic mode the clock has no say in what is computed together.
FIXED_PROMPT_TOKENS_BESIDE_STREAMS = 32
FIXED_PROMPT_TOKENS_ALONE = 256
# Weight of the newest step in the running means.
NEWEST = 0.2


class StepPace:
    """Running means of what a step costs.

    Args:
        max_step_tokens: Tokens of one step at most.
        is_fixed: Whether the measured times are ignored.

    Attributes:
        is_fixed: The same.
        least_prompt_tokens: What a step may compute in any case; more where a few hundred tokens
            take hardly longer than one.
        least_prompt_seconds: How long prompts may take beside streams in any case, so that a crowd
            that arrives at once does not wait behind the first few who stream.
    """

    def __init__(self, *, max_step_tokens: int, is_fixed: bool) -> None:
        if max_step_tokens < MIN_PROMPT_TOKENS:
            raise ValueError(
                f"max_step_tokens must be at least {MIN_PROMPT_TOKENS}, got {max_step_tokens}"
            )
        self.max_step_tokens = max_step_tokens
        self.least_prompt_tokens = MIN_PROMPT_TOKENS
        self.least_prompt_seconds = 0.0
        self.is_fixed = is_fixed
        self._stream_seconds: float | None = None
        self._prompt_token_seconds: float | None = None

    @property
    def stream_seconds(self) -> float:
        """What a step of streams alone takes, 0 before there was one."""
        return self._stream_seconds or 0.0

    def prompt_tokens(self, *, num_streams: int) -> int:
        """Tokens of prompts that the next step may compute beside so many streams.

        It is never 0, so that the oldest prompt always advances.
        """
        most = max(MIN_PROMPT_TOKENS, self.max_step_tokens - num_streams)
        fixed = FIXED_PROMPT_TOKENS_BESIDE_STREAMS if num_streams else FIXED_PROMPT_TOKENS_ALONE
        if self.is_fixed or self._prompt_token_seconds is None:
            return min(most, max(fixed, self.least_prompt_tokens))
        seconds = STEP_SECONDS_ALONE
        if num_streams:
            if self._stream_seconds is None:
                return min(most, max(fixed, self.least_prompt_tokens))
            share = PROMPT_SHARE_BESIDE_STREAMS * self._stream_seconds
            seconds = max(share, self.least_prompt_seconds)
        tokens = int(seconds / self._prompt_token_seconds)
        return max(MIN_PROMPT_TOKENS, min(most, max(tokens, self.least_prompt_tokens)))

    def expected_seconds(self, *, num_streams: int, num_prompt_tokens: int) -> float:
        """What such a step takes by what is known, so that noting it changes nothing."""
        streams = self.stream_seconds if num_streams else 0.0
        return streams + num_prompt_tokens * (self._prompt_token_seconds or 0.0)

    def note(self, *, num_streams: int, num_prompt_tokens: int, seconds: float) -> None:
        """Learn from a step that was computed."""
        if num_prompt_tokens == 0:
            self._stream_seconds = _mean(self._stream_seconds, seconds)
            return
        prompt_seconds = seconds
        if num_streams:
            prompt_seconds -= self._stream_seconds or 0.0
        # A step that was faster than the streams alone usually are says nothing about prompts.
        if prompt_seconds > 0:
            self._prompt_token_seconds = _mean(
                self._prompt_token_seconds, prompt_seconds / num_prompt_tokens
            )


def _mean(before: float | None, newest: float) -> float:
    return newest if before is None else before + NEWEST * (newest - before)
