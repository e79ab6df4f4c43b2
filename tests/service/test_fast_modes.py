"""What fast number types may cost: each predicts a text as well as f32, within one percent."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import load_transformer
from service.engine.cpu.packed_network import NumberType
from service.engine.eager_executor import EagerExecutor
from service.engine.executor import ChunkInput, Executor, LogitsWanted
from tests.service.packed_models import cpu_executor

MAX_TOKENS = 256
MAX_RELATIVE_CHANGE = 0.01


BUNDLED = Path(__file__).resolve().parents[2] / "artifacts" / "fairytales" / "1"


@pytest.fixture(scope="module")
def text_ids() -> list[int]:
    """The unselected samples of the model's card, in its own tokens."""
    card = (BUNDLED / "README.md").read_text(encoding="utf-8")
    samples = re.findall(r"```text\n(.*?)```", card, re.DOTALL)
    ids = Tokenizer.load(BUNDLED).encode("\n".join(samples))[:MAX_TOKENS]
    assert len(ids) == MAX_TOKENS
    return ids


@pytest.fixture(scope="module")
def exact(text_ids: list[int]) -> float:
    """The perplexity in f32."""
    return perplexity(load(torch.float32), text_ids)


def load(dtype: torch.dtype) -> Transformer:
    return load_transformer(BUNDLED, device=torch.device("cpu"), dtype=dtype)


def perplexity(model: Transformer, ids: list[int]) -> float:
    """Of every token after the first, computed in one pass by the reference executor."""
    executor = EagerExecutor(model, num_blocks=MAX_TOKENS // 16, deterministic=False)
    return perplexity_by(executor, ids)


def perplexity_by(executor: Executor, ids: list[int]) -> float:
    """The same by any executor."""
    whole = ChunkInput(
        token_ids=ids, start=0, block_ids=range(executor.num_blocks), logits=LogitsWanted.ALL
    )
    logits_TV = executor.compute([whole]).logits_RV
    return float(functional.cross_entropy(logits_TV[:-1], torch.tensor(ids[1:])).exp())


def test_bf16_costs_less_than_one_percent_of_perplexity(text_ids: list[int], exact: float) -> None:
    """Design, what "the same tokens" means, (c)."""
    fast = perplexity(load(torch.bfloat16), text_ids)
    # A model that has learnt nothing has as much as its vocabulary, 4,096.
    assert 1 < exact < 100
    assert fast != exact, "both were computed in the same arithmetic"
    assert fast == pytest.approx(exact, rel=MAX_RELATIVE_CHANGE)


@pytest.mark.parametrize("weight_type", [NumberType.BF16, NumberType.INT8])
def test_the_narrow_weights_of_the_cpu_kernels_cost_less_than_one_percent(
    text_ids: list[int], exact: float, weight_type: NumberType
) -> None:
    """Keys and values in bf16 as well, as they are served."""
    executor = cpu_executor(
        load(torch.float32),
        num_blocks=MAX_TOKENS // 16,
        weight_type=weight_type,
        cache_type=NumberType.BF16,
    )
    fast = perplexity_by(executor, text_ids)
    assert fast != exact, "both were computed in the same arithmetic"
    assert fast == pytest.approx(exact, rel=MAX_RELATIVE_CHANGE)


def test_weights_of_two_bits_of_mantissa_are_noticed(text_ids: list[int], exact: float) -> None:
    """The control: the text is long enough that coarse rounding shows."""
    model = load(torch.float32)
    for parameter in model.parameters():
        parameter.copy_(parameter.to(torch.float8_e5m2).float())
    coarse = perplexity(model, text_ids)
    assert coarse != pytest.approx(exact, rel=MAX_RELATIVE_CHANGE)
