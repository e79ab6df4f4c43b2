"""One question to the engine of a served model, admitted and noted as a request is. Torch-free."""

import time

from service.engine.questions import AnswerBody, QuestionBody
from service.models.served_models import ServedModel
from service.request_log import RequestRecord

__all__ = ["ask"]


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
    with model.admit(num_tokens) as client:
        # A question has no place in the batch that the engine would tell of.
        record.started_at = time.monotonic()
        # As for requests: how fast an answer comes must not tell what others have asked.
        salt = b"" if record.api_key is None else record.api_key.digest
        return await client.ask(question, deadline=deadline, salt=salt)
