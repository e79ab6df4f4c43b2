"""Attention on request: that of transformers, in any company, and at nobody's expense."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from model.transformer import Transformer
from model.weights import save_weights
from service.engine import observers
from service.engine.eager_executor import EagerExecutor
from service.engine.engine import Engine
from service.engine.executor import ChunkInput, LogitsWanted
from service.engine.messages import EngineFinish, Submit
from service.engine.question_desk import QuestionDesk
from service.engine.questions import (
    Answer,
    AnswerBody,
    AttentionQuestion,
    AttentionValues,
    DropQuestion,
    Question,
    QuestionBody,
    QuestionFailed,
)
from tests.service.engine_runs import VOCABULARY, EveryTurn, Heard, new_engine, new_model, run

Alone = Callable[[AttentionQuestion], np.ndarray]
LAYERS, HEADS = 2, 4
TEXT = [(8 * 31 + 7 * place * place + place) % VOCABULARY for place in range(150)]
OTHER = Submit(request_id=1, prompt_ids=TEXT[3:20], max_tokens=10, temperature=1.0, seed=5)


@dataclass(frozen=True)
class Theirs:
    """What transformers says of TEXT: hidden states [L + 1, T, C], attention [L, H, T, T]."""

    hidden_states: Tensor
    attention: Tensor


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_model()


@pytest.fixture(scope="module")
def theirs(model: Transformer, tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    folder = tmp_path_factory.mktemp("model")
    save_weights(model, folder)
    network = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    assert isinstance(network, LlamaForCausalLM)
    with torch.inference_mode():
        given = network.eval()(
            torch.tensor([TEXT]), output_attentions=True, output_hidden_states=True
        )
    return Theirs(
        hidden_states=torch.cat(cast("tuple[Tensor, ...]", given["hidden_states"])),
        attention=torch.cat(cast("tuple[Tensor, ...]", given["attentions"])),
    )


class Desk:
    """A desk at an engine, and the answers that it gave."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.answers: dict[int, AnswerBody] = {}
        self.heard = Heard()
        self._desk = QuestionDesk(engine, self._take)

    def _take(self, answer: Answer) -> None:
        assert answer.question_id not in self.answers
        self.answers[answer.question_id] = answer.body

    def ask(self, number: int, body: QuestionBody, *, timeout_seconds: float = 600.0) -> None:
        self._desk.take(Question(question_id=number, body=body, timeout_seconds=timeout_seconds))

    def drop(self, number: int) -> None:
        self._desk.take(DropQuestion(number))

    def step(self) -> None:
        output = self.engine.step()
        self._desk.note_step(output)
        self.heard.take(each for each in output.outputs if each.request_id < 1000)
        self.engine.check_conservation()

    def finish(self) -> None:
        while self.engine.has_work or self._desk.has_work:
            self.step()
            self._desk.work()
        assert self.engine.is_empty

    def attention(self, number: int) -> np.ndarray:
        answer = self.answers[number]
        assert isinstance(answer, AttentionValues)
        return np.frombuffer(answer.values, "<f4")


def question(
    ids: Sequence[int] = TEXT,
    *,
    layers: tuple[int, ...] = (0, 1),
    heads: tuple[int, ...] = (0, 1, 2, 3),
    start: int = 0,
) -> AttentionQuestion:
    return AttentionQuestion(token_ids=list(ids), layers=layers, heads=heads, start=start)


@pytest.fixture(scope="module")
def engine(model: Transformer) -> Engine:
    """One that tests share; they leave it empty."""
    return new_engine(model)


@pytest.fixture(scope="module")
def alone(model: Transformer) -> Alone:
    """The answer of an engine that never has another request."""
    desk = Desk(new_engine(model))
    numbers = itertools.count(1000)

    def answer(body: AttentionQuestion) -> np.ndarray:
        number = next(numbers)
        desk.ask(number, body)
        desk.finish()
        return desk.attention(number)

    return answer


