"""Streams over both protocols that run while something is done to the container under them."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from types import TracebackType

from nextword import Client, NextwordError, SamplingParameters

__all__ = ["NUM_TOKENS", "StreamLoad"]

NUM_TOKENS = 200
PROMPT = "Once upon a time"


class StreamLoad:
    """Streams that are made one after another, several at once, for as long as the block runs.

    Args:
        urls: Servers to ask, http:// or grpc://; each gets as many clients.
        num_clients: Streams at once for each of them.
        num_tokens: Of each stream.
        model: Whom they ask; None is the server's default.

    Attributes:
        ended: What each finished stream was: the token ids and the version, or the error.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        num_clients: int = 2,
        num_tokens: int = NUM_TOKENS,
        model: str | None = None,
    ) -> None:
        self.ended: list[tuple[tuple[int, ...], str] | NextwordError] = []
        self._urls = list(urls) * num_clients
        self._num_tokens = num_tokens
        self._model = model
        self._is_over = Event()
        self._flowing = [Event() for _ in self._urls]
        self._running: list[Future[None]] = []
        self._stack = ExitStack()

    @property
    def errors(self) -> list[NextwordError]:
        """What went wrong."""
        return [end for end in self.ended if isinstance(end, NextwordError)]

    @property
    def versions(self) -> set[str]:
        """The versions that answered."""
        return {end[1] for end in self.ended if not isinstance(end, NextwordError)}

    @property
    def lengths(self) -> set[int]:
        """Numbers of tokens of the streams that were answered to their end."""
        return {len(end[0]) for end in self.ended if not isinstance(end, NextwordError)}

    def start_no_more(self) -> None:
        """Let those that run be the last."""
        self._is_over.set()

    def finish(self) -> None:
        """Start no more streams, and wait for the end of those that run."""
        self.start_no_more()
        for running in self._running:
            running.result()

    def __enter__(self) -> "StreamLoad":
        pool = self._stack.enter_context(ThreadPoolExecutor(len(self._urls)))
        self._stack.callback(self._is_over.set)
        self._running = [
            pool.submit(self._ask, url, number) for number, url in enumerate(self._urls)
        ]
        for flowing in self._flowing:
            assert flowing.wait(60)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _ask(self, url: str, number: int) -> None:
        parameters = SamplingParameters(max_tokens=self._num_tokens, ignore_eos=True, seed=number)
        while not self._is_over.is_set():
            try:
                with (
                    Client(url) as client,
                    client.stream(PROMPT, parameters=parameters, model=self._model) as stream,
                ):
                    ids: list[int] = []
                    for piece in stream:
                        ids += piece.token_ids
                        self._flowing[number].set()
                    summary = stream.summary
                    assert summary is not None
                    self.ended.append((tuple(ids), summary.model_version))
            except NextwordError as failure:
                self.ended.append(failure)
                return
