"""The real server with an engine in which some requests are poisoned, and a front with one more."""

import asyncio
import os
import sys

from campaigns.broken_builds.poisons import NUM_TOKENS_BEFORE, UNWATCHED_VARIABLE, Poison
from service.choice_text import ChoiceText
from service.engine.messages import TokenOutput
from service.engine_link import engine_launch
from service.engine_link.engine_client import EngineClient
from service.engine_link.engine_supervisor import EngineSupervisor
from service.generation import TextPiece
from service.glass_box.trace_views import ByteSpans
from service.main import main
from service.models.model_store import ModelFolder
from service.parameters import EffectiveParameters


def poison_detokenizer() -> None:
    """Let the text of one request fail after some of its tokens."""
    build, take = ChoiceText.__init__, ChoiceText.take
    num_taken: dict[ChoiceText, int] = {}

    def altered_build(
        self: ChoiceText,
        choice: int,
        folder: ModelFolder,
        parameters: EffectiveParameters,
        spans: ByteSpans | None = None,
    ) -> None:
        build(self, choice, folder, parameters, spans)
        if parameters.seed == Poison.DETOKENIZER:
            num_taken[self] = 0

    def altered_take(self: ChoiceText, batch: TokenOutput) -> TextPiece | None:
        if self in num_taken:
            num_taken[self] += len(batch.token_ids)
            if num_taken[self] > NUM_TOKENS_BEFORE:
                raise ArithmeticError("these tokens cannot be decoded")
        return take(self, batch)

    ChoiceText.__init__ = altered_build
    ChoiceText.take = altered_take


def stop_watching() -> None:
    """Let the supervisor sleep through whatever happens to its engine."""

    async def wait_for_nothing(self: EngineSupervisor, client: EngineClient) -> str:
        del self, client
        await asyncio.Event().wait()
        raise AssertionError

    EngineSupervisor._wait_for_trouble = wait_for_nothing  # pyright: ignore[reportPrivateUsage]


if __name__ == "__main__":
    if UNWATCHED_VARIABLE in os.environ:
        stop_watching()
    engine_launch.ENGINE_MODULE = "campaigns.broken_builds.poisoned_engine"
    poison_detokenizer()
    sys.exit(main())