def test_hidden_states_and_attention_are_those_of_transformers(
    model: Transformer, theirs: Theirs
) -> None:
    """All layers and heads, for one row of a mixed step and in the middle of its text."""
    executor = EagerExecutor(model, num_blocks=40, deterministic=False)
    tables = [range(owner, 40, 4) for owner in range(4)]
    start = 70
    executor.compute([ChunkInput(token_ids=TEXT[:start], start=0, block_ids=tables[0])])
    looked_at = ChunkInput(
        token_ids=TEXT[start:], start=start, block_ids=tables[0], is_inspected=True
    )
    first = ChunkInput(token_ids=TEXT[:90], start=0, block_ids=tables[1], logits=LogitsWanted.ALL)
    last = ChunkInput(token_ids=[5], start=0, block_ids=tables[2])
    step = executor.compute([first, looked_at, last])
    assert list(step.inspected) == [1]
    inside = step.inspected[1]
    assert inside.hidden_states.shape == (LAYERS + 1, 80, 48)
    assert inside.attention.shape == (LAYERS, HEADS, 80, 150)
    assert float((inside.hidden_states - theirs.hidden_states[:, start:]).abs().max()) < 1e-4
    assert float((inside.attention - theirs.attention[:, :, start:]).abs().max()) < 1e-4
    sums = inside.attention.sum(-1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-6)
    # What is looked at is computed as what is not.
    again = executor.compute([ChunkInput(token_ids=TEXT[start:], start=start, block_ids=tables[0])])
    assert torch.allclose(step.logits_RV[step.rows[1]], again.logits_RV[again.rows[0]], atol=1e-5)


@pytest.fixture(scope="module")
def other_tokens(engine: Engine) -> list[int]:
    """What comes of OTHER when it is alone."""
    return run(engine, [OTHER]).tokens[1, 0]


@settings(max_examples=6)
@given(data=st.data())
def test_any_layers_heads_and_span_are_those_of_transformers_beside_other_requests(
    engine: Engine,
    theirs: Theirs,
    alone: Alone,
    other_tokens: list[int],
    data: st.DataObject,
) -> None:
    end = data.draw(st.sampled_from([1, 2, 17, 64, 65, 150]))
    start = data.draw(st.integers(0, end - 1))
    layers = tuple(data.draw(st.permutations(range(LAYERS)))[: data.draw(st.integers(1, LAYERS))])
    heads = tuple(data.draw(st.permutations(range(HEADS)))[: data.draw(st.integers(1, HEADS))])
    body = question(TEXT[:end], layers=layers, heads=heads, start=start)
    desk = Desk(engine)
    engine.submit(OTHER)
    for _ in range(data.draw(st.integers(0, 4))):
        desk.step()
    desk.ask(1000, body)
    desk.finish()
    shape = (len(layers), len(heads), end - start, end)
    shown = desk.attention(1000).reshape(shape)
    expected = theirs.attention[list(layers)][:, list(heads), start:end, :end].numpy()
    assert np.abs(shown - expected).max() < 1e-4
    assert np.abs(shown.sum(-1) - 1.0).max() < 1e-6
    # In deterministic mode company changes nothing, neither the answer nor the others' tokens.
    assert np.array_equal(desk.attention(1000), alone(body))
    assert desk.heard.tokens[1, 0] == other_tokens


def test_what_others_have_computed_before_the_span_is_not_computed_again(engine: Engine) -> None:
    desk = Desk(engine)
    desk.ask(1000, question())
    before = engine.counters.num_computed_prompt_tokens
    desk.finish()
    assert engine.counters.num_computed_prompt_tokens - before == len(TEXT)
    desk.ask(1001, question(start=100))
    desk.finish()
    # Whole blocks of 16 before position 100.
    assert engine.counters.num_computed_prompt_tokens - before == 2 * len(TEXT) - 96
    whole = desk.attention(1000).reshape(LAYERS, HEADS, len(TEXT), len(TEXT))
    assert np.array_equal(desk.attention(1001).reshape(LAYERS, HEADS, 50, -1), whole[:, :, 100:])


