"""Scores against a naive computation, token by token; accumulation against one big batch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.transformer import Transformer
from training.computation import Computation
from training.evaluate import score_tokens, surprise_bits
from training.hardware import Hardware
from training.parallel import Processes

CPU = torch.device("cpu")


def tiny_model(*, dropout: float = 0.0) -> Transformer:
    """An untrained model whose logits are far from even."""
    config = ModelConfig(
        vocab_size=30,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=12,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_ids=(0,),
    )
    model = Transformer(config, dropout=dropout)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.5, generator=generator)
    return model


def naive_nats(model: Transformer, tokens: list[int], context: int) -> float:
    """Each token's surprise after what stands before it in its window, one at a time."""
    total = 0.0
    for place, token in enumerate(tokens):
        start = place - place % context
        before = [0 if start == 0 else tokens[start - 1], *tokens[start:place]]
        with torch.no_grad():
            logits = model(torch.tensor([before]))[0, -1]
        total -= float(logits.double().log_softmax(-1)[token])
    return total


@settings(max_examples=15)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=40), st.integers(2, 12))
def test_scores_are_those_of_the_naive_computation(tokens: list[int], context: int) -> None:
    model = tiny_model().eval()
    score = score_tokens(
        model, np.array(tokens), num_bytes=77, context_length=context, first_id=0, device=CPU
    )
    nats = naive_nats(model, tokens, context)
    assert score.num_tokens == len(tokens)
    assert score.nats_per_token * len(tokens) == pytest.approx(nats, rel=1e-5)
    assert score.bits_per_byte == pytest.approx(nats / math.log(2) / 77, rel=1e-5)
    assert score.perplexity == pytest.approx(math.exp(nats / len(tokens)), rel=1e-4)


def test_an_even_model_needs_the_logarithm_of_the_vocabulary() -> None:
    def even(ids: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*ids.shape, 256)

    tokens = np.arange(100) % 256
    score = score_tokens(even, tokens, num_bytes=100, context_length=7, first_id=0, device=CPU)
    assert score.bits_per_byte == pytest.approx(8.0)
    assert surprise_bits(even, [1, 2, 3], first_id=0, device=CPU) == pytest.approx([8.0] * 3)


def computation_of(model: Transformer, micro_batch_size: int) -> Computation:
    """Plain f32 on the CPU."""
    return Computation(
        model,
        hardware=Hardware(
            device="cpu", dtype="f32", is_compiled=False, num_threads=1, flops_per_second=0.0
        ),
        processes=Processes(),
        micro_batch_size=micro_batch_size,
        announce=print,
    )


@pytest.mark.parametrize("micro_batch_size", [1, 3, 4])
def test_accumulated_gradients_are_those_of_one_big_batch(micro_batch_size: int) -> None:
    windows = np.random.default_rng(1).integers(0, 30, (8, 11))
    big, small = tiny_model(), tiny_model()
    loss, _ = computation_of(big, 8).gradients(windows, seed=1, wants_stop=False)
    parts, _ = computation_of(small, micro_batch_size).gradients(windows, seed=1, wants_stop=False)
    assert float(parts) == pytest.approx(float(loss), abs=1e-5)
    for one, other in zip(big.parameters(), small.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, atol=1e-5)


def test_dropout_is_a_function_of_its_seed() -> None:
    windows = np.random.default_rng(1).integers(0, 30, (4, 11))
    losses = [
        float(
            computation_of(tiny_model(dropout=0.3), 4).gradients(
                windows, seed=seed, wants_stop=False
            )[0]
        )
        for seed in (5, 5, 6)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_compiler_that_fails_is_told_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", refuse)
    lines: list[str] = []
    computation = Computation(
        tiny_model(),
        hardware=Hardware(
            device="cpu", dtype="f32", is_compiled=True, num_threads=1, flops_per_second=0.0
        ),
        processes=Processes(),
        micro_batch_size=4,
        announce=lines.append,
    )
    windows = np.random.default_rng(1).integers(0, 30, (4, 11))
    loss, _ = computation.gradients(windows, seed=1, wants_stop=False)
    plain, _ = computation_of(tiny_model(), 4).gradients(windows, seed=1, wants_stop=False)
    assert float(loss) == float(plain)
    assert not computation.is_compiled
    assert lines == ["torch.compile failed (RuntimeError: no compiler); goes on without"]
