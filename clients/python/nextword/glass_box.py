"""Questions about how a model predicts: `Client.glass_box`, one shape over both protocols.

The methods take what the functions of their names in `nextword.glass_box_questions` take.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from nextword import glass_box_questions as questions
from nextword.glass_box_questions import Question

__all__ = ["AsyncGlassBox", "GlassBox"]

ArgumentsT = ParamSpec("ArgumentsT")
AnswerT = TypeVar("AnswerT")


class Questioner(Protocol):
    """Brings a question to a server."""

    def __call__(self, question: Question[AnswerT], /) -> AnswerT: ...


class AsyncQuestioner(Protocol):
    """The same for programs of asyncio."""

    async def __call__(self, question: Question[AnswerT], /) -> AnswerT: ...


def _asked(
    build: Callable[ArgumentsT, Question[AnswerT]],
) -> "Callable[Concatenate[GlassBox, ArgumentsT], AnswerT]":
    @wraps(build)
    def method(self: "GlassBox", /, *given: ArgumentsT.args, **named: ArgumentsT.kwargs) -> AnswerT:
        return self.ask(build(*given, **named))

    return method


def _asked_async(
    build: Callable[ArgumentsT, Question[AnswerT]],
) -> "Callable[Concatenate[AsyncGlassBox, ArgumentsT], Awaitable[AnswerT]]":
    @wraps(build)
    async def method(
        self: "AsyncGlassBox", /, *given: ArgumentsT.args, **named: ArgumentsT.kwargs
    ) -> AnswerT:
        return await self.ask(build(*given, **named))

    return method


class GlassBox:
    """Shows how a model predicts; every method raises any error of `nextword.errors`.

    Args:
        ask: Brings questions to a server.
    """

    def __init__(self, ask: Questioner) -> None:
        self.ask = ask

    inspect_text = _asked(questions.inspect_text)
    resample = _asked(questions.resample)
    attention = _asked(questions.attention)
    token_embedding = _asked(questions.token_embedding)
    embed_text = _asked(questions.embed_text)
    score = _asked(questions.score)


class AsyncGlassBox:
    """The same for programs of asyncio.

    Args:
        ask: Brings questions to a server.
    """

    def __init__(self, ask: AsyncQuestioner) -> None:
        self.ask = ask

    inspect_text = _asked_async(questions.inspect_text)
    resample = _asked_async(questions.resample)
    attention = _asked_async(questions.attention)
    token_embedding = _asked_async(questions.token_embedding)
    embed_text = _asked_async(questions.embed_text)
    score = _asked_async(questions.score)