def test_the_memory_of_a_look_is_bounded_by_cutting_it_into_pieces(
    engine: Engine, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = alone(question())
    # Of each token: attention to 150 tokens in 2 layers of 4 heads, and 3 hidden states.
    monkeypatch.setattr(observers, "MAX_PIECE_BYTES", 7 * 4 * (2 * 4 * 150 + 3 * 48))
    desk = Desk(engine)
    desk.ask(1000, question())
    before = engine.step_number
    desk.finish()
    assert engine.step_number - before >= -(-len(TEXT) // 7)
    assert np.array_equal(desk.attention(1000), whole)
    # One layer takes less than two.
    desk.ask(1001, question(layers=(1,)))
    before = engine.step_number
    desk.finish()
    assert engine.step_number - before < -(-len(TEXT) // 7)
    assert np.array_equal(desk.attention(1001), whole.reshape(2, -1)[1])


def test_a_look_whose_blocks_are_taken_by_older_requests_goes_on_afterwards(
    model: Transformer, alone: Alone
) -> None:
    """H61, H62: it is the youngest, so it is put back, and begins again at what it has not seen."""
    # Whether it is put back follows from when it comes.
    num_preemptions = 0
    for num_before in range(1, 17):
        engine = new_engine(model, num_blocks=9, max_step_tokens=32, inspection_pace=EveryTurn())
        desk = Desk(engine)
        desk.engine.submit(replace(OTHER, max_tokens=40))
        while len(desk.heard.tokens.get((1, 0), ())) < num_before:
            desk.step()
        desk.ask(1000, question(TEXT[10:122], start=5))
        desk.finish()
        num_preemptions += desk.engine.counters.num_preemptions
        assert len(desk.heard.tokens[1, 0]) == 40
        assert np.array_equal(desk.attention(1000), alone(question(TEXT[10:122], start=5)))
    assert num_preemptions > 0


def test_a_question_is_dropped_late_or_ends_for_numbers_that_are_none(
    model: Transformer, alone: Alone
) -> None:
    """H46, H57, H95: each ends itself only, and leaves nothing behind."""
    now = 0.0
    executor = EagerExecutor(model, num_blocks=60, deterministic=False)
    engine = Engine(executor, max_running=4, max_step_tokens=32, clock=lambda: now)
    desk = Desk(engine)
    desk.ask(1000, question())
    desk.step()
    desk.drop(1000)
    desk.drop(1000)
    assert engine.is_empty
    desk.ask(1001, question(), timeout_seconds=5.0)
    desk.step()
    now = 6.0
    desk.finish()
    assert desk.answers == {1001: QuestionFailed(EngineFinish.DEADLINE)}
    # A poisoned block that it reads; the clean text beside it is not concerned.
    desk.ask(1002, question())
    desk.step()
    for keys in executor.kv_cache.keys:
        keys[:, : 2 * executor.block_tokens] = float("nan")
    desk.ask(1003, question(TEXT[5:45]))
    desk.finish()
    assert desk.answers[1002] == QuestionFailed(EngineFinish.NUMERICAL_ERROR)
    assert np.allclose(desk.attention(1003), alone(question(TEXT[5:45])), atol=1e-5)


def test_a_question_that_cannot_be_meant_ends_alone(model: Transformer) -> None:
    """The front checks all of this, so it is a fault of ours, but never the end of the engine."""
    desk = Desk(new_engine(model, num_blocks=4))
    desk.ask(1000, question())
    assert desk.answers == {1000: QuestionFailed(EngineFinish.INTERNAL_ERROR)}
    wrong = [question(TEXT[:20], layers=(2,)), question(TEXT[:20], heads=(-1,))]
    for number, body in enumerate([*wrong, question(TEXT[:20], start=20)], start=1001):
        desk.ask(number, body)
        assert desk.answers[number] == QuestionFailed(EngineFinish.INTERNAL_ERROR)
    desk.ask(1004, question(TEXT[:20]))
    desk.finish()
    assert desk.attention(1004).shape == (2 * 4 * 20 * 20,)
