"""The n-gram model behind an engine: the same bits in any batch, real rows, true explanations."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.ngram import NgramModel
from model.ngram_description import NgramError
from service.engine.engine import Engine
from service.engine.executor import ChunkInput, LogitsWanted
from service.engine.loading import LoadError
from service.engine.messages import Load, ModelKind, Submit
from service.engine.ngram_executor import NgramExecutor
from service.engine.ngram_loading import build_ngram_engine
from service.engine.trace_messages import Inspection, NgramTrace, TokenTrace
from tests.service.engine_runs import VOCABULARY, requests, run
from training.ngram.training import train_ngram

END = 3
NUM_BLOCKS = 80


def quiet(line: str) -> None:
    """Takes announcements that no test looks at."""


def corpus() -> NDArray[np.int64]:
    """Documents whose next tokens follow from the last ones, more or less."""
    rng = np.random.default_rng(5)
    ids = [0, 1]
    for noise in rng.integers(0, VOCABULARY, size=6000).tolist():
        is_regular = len(ids) % 5 != 0
        ids.append((3 * ids[-1] + ids[-2] + 1) % VOCABULARY if is_regular else noise)
    return np.array([*ids, END])


@pytest.fixture(scope="module")
def model() -> NgramModel:
    trained = train_ngram(
        [corpus()], vocab_size=VOCABULARY, end_of_text_id=END, order=4, announce=quiet
    )
    return trained.model


def new_engine(model: NgramModel, *, max_running: int = 4) -> Engine:
    executor = NgramExecutor(model, num_blocks=NUM_BLOCKS)
    return Engine(executor, max_running=max_running, max_step_tokens=100, kind=ModelKind.NGRAM)


def whole(executor: NgramExecutor, ids: list[int]) -> torch.Tensor:
    blocks = range(executor.num_blocks)
    chunk = ChunkInput(token_ids=ids, start=0, block_ids=blocks, logits=LogitsWanted.ALL)
    return executor.compute([chunk]).logits_RV


def test_each_row_is_the_whole_distribution_after_its_text(model: NgramModel) -> None:
    ids = [END, *corpus()[100:140].tolist(), END, 7, 7]
    logits_TV = whole(NgramExecutor(model, num_blocks=4), ids)
    assert logits_TV.dtype == torch.float32
    for place, row_V in enumerate(logits_TV.double().exp().numpy(), start=1):
        assert row_V == pytest.approx(model.probabilities(ids[:place]), rel=1e-6)
        assert row_V.sum() == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=15)
@given(data=st.data())
def test_a_row_has_the_same_bits_however_it_was_computed(
    model: NgramModel, data: st.DataObject
) -> None:
    """H48: any pieces, neighbours, places in the step and blocks."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    texts = [rng.integers(0, VOCABULARY, size=size).tolist() for size in (1, 5, 40, 33)]
    alone = [whole(NgramExecutor(model, num_blocks=3), ids) for ids in texts]
    shared = NgramExecutor(model, num_blocks=12)
    # Blocks of different texts lie between each other.
    tables = [[owner + 4 * place for place in (2, 0, 1)] for owner in range(4)]
    computed = [0] * 4
    while any(done < len(ids) for done, ids in zip(computed, texts, strict=True)):
        owners = [owner for owner in range(4) if computed[owner] < len(texts[owner])]
        owners = data.draw(st.permutations(owners))[: data.draw(st.integers(1, 4))]
        chunks: list[ChunkInput] = []
        for owner in owners:
            start = computed[owner]
            size = min(len(texts[owner]) - start, data.draw(st.sampled_from([1, 2, 3, 17, 40])))
            new = texts[owner][start : start + size]
            chunks.append(
                ChunkInput(
                    token_ids=new, start=start, block_ids=tables[owner], logits=LogitsWanted.ALL
                )
            )
        step = shared.compute(chunks)
        for place, owner in enumerate(owners):
            start, computed[owner] = computed[owner], computed[owner] + len(chunks[place].token_ids)
            expected_TV = alone[owner][start : computed[owner]]
            assert torch.equal(step.logits_RV[step.rows[place]], expected_TV)


def test_requests_of_all_kinds_give_what_they_give_alone(model: NgramModel) -> None:
    """Through the scheduler, with shared prefixes and requests that are put back."""
    asked = requests(0.9)
    together = run(new_engine(model), asked)
    for request in asked:
        alone = run(new_engine(model), [request])
        key = (request.request_id, 0)
        assert together.tokens[key] == alone.tokens[key]
        assert together.logprobs.get(key) == alone.logprobs.get(key)


