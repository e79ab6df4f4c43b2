"""Loss, perplexity and bits per byte: those that training evaluates for the same model and text."""

import asyncio
import math
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from campaigns.live.tiny_model import publish_tiny_model
from model.ngram import NgramModel
from model.tokenizer import Tokenizer
from model.weights import load_transformer
from service.engine.engine import Engine
from service.engine.loading import build_engine
from service.engine.messages import Load, ModelKind, Submit, TokenOutput
from service.engine.ngram_loading import build_ngram_engine
from service.errors import ErrorKind, RequestError
from service.glass_box.glass_box_values import GivenText, ScoreRequest, TextScore, TimeLimit
from service.glass_box.score_windows import score_windows
from service.glass_box.scoring import MAX_TOKEN_SURPRISES, score_text
from service.models.model_store import ModelFolder, read_folder
from service.models.ngram_sibling import sibling_folder
from service.models.served_models import ServedModels
from service.request_log import RequestRecord
from tests.service.remembering_executor import RememberingExecutor
from training.evaluate import score_tokens
from training.ngram.training import evaluate_ngram

CONTEXT = 24
END = 0
TEXT = "the cat sat on the mat, and the dog sat on the caf\u00e9 \u732b; nobody else sat at all."


@dataclass
class Stream:
    """The answer to one request."""

    batches: list[TokenOutput]
    started_at: float = 0.0

    async def __aiter__(self) -> AsyncGenerator[TokenOutput]:
        for batch in self.batches:
            yield batch


@dataclass
class Plan:
    """What the server takes on at once."""

    max_tokens: int


@dataclass
class Model:
    """What scoring needs of a served model and of its engine's client, around a real engine."""

    kind: ModelKind
    folder: ModelFolder
    engine: Engine
    context_tokens: int = CONTEXT
    plan: Plan = field(default_factory=lambda: Plan(max_tokens=10_000))
    admitted: list[int] = field(default_factory=list[int])

    @contextmanager
    def held(self) -> Generator["Model"]:
        yield self

    @contextmanager
    def admit(self, num_tokens: int) -> Generator["Model"]:
        self.admitted.append(num_tokens)
        yield self

    @contextmanager
    def open(self, request: Submit, *, deadline: float) -> Generator[Stream]:
        assert request.kind is self.kind
        assert len(request.prompt_ids) <= CONTEXT
        self.engine.submit(replace(request, request_id=1))
        batches: list[TokenOutput] = []
        while self.engine.has_work:
            batches += self.engine.step().outputs
        self.engine.check_conservation()
        yield Stream(batches)


@dataclass
class Models:
    """A server's models: one version with both kinds."""

    network: Model
    ngram: Model

    def find(self, name: str | None) -> Model:
        return self.ngram if name == "tiny:ngram" else self.network

    def both(self, model: Model) -> tuple[Model, Model]:
        return self.network, self.ngram


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store") / "tiny"
    return publish_tiny_model(root, context_tokens=CONTEXT, has_ngram=True)


@pytest.fixture(scope="module")
def models(directory: Path) -> Models:
    load = Load(
        directory=str(directory),
        device="cpu",
        dtype="f32",
        num_threads=1,
        max_running=1,
        max_context_tokens=None,
        ngram_cache_tokens=2 * CONTEXT,
    )
    folder = read_folder(directory)
    ngram, _ = build_ngram_engine(load, context_tokens=CONTEXT)
    return Models(
        Model(ModelKind.TRANSFORMER, folder, build_engine(load)[0]),
        Model(ModelKind.NGRAM, sibling_folder(folder), ngram),
    )


def score(
    models: Models,
    *,
    model: str | None = None,
    text: str | None = None,
    ids: tuple[int, ...] | None = None,
    side_by_side: bool = False,
    token_surprises: bool = False,
) -> tuple[TextScore, ...]:
    request = ScoreRequest(
        given=GivenText(model=model, text=text, ids=ids, limit=TimeLimit()),
        side_by_side=side_by_side,
        token_surprises=token_surprises,
    )
    record = RequestRecord(request_id="1", protocol="none", route="none")
    return asyncio.run(score_text(cast("ServedModels", models), request, record))


def text_ids(models: Models) -> list[int]:
    return models.network.folder.tokenizer.encode(TEXT)


def test_scores_are_those_that_training_evaluates(models: Models, directory: Path) -> None:
    """In windows as long as the context, several of them, the last one not full."""
    tokens = np.array([*text_ids(models), END])
    num_bytes = len(TEXT.encode())
    network, ngram = score(models, ids=tuple(tokens.tolist()), side_by_side=True)
    theirs = score_tokens(
        load_transformer(directory, device="cpu"),
        tokens,
        num_bytes=num_bytes,
        context_length=CONTEXT,
        first_id=END,
        device=torch.device("cpu"),
    )
    assert network.nats_per_token == pytest.approx(theirs.nats_per_token, rel=1e-5)
    assert network.perplexity == pytest.approx(theirs.perplexity, rel=1e-4)
    assert network.bits_per_byte == pytest.approx(theirs.bits_per_byte, rel=1e-5)
    counted = evaluate_ngram(NgramModel.load(directory), [tokens], total_bytes=num_bytes)
    assert ngram.nats_per_token == pytest.approx(counted.nats_per_token, rel=1e-5)
    assert ngram.bits_per_byte == pytest.approx(counted.bits_per_byte, rel=1e-5)
    assert network.num_tokens == ngram.num_tokens == tokens.size
    assert network.num_bytes == ngram.num_bytes == num_bytes
    assert (network.model, network.kind) == ("tiny", ModelKind.TRANSFORMER)
    assert (ngram.model, ngram.kind) == ("tiny:ngram", ModelKind.NGRAM)


