"""Vectors of tokens and texts: neighbours by brute force, one vector however a text is cut."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.transformer import Transformer
from service.engine import token_vectors
from service.engine.engine import Engine
from service.engine.messages import EngineFinish, Submit
from service.engine.question_desk import QuestionDesk
from service.engine.questions import (
    Answer,
    AnswerBody,
    DropQuestion,
    PooledQuestion,
    PooledVector,
    Question,
    QuestionBody,
    QuestionFailed,
    TokenVector,
    TokenVectorQuestion,
)
from service.engine_link.open_questions import OpenQuestions
from service.errors import ErrorKind, RequestError
from tests.service.engine_runs import VOCABULARY, new_engine, new_model

WIDTH = 48
TEXT = [(5 * place * place + place) % VOCABULARY for place in range(70)]


@pytest.fixture(scope="module")
def model() -> Transformer:
    """Tokens 3, 7 and 40 have one vector, 9 has none."""
    model = new_model()
    table_VC = model.model.embed_tokens.weight
    table_VC[7] = table_VC[3]
    table_VC[40] = table_VC[3]
    table_VC[9] = 0.0
    return model


@pytest.fixture(scope="module")
def engine(model: Transformer) -> Engine:
    return new_engine(model)


@pytest.fixture(scope="module")
def crowded(model: Transformer) -> Engine:
    """Its steps are short."""
    return new_engine(model, max_step_tokens=21)


def answers(engine: Engine, *questions: QuestionBody) -> list[AnswerBody]:
    """What a desk says to some questions that are asked at once."""
    found: dict[int, AnswerBody] = {}

    def take(answer: Answer) -> None:
        found[answer.question_id] = answer.body

    desk = QuestionDesk(engine, take)
    for number, body in enumerate(questions):
        desk.take(Question(question_id=number, body=body, timeout_seconds=600.0))
    while engine.has_work or desk.has_work:
        if engine.has_work:
            desk.note_step(engine.step())
        desk.work()
    return [found[number] for number in range(len(questions))]


def brute_force(
    model: Transformer, token_id: int, *, num_neighbours: int, num_ids: int
) -> list[tuple[int, float]]:
    table = model.model.embed_tokens.weight.double().numpy()
    own = table[token_id]
    cosines: list[tuple[float, int]] = []
    for other, vector in enumerate(table[:num_ids]):
        lengths = np.sqrt((vector * vector).sum()) * np.sqrt((own * own).sum())
        if other != token_id and lengths > 0.0:
            cosines.append((-float(np.float32((vector * own).sum() / lengths)), other))
    return [(other, -cosine) for cosine, other in sorted(cosines)[:num_neighbours]]


@pytest.mark.parametrize("num_rows", [1, 7, 1000])
def test_neighbours_are_those_of_brute_force(
    model: Transformer, engine: Engine, monkeypatch: pytest.MonkeyPatch, num_rows: int
) -> None:
    """However the vocabulary is sliced; equal vectors by their ids."""
    monkeypatch.setattr(token_vectors, "MAX_SLICE_VALUES", num_rows * WIDTH)
    asked = [(0, 5, 61), (3, 100, 61), (60, 10, 50), (7, 1, 61), (2, 0, 61)]
    questions = [
        TokenVectorQuestion(token_id=token_id, num_neighbours=most, num_ids=num_ids)
        for token_id, most, num_ids in asked
    ]
    for (token_id, most, num_ids), answer in zip(asked, answers(engine, *questions), strict=True):
        assert isinstance(answer, TokenVector)
        own = model.model.embed_tokens.weight[token_id].numpy()
        assert np.array_equal(np.frombuffer(answer.vector, "<f4"), own)
        assert answer.norm == pytest.approx(float(np.linalg.norm(own)), rel=1e-6)
        expected = brute_force(model, token_id, num_neighbours=most, num_ids=num_ids)
        assert [other for other, _ in answer.neighbours] == [other for other, _ in expected]
        assert [cosine for _, cosine in answer.neighbours] == pytest.approx(
            [cosine for _, cosine in expected], abs=1e-6
        )
    twins = answers(engine, questions[1])[0]
    assert isinstance(twins, TokenVector)
    assert [other for other, _ in twins.neighbours[:2]] == [7, 40]
    assert len(twins.neighbours) == VOCABULARY - 2


def test_a_vector_without_a_direction_has_no_neighbours(engine: Engine) -> None:
    question = TokenVectorQuestion(token_id=9, num_neighbours=5, num_ids=VOCABULARY)
    (answer,) = answers(engine, question)
    assert isinstance(answer, TokenVector)
    assert (answer.norm, answer.neighbours) == (0.0, [])


@settings(max_examples=4)
@given(data=st.data())
def test_a_text_has_one_vector_however_it_is_cut_and_whoever_is_beside_it(
    model: Transformer, engine: Engine, crowded: Engine, data: st.DataObject
) -> None:
    """The mean of the last hidden states, of length 1, and the same bits in deterministic mode."""
    ids = TEXT[: data.draw(st.integers(1, len(TEXT)))]
    with torch.inference_mode():
        hidden_TC = model.hidden_states(torch.tensor([ids]))[0]
    mean_C = hidden_TC.double().mean(0)
    expected = (mean_C / mean_C.square().sum().sqrt()).numpy()
    (alone,) = answers(engine, PooledQuestion(ids))
    assert isinstance(alone, PooledVector)
    vector = np.frombuffer(alone.vector, "<f4")
    assert np.abs(vector - expected).max() < 1e-5
    assert float(np.linalg.norm(vector.astype(np.float64))) == pytest.approx(1.0, abs=1e-6)
    beside = Submit(request_id=99, prompt_ids=ids[::-1], max_tokens=data.draw(st.integers(1, 5)))
    crowded.submit(beside)
    assert answers(crowded, PooledQuestion(ids), PooledQuestion(TEXT[:30]))[0] == alone


def test_a_text_whose_hidden_states_are_not_finite_has_no_vector() -> None:
    """H46, and the control: the same text of a sound network has one."""
    model = new_model()
    engine = new_engine(model)
    (sound,) = answers(engine, PooledQuestion(TEXT))
    assert isinstance(sound, PooledVector)
    model.model.norm.weight[5] = float("nan")
    (answer,) = answers(new_engine(model), PooledQuestion(TEXT))
    assert answer == QuestionFailed(EngineFinish.NUMERICAL_ERROR)


class Waiting:
    """Open questions, and what was said to the engine."""

    def __init__(self) -> None:
        self.said: list[Question | DropQuestion] = []
        self.open = OpenQuestions(self.said.append)

    async def ask(self, number: int, *, seconds: float = 60.0) -> AnswerBody:
        deadline = asyncio.get_running_loop().time() + seconds
        return await self.open.ask(number, PooledQuestion([1]), deadline=deadline, salt=b"s")

    async def start(self, *numbers: int) -> list[asyncio.Task[AnswerBody]]:
        tasks = [asyncio.create_task(self.ask(number)) for number in numbers]
        await asyncio.sleep(0)
        assert len(self.said) == len(numbers)
        return tasks


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_each_question_gets_its_own_answer_or_its_own_failure(runner: asyncio.Runner) -> None:
    async def body() -> None:
        waiting = Waiting()
        first, second, third = await waiting.start(1, 2, 3)
        waiting.open.take(Answer(7, PooledVector(b"nobody's")))
        waiting.open.take(Answer(2, PooledVector(b"second")))
        waiting.open.take(Answer(1, QuestionFailed(EngineFinish.NUMERICAL_ERROR)))
        waiting.open.take(Answer(3, QuestionFailed(EngineFinish.INTERNAL_ERROR)))
        assert await second == PooledVector(b"second")
        for task, kind in ((first, ErrorKind.NUMERICAL_ERROR), (third, ErrorKind.INTERNAL_ERROR)):
            with pytest.raises(RequestError) as caught:
                await task
            assert caught.value.kind is kind
        asked = [each for each in waiting.said if isinstance(each, Question)]
        assert len(asked) == len(waiting.said) == 3
        assert all(each.salt == b"s" and 0 < each.timeout_seconds <= 60 for each in asked)

    runner.run(body())


def test_a_question_is_dropped_when_nobody_waits_or_it_is_too_late(runner: asyncio.Runner) -> None:
    """H57, H95; an answer that comes all the same is nobody's."""

    async def body() -> None:
        waiting = Waiting()
        (cancelled,) = await waiting.start(1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        with pytest.raises(RequestError) as caught:
            await waiting.ask(2, seconds=0.0)
        assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
        drops = [each for each in waiting.said if isinstance(each, DropQuestion)]
        assert drops == [DropQuestion(1), DropQuestion(2)]
        waiting.open.take(Answer(1, PooledVector(b"late")))

    runner.run(body())


def test_questions_of_a_lost_engine_end_with_its_error(runner: asyncio.Runner) -> None:
    """H101."""

    async def body() -> None:
        waiting = Waiting()
        tasks = await waiting.start(1, 2)
        waiting.open.fail_all(RequestError(ErrorKind.ENGINE_UNAVAILABLE, "lost"))
        for task in tasks:
            with pytest.raises(RequestError) as caught:
                await task
            assert caught.value.kind is ErrorKind.ENGINE_UNAVAILABLE

    runner.run(body())