def test_greedy_choice_is_the_most_probable_token(model: NgramModel) -> None:
    prompt = corpus()[200:207].tolist()
    request = Submit(request_id=1, prompt_ids=prompt, max_tokens=12, temperature=0.0)
    heard = run(new_engine(model), [request])
    text = list(prompt)
    for token_id in heard.tokens[1, 0]:
        assert token_id == int(model.probabilities(text).argmax())
        text.append(token_id)


def reproduced(trace: NgramTrace) -> float:
    """The probability that follows from the figures of an explanation."""
    probability = trace.levels[0].probability
    for level in trace.levels[1:]:
        own = level.discounted_count / level.discounted_total if level.is_known_context else 0.0
        probability = level.backoff * probability + (1.0 - level.backoff) * own
        assert probability == pytest.approx(level.probability, rel=1e-12)
    return probability


def inspected(model: NgramModel, request: Submit) -> list[TokenTrace]:
    engine = new_engine(model)
    engine.submit(request)
    traces: list[TokenTrace] = []
    while engine.has_work:
        for output in engine.step().outputs:
            traces += [*(output.prompt_traces or []), *(output.traces or [])]
    return traces


def test_an_explanation_reproduces_the_probability_of_the_token(model: NgramModel) -> None:
    """Both of what is made and of a given text, from its first token on."""
    prompt = [END, *corpus()[50:60].tolist()]
    made = Submit(
        request_id=1, prompt_ids=prompt, max_tokens=30, seed=4, inspect=Inspection(num_candidates=2)
    )
    text = prompt + [trace.token_id for trace in inspected(model, made)]
    look = Inspection(num_candidates=2, first_position=1)
    again = Submit(request_id=2, prompt_ids=text, max_tokens=0, inspect=look)
    traces = [*inspected(model, made), *inspected(model, again)]
    assert len(traces) == 30 + len(text) - 1
    has_known_longest: set[bool] = set()
    for trace in traces:
        found = trace.ngram
        assert found is not None
        assert found.order == 4
        before = text[: trace.position]
        # The token that a text begins after is part of the window as long as it is that near.
        assert found.window_ids == [END, *before][-3:]
        assert [level.order for level in found.levels] == list(range(1, len(found.levels) + 1))
        for level in found.levels:
            assert level.context_ids == found.window_ids[len(found.window_ids) - level.order + 1 :]
        assert -math.log2(reproduced(found)) == pytest.approx(trace.surprise_bits, abs=1e-5)
        has_known_longest.add(found.levels[-1].is_known_context)
    # Some positions were left to shorter contexts, others were not.
    assert has_known_longest == {True, False}


def test_there_is_nothing_inside_to_look_at(model: NgramModel) -> None:
    executor = NgramExecutor(model, num_blocks=1)
    looked_at = ChunkInput(token_ids=[1], start=0, block_ids=[0], is_inspected=True)
    with pytest.raises(ValueError, match="neither hidden states nor attention"):
        executor.compute([looked_at])
    with pytest.raises(NgramError, match="0 to 60, given 61"):
        executor.compute([ChunkInput(token_ids=[61], start=0, block_ids=[0])])


def test_cleared_blocks_hold_no_text(model: NgramModel) -> None:
    executor = NgramExecutor(model, num_blocks=1)
    last = ChunkInput(token_ids=[8], start=3, block_ids=[0])
    never_written = executor.compute([last]).logits_RV
    whole(executor, corpus()[2:5].tolist())
    written = executor.compute([last]).logits_RV
    executor.clear_blocks([0])
    assert torch.equal(executor.compute([last]).logits_RV, never_written)
    assert not torch.equal(written, never_written)


def load_of(directory: Path, *, ngram_cache_tokens: int) -> Load:
    return Load(
        directory=str(directory),
        device="cpu",
        dtype="f32",
        num_threads=1,
        max_running=2,
        max_context_tokens=None,
        ngram_cache_tokens=ngram_cache_tokens,
    )


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    trained = train_ngram([corpus()], vocab_size=VOCABULARY, end_of_text_id=END, announce=quiet)
    trained.save(tmp_path)
    engine, loaded = build_ngram_engine(load_of(tmp_path, ngram_cache_tokens=64), context_tokens=32)
    assert (engine.kind, loaded.kind, loaded.num_blocks) == (ModelKind.NGRAM, ModelKind.NGRAM, 4)
    assert loaded.num_parameters == trained.model.num_ngrams
    assert engine.is_empty
    with pytest.raises(LoadError, match=r"context of 32 tokens .* got 31"):
        build_ngram_engine(load_of(tmp_path, ngram_cache_tokens=31), context_tokens=32)
    (tmp_path / "ngram" / "tokens.npy").unlink()
    with pytest.raises(LoadError, match=r"tokens\.npy: is missing"):
        build_ngram_engine(load_of(tmp_path, ngram_cache_tokens=64), context_tokens=32)