def test_the_surprises_of_the_tokens_add_up_to_the_score(models: Models) -> None:
    for model in ("tiny", "tiny:ngram"):
        (told,) = score(models, model=model, text=TEXT, token_surprises=True)
        (plain,) = score(models, model=model, text=TEXT)
        assert plain.tokens == ()
        assert told.total_bits == plain.total_bits
        assert [each.token.id for each in told.tokens] == text_ids(models)
        surprise = math.fsum(each.surprise_bits for each in told.tokens)
        assert surprise == pytest.approx(told.total_bits, rel=1e-12)
        assert all(each.rank >= 1 for each in told.tokens)
        data = TEXT.encode()
        assert b"".join(each.token.bytes for each in told.tokens) == data
        for each in told.tokens:
            assert data[each.byte_start : each.byte_end] == each.token.bytes
    # The text is one that the n-gram model has nearly seen.
    network, ngram = score(models, text="the cat sat on the mat", side_by_side=True)
    assert ngram.bits_per_byte < 1.0 < network.bits_per_byte


def test_the_first_space_of_ids_is_no_byte_of_their_text_where_it_is_notation(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text and its ids have as many bits per byte."""
    ids = tuple(models.network.folder.tokenizer.encode(" the cat"))
    (plain,) = score(models, ids=ids)
    monkeypatch.setattr(Tokenizer, "strips_leading_space", True)
    (score_of_ids,) = score(models, ids=ids)
    assert (plain.num_bytes, score_of_ids.num_bytes) == (len(" the cat"), len("the cat"))
    assert score_of_ids.bits_per_byte == score_of_ids.total_bits / len("the cat")


def test_what_is_admitted_is_a_window_and_what_the_text_takes_that_waits(models: Models) -> None:
    models.network.admitted.clear()
    score(models, text=TEXT[:60])
    score(models, text="a")
    score(models, ids=(70,) * 100)
    assert models.network.admitted == [CONTEXT, 1, 33]


@pytest.mark.parametrize("is_beside_a_stream", [False, True])
def test_windows_of_any_length_are_told_in_whole(is_beside_a_stream: bool) -> None:
    """Computed in pieces, of which the last may be a single token."""
    engine = Engine(RememberingExecutor(num_blocks=400), max_running=8)
    if is_beside_a_stream:
        engine.submit(Submit(request_id=1, prompt_ids=[1], max_tokens=1000))
        engine.step()
    for size in (1, 15, 16, 17, 33, 63, 64, 65, 66, 67, 129):
        engine.submit(
            Submit(
                request_id=1 + size,
                prompt_ids=[2] * size,
                max_tokens=0,
                logprobs=0,
                prompt_logprobs=True,
                following_id=3,
            )
        )
        told: TokenOutput | None = None
        while told is None:
            outputs = engine.step().outputs
            told = next((each for each in outputs if each.request_id == 1 + size), None)
        assert told.prompt_logprobs is not None
        assert len(told.prompt_logprobs) == size + 1
        assert told.prompt_logprobs[0] is None
        assert None not in told.prompt_logprobs[1:]
        engine.check_conservation()


@given(
    token_ids=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    context=st.integers(1, 12),
    num_before=st.integers(1, 5),
)
def test_windows_score_every_token_once_after_what_stands_before_it(
    token_ids: list[int], context: int, num_before: int
) -> None:
    num_before = max(1, min(num_before, context - 1))
    line = [77, *token_ids]
    scored: list[int] = []
    for window in score_windows(
        token_ids, start_id=77, context_tokens=context, num_before=num_before
    ):
        assert 1 <= len(window.prompt_ids) <= context
        text = [*window.prompt_ids, window.last_id]
        end = 1 + len(scored) + len(text) - window.num_before
        assert text == line[end - len(text) : end]
        assert window.num_before == min(num_before, 1 + len(scored))
        scored += text[window.num_before :]
    assert scored == token_ids


@pytest.mark.parametrize(
    ("given", "field_name", "words"),
    [
        ({"text": "x", "ids": (1,)}, "text", "not both"),
        ({}, "text", "must be given"),
        ({"text": ""}, "text", "must not be empty"),
        ({"text": "\ud800"}, "text", "lone surrogate"),
        ({"ids": ()}, "ids", "at least one"),
        ({"ids": (1, 257)}, "ids", "257"),
        ({"ids": (-1,)}, "ids", "-1"),
        ({"ids": (END, END)}, "ids", "control tokens"),
        ({"ids": (1,) * (2**18 + 1)}, "ids", "at most 262144 tokens, got 262145"),
        ({"ids": (1,) * 30_003}, "ids", "room of 10001 of a request, the server takes on 10000"),
        (
            {"ids": (1,) * (MAX_TOKEN_SURPRISES + 1), "token_surprises": True},
            "token_surprises",
            "at most 16384 tokens, the text has 16385",
        ),
    ],
)
def test_what_cannot_be_scored_is_named(
    models: Models, given: dict[str, tuple[int, ...]], field_name: str, words: str
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        score(models, **given)  # pyright: ignore[reportArgumentType]
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_VALUE, field_name)
