"""One choice of a request inside the engine: its tokens and how far they are. Torch-free."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from service.engine.block_allocator import Prefix
from service.engine.messages import EngineFinish, Submit, TokenLogprob

if TYPE_CHECKING:
    # What is looked at are tensors; scheduling needs positions only.
    from service.engine.drawn_natively import NativeSettings
    from service.engine.executor import InspectedChunk

__all__ = ["Observer", "Sequence"]


class Observer(Protocol):
    """Looks at the inside of the network while the tokens of a sequence are computed."""

    @property
    def next_position(self) -> int:
        """Position of the first token that it has still to see; those before may be reused."""
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens of one piece at most, which bounds the memory that looking takes."""
        ...

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """Layers whose attention it looks at."""
        ...

    def note(self, start: int, inside: "InspectedChunk") -> None:
        """See consecutive tokens, the first at ``start``, which is no later than the next."""
        ...


class Sequence:
    """Prompt and one continuation of a request, on its way through the batch.

    Attributes:
        request: What was asked.
        request_id: The front's number of this request.
        key: Request id and choice: what tells it from all others.
        num_prompt_tokens: Length of the prompt.
        is_inspected: Whether more than tokens is wanted, which others who stream must not pay for.
        traces_output: Whether it is to be told how the tokens that are made were chosen.
        choice: Which continuation of the prompt; the random numbers depend on it.
        arrival: Place among all sequences, first come, first served.
        deadline: Time on the scheduler's clock at which it ends; None is without end.
        token_ids: Prompt, then continuation.
        num_computed_tokens: Tokens whose keys and values are in the cache.
        num_proven_tokens: Those of them that finite logits depended on, so that they hold no NaN.
        block_ids: Blocks of the cache, in order; position p is in the block at p // block_tokens.
        prefixes: The beginnings up to the end of its first full blocks, as far as they were needed.
        followers: The other choices of the request while they wait for this one to compute the
            prompt that they share.
        leader: Whose follower it is; None when it waits for nobody.
        is_waiting: Whether it stands in the queue.
        is_paused: Whether nothing is computed for it now.
        was_started: Whether it was in the batch before.
        num_published_blocks: First blocks of those that others may share.
        num_prompt_steps: Steps that computed a part of the prompt.
        prompt_logprobs: Of the first tokens of the prompt, as far as they are known; None when
            this sequence has none to report, or none any more.
        observer: Looks at the inside of the network for this sequence; None for most.
        next_traced: Position of the first token of the prompt that is still to be traced; None when
            there is none, or none any more.
        native_settings: How it draws, as compiled kernels read it; None before it has drawn.
    """

    __slots__ = (
        "arrival",
        "block_ids",
        "choice",
        "deadline",
        "followers",
        "is_inspected",
        "is_paused",
        "is_waiting",
        "key",
        "leader",
        "native_settings",
        "next_traced",
        "num_computed_tokens",
        "num_prompt_steps",
        "num_prompt_tokens",
        "num_proven_tokens",
        "num_published_blocks",
        "observer",
        "prefixes",
        "prompt_logprobs",
        "request",
        "request_id",
        "token_ids",
        "traces_output",
        "was_started",
    )

    def __init__(
        self,
        request: Submit,
        *,
        choice: int = 0,
        arrival: int = 0,
        deadline: float | None = None,
        observer: Observer | None = None,
    ) -> None:
        inspection = request.inspect
        self.request = request
        self.request_id = request.request_id
        self.choice = choice
        self.key = (request.request_id, choice)
        self.num_prompt_tokens = len(request.prompt_ids)
        self.is_inspected = (
            inspection is not None or request.following_id is not None or observer is not None
        )
        self.traces_output = (
            inspection is not None and inspection.first_position is None and request.max_tokens > 0
        )
        self.arrival = arrival
        self.deadline = deadline
        self.observer = observer
        self.token_ids = list(request.prompt_ids)
        self.num_computed_tokens = 0
        self.num_proven_tokens = 0
        self.block_ids: list[int] = []
        self.prefixes: list[Prefix] = []
        self.followers: list[Sequence] = []
        self.leader: Sequence | None = None
        self.is_waiting = False
        self.is_paused = False
        self.was_started = False
        self.num_published_blocks = 0
        self.num_prompt_steps = 0
        self.prompt_logprobs: list[TokenLogprob | None] | None = None
        if request.prompt_logprobs and choice == 0:
            # Nothing comes before the first token.
            self.prompt_logprobs = [None]
        self.next_traced = None if inspection is None else inspection.first_position
        self.native_settings: NativeSettings | None = None

    @property
    def num_pending_tokens(self) -> int:
        """Tokens still to be computed; one for a sequence that is being continued."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def num_output_tokens(self) -> int:
        """Length of the continuation."""
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def output_ids(self) -> list[int]:
        """The continuation."""
        return self.token_ids[self.num_prompt_tokens :]

    @property
    def wants_prompt_logprobs(self) -> bool:
        """Whether logprobs of the prompt are to be reported and not all known."""
        known = self.prompt_logprobs
        if known is None:
            return False
        num_wanted = self.num_prompt_tokens + (self.request.following_id is not None)
        return len(known) < num_wanted

    @property
    def num_reusable_tokens(self) -> int:
        """First tokens that need not be computed where their blocks are in the cache.

        The last one is always computed, since its logits are needed.
        """
        if self.wants_prompt_logprobs:
            return 0
        most = len(self.token_ids) - 1
        if self.next_traced is not None:
            # The logits after the token before it are needed.
            most = min(most, self.next_traced - 1)
        return most if self.observer is None else min(most, self.observer.next_position)

    @property
    def random_place(self) -> tuple[int, int, int]:
        """Where its next random number stands: seed, sample, position."""
        return self.request.seed, self.choice, len(self.token_ids)

    @property
    def banned_ids(self) -> tuple[int, ...]:
        """Tokens that may not come yet, because the continuation is shorter than min_tokens."""
        if self.num_output_tokens >= self.request.min_tokens:
            return ()
        return self.request.end_token_ids + self.request.stop_token_ids

    def note_prompt_logprobs(self, start: int, logprobs: Iterable[TokenLogprob]) -> None:
        """Take those of some tokens of the prompt; after a pre-emption they come again.

        Args:
            start: Position of the first, no later than those that are known already.
            logprobs: Of consecutive tokens.
        """
        known = self.prompt_logprobs
        assert known is not None
        assert start <= len(known)
        known += list(logprobs)[len(known) - start :]

    def take_prompt_logprobs(self) -> list[TokenLogprob | None] | None:
        """Logprobs of the whole prompt, the first time they are asked for once they are known."""
        if self.prompt_logprobs is None or self.wants_prompt_logprobs:
            return None
        known, self.prompt_logprobs = self.prompt_logprobs, None
        return known

    def lead(self, followers: "list[Sequence]") -> None:
        """Let other choices of the request wait until this one has computed the prompt."""
        self.followers = followers
        for follower in followers:
            follower.leader = self

    def release_followers(self) -> "list[Sequence]":
        """Those that have waited for this one; they do no more."""
        followers, self.followers = self.followers, []
        for follower in followers:
            follower.leader = None
        return followers

    def note_traced(self, num_tokens: int) -> None:
        """So many more tokens of the prompt were traced."""
        assert self.next_traced is not None
        self.next_traced += num_tokens
        if self.next_traced >= self.num_prompt_tokens:
            self.next_traced = None

    def append(self, token_id: int) -> EngineFinish | None:
        """Take the next token; the reason when it ends the sequence.

        A token that ends the text or stops it does not become part of the continuation, and where
        none is wanted none is taken.
        """
        request, token_ids = self.request, self.token_ids
        if request.max_tokens == 0:
            return EngineFinish.LENGTH
        if token_id in request.end_token_ids:
            return EngineFinish.END_OF_TEXT
        if token_id in request.stop_token_ids:
            return EngineFinish.STOP
        token_ids.append(token_id)
        if len(token_ids) - self.num_prompt_tokens >= request.max_tokens:
            return EngineFinish.LENGTH
        return None
