"""Questions to one engine process that are not answered yet. Torch-free."""

import asyncio
from collections.abc import Callable

from service.engine.messages import EngineFinish
from service.engine.questions import (
    Answer,
    AnswerBody,
    DropQuestion,
    Question,
    QuestionBody,
    QuestionFailed,
)
from service.errors import ErrorKind, RequestError

__all__ = ["OpenQuestions"]

_TOO_LATE = (ErrorKind.DEADLINE_EXCEEDED, "the deadline passed before there was an answer")
_FAILURES = {
    EngineFinish.NUMERICAL_ERROR: (
        ErrorKind.NUMERICAL_ERROR,
        "the model's numbers became unusable",
    ),
    EngineFinish.DEADLINE: _TOO_LATE,
}


class OpenQuestions:
    """Who waits for which answer.

    Args:
        send: Tells the engine something.
    """

    def __init__(self, send: Callable[[Question | DropQuestion], None]) -> None:
        self._send = send
        self._open: dict[int, asyncio.Future[AnswerBody]] = {}

    async def ask(
        self, number: int, body: QuestionBody, *, deadline: float, salt: bytes
    ) -> AnswerBody:
        """Send a question and wait for its answer; one that nobody waits for is dropped.

        Args:
            number: Never used before.
            body: What is asked.
            deadline: Loop time at which it is too late for an answer.
            salt: Blocks are shared between questions and requests of equal salt only.

        Raises:
            RequestError: It failed, its deadline passed, or the engine is lost.
        """
        loop = asyncio.get_running_loop()
        answer = self._open[number] = loop.create_future()
        seconds_left = max(deadline - loop.time(), 0.0)
        self._send(Question(question_id=number, body=body, timeout_seconds=seconds_left, salt=salt))
        is_over = False
        try:
            # The engine has the same deadline; this one holds while it is busy or frozen too.
            async with asyncio.timeout_at(deadline):
                found = await answer
            is_over = True
        except TimeoutError:
            raise RequestError(*_TOO_LATE) from None
        finally:
            del self._open[number]
            if not is_over:
                self._send(DropQuestion(number))
        if isinstance(found, QuestionFailed):
            failure = _FAILURES.get(found.finish, (ErrorKind.INTERNAL_ERROR, "internal error"))
            raise RequestError(*failure)
        return found

    def take(self, answer: Answer) -> None:
        """An answer has come; of a question that was dropped meanwhile it is nobody's."""
        waiting = self._open.get(answer.question_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.body)

    def fail_all(self, error: RequestError) -> None:
        """Nobody gets an answer any more."""
        for waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(error)
