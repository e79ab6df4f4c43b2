"""One request inside the engine: its tokens and how far they are computed. Torch-free."""

from service.engine.messages import EngineFinish, Submit

__all__ = ["Sequence"]


class Sequence:
    """Prompt and continuation of one request, on its way through the batch.

    Attributes:
        request: What was asked.
        token_ids: Prompt, then continuation.
        num_computed_tokens: Tokens whose keys and values are in the cache.
        slot: Cache slot, None while waiting.
        deadline: Time on the monotonic clock at which it ends; None is without end.
        is_paused: Whether nothing is computed for it now.
    """

    __slots__ = (
        "deadline",
        "is_paused",
        "num_computed_tokens",
        "request",
        "slot",
        "token_ids",
    )

    def __init__(self, request: Submit, *, deadline: float | None = None) -> None:
        self.request = request
        self.token_ids = list(request.prompt_ids)
        self.num_computed_tokens = 0
        self.slot: int | None = None
        self.deadline = deadline
        self.is_paused = False

    @property
    def request_id(self) -> int:
        """The front's number of this request."""
        return self.request.request_id

    @property
    def num_pending_tokens(self) -> int:
        """Tokens still to be computed; one for a sequence that is being continued."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def num_output_tokens(self) -> int:
        """Length of the continuation."""
        return len(self.token_ids) - len(self.request.prompt_ids)

    @property
    def output_ids(self) -> list[int]:
        """The continuation."""
        return self.token_ids[len(self.request.prompt_ids) :]

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Tokens that may not come yet, because the continuation is shorter than min_tokens."""
        if self.num_output_tokens >= self.request.min_tokens:
            return ()
        return self.request.end_token_ids + self.request.stop_token_ids

    def append(self, token_id: int) -> EngineFinish | None:
        """Take the next token; the reason when it ends the sequence.

        A token that ends the text or stops it does not become part of the continuation.
        """
        if token_id in self.request.end_token_ids:
            return EngineFinish.END_OF_TEXT
        if token_id in self.request.stop_token_ids:
            return EngineFinish.STOP
        self.token_ids.append(token_id)
        if self.num_output_tokens >= self.request.max_tokens:
            return EngineFinish.LENGTH
        return None
