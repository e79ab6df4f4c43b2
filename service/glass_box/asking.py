"""One question to the engine of a served model, admitted and noted as a request is. Torch-free."""

import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias

from service.engine.questions import AnswerBody, QuestionBody
from service.models.served_models import ServedModel
from service.request_log import RequestRecord

__all__ = ["Asking", "ask", "asking"]

Asking: TypeAlias = Callable[[QuestionBody], Awaitable[AnswerBody]]


async def ask(
    model: ServedModel,
    question: QuestionBody,
    *,
    num_tokens: int,
    deadline: float,
    record: RequestRecord,
) -> AnswerBody:
    """The answer of a model's engine to a question that was checked.

    Args:
        model: Held by the caller.
        question: What is asked.
        num_tokens: What it may cost.
        deadline: Loop time at which it is too late.
        record: Says whose request it is; noted as started here.

    Raises:
        RequestError: The engine is not there, has no room, or cannot answer.
    """
    with asking(model, num_tokens=num_tokens, deadline=deadline, record=record) as put:
        return await put(question)


@contextmanager
def asking(
    model: ServedModel, *, num_tokens: int, deadline: float, record: RequestRecord
) -> Generator[Asking, None, None]:
    """One place in the queue for as long as the block runs, and what puts questions from it.

    Args:
        model: Held by the caller.
        num_tokens: What one question may cost; they are to be put one after another.
        deadline: Loop time at which it is too late for each.
        record: Says whose request it is; noted as started here.

    Raises:
        RequestError: The engine is not there or has no room.
    """
    with model.admit(num_tokens) as client:
        # A question has no place in the batch that the engine would tell of.
        record.started_at = time.monotonic()
        # As for requests: how fast an answer comes must not tell what others have asked.
        salt = b"" if record.api_key is None else record.api_key.digest
        yield lambda question: client.ask(question, deadline=deadline, salt=salt)
