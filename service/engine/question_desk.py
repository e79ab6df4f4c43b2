"""Answers the front's questions about the network while its engine serves requests.

What needs the text computed is a sequence of the engine like any other, with an observer; the rest
is answered between steps, a slice at a time.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from service.engine.engine import Engine
from service.engine.executor import Network
from service.engine.given_text import resample
from service.engine.inspection_pace import Inspector
from service.engine.logprobs import NumericalError
from service.engine.messages import EngineFinish, StepOutput, Submit
from service.engine.observers import AttentionObserver, PoolingObserver
from service.engine.questions import (
    Answer,
    AnswerBody,
    AttentionQuestion,
    DropQuestion,
    PooledQuestion,
    Question,
    QuestionFailed,
    ResampleTraces,
    TokenVectorQuestion,
)
from service.engine.request_table import UnsupportedRequestError
from service.engine.token_vectors import TokenVectors
from service.engine.trace_messages import Resample, TokenTrace

__all__ = ["QuestionDesk"]

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Search:
    """A question about a token, as far as it is answered."""

    vectors: TokenVectors
    left: Iterator[Tensor]
    slices: list[Tensor] = field(default_factory=list[Tensor])


@dataclass(slots=True)
class _Drawing:
    """Choices made again, as far as they are."""

    num_choices: int
    left: Iterator[list[TokenTrace]]
    traces: list[TokenTrace] = field(default_factory=list[TokenTrace])


class QuestionDesk:
    """The questions of one engine.

    Args:
        engine: It computes what has to be computed.
        send: Takes each answer to the front.
        clock: Monotonic, in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        send: Callable[[Answer], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._pace = engine.inspection_pace
        self._send = send
        self._clock = clock
        self._observers: dict[int, AttentionObserver | PoolingObserver] = {}
        # In the order in which they came.
        self._small: dict[int, _Search | _Drawing] = {}

    @property
    def has_work(self) -> bool:
        """Whether a question waits that could be answered now, between two steps."""
        return bool(self._small) and self._pace.has_turn(Inspector.QUESTIONS)

    def take(self, message: Question | DropQuestion) -> None:
        """Hear a question, or that it is no longer one."""
        match message:
            case DropQuestion(question_id):
                self._small.pop(question_id, None)
                if self._observers.pop(question_id, None) is not None:
                    self._engine.cancel(question_id)
            case Question(question_id=question_id):
                try:
                    self._begin(message)
                except Exception as error:
                    self._fail(question_id, error)

    def work(self) -> None:
        """Answer one question, or a slice of one, if one waits and it is the questions' turn."""
        if not self.has_work:
            return
        began = self._clock()
        question_id = next(iter(self._small))
        try:
            body = _advance(self._small[question_id])
        except Exception as error:
            del self._small[question_id]
            self._fail(question_id, error)
        else:
            if body is not None:
                del self._small[question_id]
                self._send(Answer(question_id, body))
        self._pace.note_turn(Inspector.QUESTIONS, self._clock() - began)

    def note_step(self, step: StepOutput) -> None:
        """Answer the questions whose texts are computed."""
        for output in step.outputs:
            if output.finish is None:
                continue
            observer = self._observers.pop(output.request_id, None)
            if observer is None:
                continue
            if output.finish is not EngineFinish.LENGTH:
                self._send(Answer(output.request_id, QuestionFailed(output.finish)))
                continue
            try:
                self._send(Answer(output.request_id, observer.answer()))
            except NumericalError as error:
                self._fail(output.request_id, error)

    def _begin(self, question: Question) -> None:
        match question.body:
            case AttentionQuestion(token_ids=token_ids) as body:
                observer = AttentionObserver(body, self._network.config)
                self._observe(question, token_ids, observer)
            case PooledQuestion(token_ids):
                observer = PoolingObserver(token_ids, self._network.config)
                self._observe(question, token_ids, observer)
            case TokenVectorQuestion() as body:
                vectors = TokenVectors(body, self._network)
                self._small[question.question_id] = _Search(vectors, vectors.slices())
            case Resample() as body:
                drawing = _Drawing(len(body.settings), resample(body))
                self._small[question.question_id] = drawing

    @property
    def _network(self) -> Network:
        network = self._engine.executor.network
        if network is None:
            raise UnsupportedRequestError("this model is no network")
        return network

    def _observe(
        self,
        question: Question,
        token_ids: list[int],
        observer: AttentionObserver | PoolingObserver,
    ) -> None:
        submit = Submit(
            request_id=question.question_id,
            prompt_ids=token_ids,
            max_tokens=0,
            temperature=0.0,
            timeout_seconds=question.timeout_seconds,
            salt=question.salt,
        )
        self._engine.submit(submit, observer=observer)
        self._observers[question.question_id] = observer

    def _fail(self, question_id: int, error: Exception) -> None:
        _logger.error("question %d: %s", question_id, type(error).__name__, exc_info=error)
        is_numerical = isinstance(error, NumericalError)
        finish = EngineFinish.NUMERICAL_ERROR if is_numerical else EngineFinish.INTERNAL_ERROR
        self._send(Answer(question_id, QuestionFailed(finish)))


def _advance(small: _Search | _Drawing) -> AnswerBody | None:
    """The answer, when this was the last slice of the work."""
    if isinstance(small, _Drawing):
        small.traces += next(small.left)
        is_over = len(small.traces) == small.num_choices
        return ResampleTraces(small.traces) if is_over else None
    for part in small.left:
        small.slices.append(part)
        return None
    return small.vectors.answer(small.slices)
