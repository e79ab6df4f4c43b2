"""The naive generator: greedy, top-k, frequencies, seeds, ends, the sliding window, bad input."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.generate import choose, generate
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import load_transformer
from tests.model.stories260k import convert

VOCAB_SIZE = 24
CONTEXT = 12


def random_model(*, seed: int = 0) -> Transformer:
    config = ModelConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
    )
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * drawn if parameter.dim() > 1 else 1.0 + 0.1 * drawn)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_model()


@torch.inference_mode()
def last_logits(model: Transformer, ids: list[int]) -> Tensor:
    return model(torch.tensor([ids]))[0, -1]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_stories260k_tells_its_published_story_word_for_word(
    shared_data: Path, tmp_path: Path
) -> None:
    convert(shared_data, tmp_path)
    model = load_transformer(tmp_path)
    ids = list(generate(model, [1], max_tokens=256, temperature=0.0, end_token_ids=(1, 2)))
    first = [403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338]
    assert ids[:16] == first
    assert len(ids) == 256
    golden = (shared_data / "stories260K" / "golden.txt").read_text("utf-8").removesuffix("\n")
    assert Tokenizer.load(tmp_path).decode(ids) == golden


def test_temperature_zero_takes_the_likeliest_id(model: Transformer) -> None:
    ids = [3]
    for token in generate(model, [3], max_tokens=CONTEXT - 1, temperature=0.0):
        logits = [float(logit) for logit in last_logits(model, ids)]
        assert token == max(range(VOCAB_SIZE), key=lambda i: (logits[i], -i))
        ids.append(token)
    assert len(ids) == CONTEXT


def test_top_k_one_equals_greedy_at_any_temperature(model: Transformer) -> None:
    greedy = list(generate(model, [3], max_tokens=30, temperature=0.0))
    for temperature in (1e-6, 1e-4, 0.7, 5.0):
        one = generate(
            model, [3], max_tokens=30, temperature=temperature, top_k=1, generator=seeded(1)
        )
        assert list(one) == greedy


# Few different values, so that ties are the rule.
logits_with_ties = st.lists(
    st.sampled_from([-math.inf, -3.0, -0.0, 0.0, 0.5, 2.0]), min_size=1, max_size=70
).filter(lambda logits: max(logits) > -math.inf)


@given(logits=logits_with_ties, dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_the_lowest_id_wins_a_tie(logits: list[float], dtype: torch.dtype) -> None:
    lowest = logits.index(max(logits))
    logits_V = torch.tensor(logits, dtype=dtype)
    assert choose(logits_V, 0.0, 0, None) == lowest
    assert choose(logits_V, 1.0, 1, seeded(0)) == lowest


@given(logits=logits_with_ties, top_k=st.integers(2, 80))
def test_top_k_keeps_exactly_k_ids_and_the_lower_ones_of_a_tie(
    logits: list[float], top_k: int
) -> None:
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    kept = {i for i in ranked[:top_k] if logits[i] > -math.inf}
    # So hot that all kept ids are about equally likely, and each is drawn.
    generator = seeded(0)
    drawn = {choose(torch.tensor(logits), 1e6, top_k, generator) for _ in range(25 * len(kept))}
    assert drawn <= kept
    missed = len(kept - drawn)
    # Chance misses one of n with e^-25 n.
    assert missed == 0


def test_ties_of_thousands_fall_to_the_lowest_ids() -> None:
    # Sorting and maxima of long rows take other paths than those of short ones.
    logits_V = torch.zeros(50_000)
    logits_V[30_000:] = 1.0
    assert choose(logits_V, 0.0, 0, None) == 30_000
    generator = seeded(0)
    assert {choose(logits_V, 1.0, 3, generator) for _ in range(60)} == {30_000, 30_001, 30_002}


@pytest.mark.parametrize(
    ("temperature", "top_k"), [(t, k) for t in (0.5, 1.0, 1.7) for k in (0, 5)]
)
def test_frequencies_are_the_softmax_of_the_logits(
    model: Transformer, temperature: float, top_k: int
) -> None:
    """Interfaces 70: chi-square at one in a million, with a fixed seed."""
    logits_V = last_logits(model, [3, 9])
    logits = [float(logit) / temperature for logit in logits_V]
    kth = sorted(logits, reverse=True)[top_k - 1] if top_k else -math.inf
    weights = [math.exp(logit) if logit >= kth else 0.0 for logit in logits]
    num_draws, of_generate = 3000, 100
    generator = seeded(17)
    drawn = [
        choose(logits_V, temperature, top_k, generator) for _ in range(num_draws - of_generate)
    ]
    for _ in range(of_generate):
        drawn += generate(
            model,
            [3, 9],
            max_tokens=1,
            temperature=temperature,
            top_k=top_k,
            generator=generator,
        )
    counts = [drawn.count(token) for token in range(VOCAB_SIZE)]
    expected = [num_draws * weight / sum(weights) for weight in weights]
    assert all(count == 0 for count, e in zip(counts, expected, strict=True) if e == 0.0)
    cells = [(c, e) for c, e in zip(counts, expected, strict=True) if e >= 5.0]
    rare = [(c, e) for c, e in zip(counts, expected, strict=True) if e < 5.0]
    if sum(e for _, e in rare) >= 5.0:
        cells.append((sum(c for c, _ in rare), sum(e for _, e in rare)))
    assert len(cells) >= 5
    statistic = sum((c - e) ** 2 / e for c, e in cells)
    assert statistic < chi_square_limit(len(cells) - 1)
    # A wrong temperature would be noticed.
    wrong = [math.exp(1.25 * logit) if logit >= kth else 0.0 for logit in logits]
    wrong_cells = [
        (c, num_draws * w / sum(wrong)) for c, w in zip(counts, wrong, strict=True) if w > 0.0
    ]
    assert sum((c - e) ** 2 / e for c, e in wrong_cells) > chi_square_limit(len(wrong_cells) - 1)


def chi_square_limit(freedom: int) -> float:
    """Exceeded with a probability of about 1e-6 (Wilson and Hilferty 1931)."""
    third = 2 / (9 * freedom)
    return freedom * (1 - third + 4.753 * math.sqrt(third)) ** 3


@pytest.mark.parametrize("freedom", [4, 8, 22])
def test_the_limit_of_the_statistic_is_one_in_a_million(freedom: int) -> None:
    # Even degrees of freedom have the probability in closed form.
    half = chi_square_limit(freedom) / 2
    tail = math.exp(-half) * sum(half**k / math.factorial(k) for k in range(freedom // 2))
    assert 0.3e-6 < tail < 3e-6


def test_a_seed_reproduces_its_text_and_another_differs(model: Transformer) -> None:
    def text(seed: int) -> list[int]:
        return list(generate(model, [3], max_tokens=40, temperature=1.5, generator=seeded(seed)))

    assert text(4) == text(4)
    assert text(4) != text(5)


def test_an_end_token_ends_the_text_and_is_its_last_id(model: Transformer) -> None:
    endless = list(generate(model, [3], max_tokens=30, temperature=1.5, generator=seeded(8)))
    end = endless[6]
    ended = generate(
        model, [3], max_tokens=30, temperature=1.5, generator=seeded(8), end_token_ids={end, 10**6}
    )
    assert list(ended) == endless[: endless.index(end) + 1]


def test_an_end_token_in_the_prompt_ends_nothing(model: Transformer) -> None:
    ids = list(generate(model, [3], max_tokens=4, temperature=0.0))
    prompt_end = next(token for token in range(VOCAB_SIZE) if token not in ids)
    written = generate(
        model, [prompt_end], max_tokens=4, temperature=0.0, end_token_ids=(prompt_end,)
    )
    assert next(written) is not None


@pytest.mark.parametrize("num_tokens", [0, 1, 7])
def test_exactly_the_tokens_asked_for_are_written(model: Transformer, num_tokens: int) -> None:
    assert len(list(generate(model, [3], max_tokens=num_tokens))) == num_tokens


def test_beyond_the_context_the_last_ids_are_seen_from_position_zero(model: Transformer) -> None:
    prompt = [(5 * i) % VOCAB_SIZE for i in range(CONTEXT + 5)]
    ids = list(prompt)
    for token in generate(model, prompt, max_tokens=CONTEXT + 3, temperature=0.0):
        assert token == int(last_logits(model, ids[-CONTEXT:]).argmax())
        ids.append(token)
    assert len(ids) == 2 * CONTEXT + 8
    # The prompt is the caller's: it is not written to.
    assert prompt == [(5 * i) % VOCAB_SIZE for i in range(CONTEXT + 5)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_ids": []}, "prompt_ids must hold at least one id"),
        ({"prompt_ids": [0, 24]}, r"prompt_ids must lie in 0\.\.23, got 24"),
        ({"prompt_ids": [-1]}, r"prompt_ids must lie in 0\.\.23, got -1"),
        ({"prompt_ids": [2**63]}, "got 9223372036854775808"),
        ({"max_tokens": -1}, "max_tokens must be at least 0, got -1"),
        ({"temperature": -0.1}, "temperature must be finite and at least 0, got -0.1"),
        ({"temperature": math.nan}, "temperature must be finite and at least 0, got nan"),
        ({"temperature": math.inf}, "temperature must be finite and at least 0, got inf"),
        ({"top_k": -1}, "top_k must be at least 0, got -1"),
    ],
    ids=str,
)
def test_a_bad_argument_is_named_by_the_call_itself(
    model: Transformer, changes: dict[str, object], message: str
) -> None:
    def call(
        *,
        prompt_ids: list[int],
        max_tokens: int = 3,
        temperature: float = 1.0,
        top_k: int = 0,
    ) -> Iterator[int]:
        return generate(
            model, prompt_ids, max_tokens=max_tokens, temperature=temperature, top_k=top_k
        )

    arguments: dict[str, object] = {"prompt_ids": [1], **changes}
    with pytest.raises(ValueError, match=message):
        call(**arguments)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_define_no_distribution_are_an_error(value: float, temperature: float) -> None:
    logits_V = torch.zeros(9)
    logits_V[4] = value
    with pytest.raises(ArithmeticError, match="no finite maximum"):
        choose(logits_V, temperature, 0, seeded(0))
    with pytest.raises(ArithmeticError, match="no finite maximum"):
        choose(torch.full((9,), -math.inf), temperature, 0, seeded(0))


def test_the_smallest_temperatures_do_not_overflow() -> None:
    logits_V = torch.tensor([-3e38, 3e38, 2.9e38])
    assert choose(logits_V, 2e-5, 0, seeded(0)) == 1


def test_a_model_in_training_mode_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        generate(random_model().train(), [1], max_tokens=1)
