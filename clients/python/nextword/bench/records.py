"""What was seen of one request: when which tokens came, and how it ended."""

import time
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import pairwise

from nextword.bench.http_answer import Pieces
from nextword.bench.prompts import Ask
from nextword.errors import ConnectionFailedError, NextwordError, StatusError

__all__ = ["CLIENT_LIMIT", "RequestRecord", "error_code_of", "verify"]

# The code of a request that this process could not send.
CLIENT_LIMIT = "client_limit"


@dataclass(slots=True)
class RequestRecord:
    """One request as its client saw it; times are of `time.perf_counter`, in seconds.

    Attributes:
        started_at: When it was meant to be sent: what is measured counts from here.
        sent_at: When it was sent; None while it was not.
        pieces: What came and is not read yet.
        is_read: Whether what came was read: what stands below is known only then.
        arrivals: When tokens came, and how many came together. Where a server tells no ids, each
            event counts as one here.
        ended_at: When it ended.
        max_tokens: Tokens that it must get.
        num_sent_ids: Ids of the prompt; None where it was sent as a text.
        num_tokens: Token ids that came; None where the server tells none.
        num_used_tokens: Tokens made, in the server's own count.
        num_prompt_tokens: Tokens of the prompt, in the server's own count.
        error_code: Why it failed; None while it has not.
        error: One line about that.
    """

    started_at: float = dataclass_field(default_factory=time.perf_counter)
    sent_at: float | None = None
    pieces: Pieces = dataclass_field(default_factory=Pieces)
    is_read: bool = False
    arrivals: list[tuple[float, int]] = dataclass_field(default_factory=list[tuple[float, int]])
    ended_at: float | None = None
    max_tokens: int = 0
    num_sent_ids: int | None = None
    num_tokens: int | None = None
    num_used_tokens: int | None = None
    num_prompt_tokens: int | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    error: str = ""

    def note_sending(self, ask: Ask) -> None:
        """It is on its way now."""
        self.sent_at = time.perf_counter()
        self.max_tokens = ask.max_tokens
        self.num_sent_ids = None if isinstance(ask.prompt, str) else len(ask.prompt)

    def note_tokens(self, at: float, count: int) -> None:
        """Tokens came; those of one moment came together."""
        if count <= 0:
            return
        if self.arrivals and self.arrivals[-1][0] == at:
            count += self.arrivals.pop()[1]
        self.arrivals.append((at, count))

    def fail(self, code: str, message: str) -> None:
        """It failed; the first reason stays."""
        if self.error_code is None:
            self.error_code, self.error = code, message

    @property
    def is_ok(self) -> bool:
        """Whether it ended, and without a failure."""
        return self.ended_at is not None and self.error_code is None

    @property
    def first_token_seconds(self) -> float | None:
        """From sending it to its first token."""
        return self.arrivals[0][0] - self.started_at if self.arrivals else None

    @property
    def gaps_seconds(self) -> list[float]:
        """One for each token after the first arrival; what came together shares its wait.

        Where only events are seen: one for each event, each with as many tokens as the others.
        """
        share = self.tokens_per_event
        return [
            (at - before) / (count * share)
            for (before, _), (at, count) in pairwise(self.arrivals)
            for _ in range(count)
        ]

    @property
    def pauses_seconds(self) -> list[float]:
        """The waits between arrivals, whatever each of them brought."""
        return [at - before for (before, _), (at, _) in pairwise(self.arrivals)]

    @property
    def tokens_per_event(self) -> float:
        """Tokens that one of the arrivals' count stands for."""
        num_events = sum(count for _, count in self.arrivals)
        if self.num_tokens is not None or not num_events or self.num_used_tokens is None:
            return 1.0
        return self.num_used_tokens / num_events


def error_code_of(error: NextwordError) -> str:
    """The name of a failure, as reports count it."""
    match error:
        case StatusError(code=code):
            return code
        case ConnectionFailedError():
            return "connection_failed"
        case _:
            return "protocol_error"


def verify(record: RequestRecord) -> None:
    """Fail a request that ended well and yet did not bring exactly the tokens asked for."""
    if record.error_code is not None:
        return
    counted = record.num_used_tokens
    if counted is None:
        record.fail("no_usage", "the server tells no usage, so its tokens cannot be counted")
    elif counted != record.max_tokens or record.num_tokens not in (None, record.max_tokens):
        ids = "no ids" if record.num_tokens is None else f"{record.num_tokens} ids"
        record.fail(
            "wrong_token_count",
            f"asked for {record.max_tokens} tokens, got {ids} and a usage of {counted} "
            f"(finish reason {record.finish_reason})",
        )
    elif record.finish_reason != "length":
        record.fail("wrong_finish_reason", f"ended with {record.finish_reason}, not with length")
    elif not record.arrivals:
        record.fail("no_tokens", "the stream brought no tokens before its end")
    elif record.num_sent_ids not in (None, record.num_prompt_tokens):
        record.fail(
            "wrong_token_count",
            f"sent {record.num_sent_ids} prompt ids, the server counts {record.num_prompt_tokens}",
        )
