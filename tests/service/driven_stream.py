"""A token stream whose engine is the test."""

import asyncio
from collections.abc import Awaitable, Callable

from service.engine.messages import Cancel, EngineFinish, Pause, Resume, Submit, TokenOutput
from service.token_stream import TokenStream

__all__ = ["Engine", "run"]

PATIENCE_SECONDS = 10.0


class Engine:
    """What the stream told the engine, and how often it said that it is over."""

    def __init__(
        self,
        num_choices: int = 1,
        *,
        timeout: float = 60,
        reader_seconds: float = 60,
        on_ready: Callable[[TokenStream], None] = TokenStream.hand_on,
    ):
        self.heard: list[Cancel | Pause | Resume] = []
        self.over = asyncio.Event()
        self.num_over = 0
        loop = asyncio.get_running_loop()
        self.stream = TokenStream(
            Submit(request_id=7, prompt_ids=[1], max_tokens=9, num_choices=num_choices),
            deadline=loop.time() + timeout,
            send=self.heard.append,
            on_ready=on_ready,
            on_over=self._note_over,
            reader_seconds=reader_seconds,
        )

    def _note_over(self) -> None:
        self.num_over += 1
        self.over.set()

    def give(self, *token_ids: int, choice: int = 0, finish: EngineFinish | None = None) -> None:
        self.stream.deliver(TokenOutput(7, choice, list(token_ids), finish))


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(body(), PATIENCE_SECONDS)

    asyncio.run(bounded())
