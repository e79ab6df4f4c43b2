"""The real kernels of the executor for GPUs against plain torch, on shapes of all kinds."""

import pytest
import torch
from torch import Tensor

from service.engine.cuda.row_state import RowState
from service.engine.cuda.token_places import PromptTiles, TokenPlaces
from service.engine.drawn_rows import FAILED, NOT_COMPUTED, DrawnRow
from tests.service import plain_kernels

if not torch.cuda.is_available():
    pytest.skip("needs an NVIDIA GPU", allow_module_level=True)

from service.engine.cuda import triton_kernels

TYPES = (torch.float32, torch.bfloat16)
# Query heads, key-value heads, width.
HEADS = ((4, 2, 12), (6, 6, 48), (32, 4, 64), (12, 12, 64), (32, 32, 128))
BLOCK_TOKENS = 16


def difference(found: Tensor, expected: Tensor) -> float:
    assert not found.isnan().any()
    distance = (found.double() - expected.double()).square().sum()
    return float(distance / expected.double().square().sum()) ** 0.5


def tolerance(dtype: torch.dtype) -> float:
    return 2e-5 if dtype == torch.float32 else 1.2e-2


def normal(*shape: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, device="cuda", generator=generator).to(dtype)


def integers(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32, device="cuda")


def step(starts: list[int], lengths: list[int], seed: int) -> tuple[TokenPlaces, PromptTiles, int]:
    """Tokens of some rows in scattered blocks, and the number of blocks."""
    counts = [
        -(-(start + length) // BLOCK_TOKENS) for start, length in zip(starts, lengths, strict=True)
    ]
    scattered = torch.randperm(sum(counts) + 3, generator=torch.Generator().manual_seed(seed))
    positions: list[int] = []
    table_starts: list[int] = []
    firsts: list[int] = []
    sizes: list[int] = []
    for place, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        first = len(positions)
        positions += range(start, start + length)
        table_starts += [sum(counts[:place])] * length
        firsts += range(first, first + length, triton_kernels.TILE_QUERIES)
        sizes += [
            min(triton_kernels.TILE_QUERIES, length - offset)
            for offset in range(0, length, triton_kernels.TILE_QUERIES)
        ]
    places = TokenPlaces(
        positions_T=integers(positions),
        lasts_T=integers(positions),
        table_starts_T=integers(table_starts),
        block_ids=scattered[: sum(counts)].to("cuda", torch.int32),
        block_tokens=BLOCK_TOKENS,
    )
    return places, PromptTiles(firsts=integers(firsts), counts=integers(sizes)), sum(counts) + 3


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("heads", "kv_heads", "width"), HEADS)
def test_attention_over_scattered_blocks_sees_its_own_keys_only(
    dtype: torch.dtype,
    heads: int,
    kv_heads: int,
    width: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plain_kernels, "TILE_QUERIES", triton_kernels.TILE_QUERIES)
    generator = torch.Generator("cuda").manual_seed(width + heads)
    angles = torch.outer(torch.arange(2100.0), torch.linspace(1, 0.001, width // 2)).repeat(1, 2)
    tables = angles.cos().cuda(), angles.sin().cuda()
    for starts, lengths in (
        ([0, 5, 70, 63, 64, 300, 1000], [1] * 7),
        ([2000], [1]),
        ([0, 20, 100, 640], [70, 3, 128, 129]),
    ):
        places, tiles, num_blocks = step(starts, lengths, seed=width)
        num_tokens = sum(lengths)
        qkv = normal(num_tokens, (heads + 2 * kv_heads) * width, dtype=dtype, generator=generator)
        shape = kv_heads, num_blocks * BLOCK_TOKENS, width
        keys, values = (normal(*shape, dtype=dtype, generator=generator) for _ in "kv")
        our_qkv, our_keys, our_values = qkv.clone(), keys.clone(), values.clone()
        triton_kernels.rotate_and_store(our_qkv, tables, places, our_keys, our_values)
        plain_kernels.rotate_and_store(qkv, tables, places, keys, values)
        queries = slice(0, heads * width)
        assert difference(our_qkv[:, queries], qkv[:, queries]) < tolerance(dtype)
        assert difference(our_keys, keys) < tolerance(dtype)
        assert torch.equal(our_values, values)
        is_foreign = torch.ones(shape[1], dtype=torch.bool, device="cuda")
        for token in range(num_tokens):
            is_foreign[plain_kernels.row_places(places, token)] = False
        keys[:, is_foreign] = values[:, is_foreign] = float("nan")
        if max(lengths) == 1:
            expected = plain_kernels.attend_single_tokens(qkv, keys, values, places, max_keys=4096)
            for max_keys in (max(starts) + 1, 4096):
                found = triton_kernels.attend_single_tokens(
                    qkv, keys, values, places, max_keys=max_keys
                )
                assert difference(found, expected) < tolerance(dtype)
        found, expected = (
            torch.full((num_tokens, heads * width), float("nan"), dtype=dtype, device="cuda")
            for _ in "ab"
        )
        triton_kernels.attend_prompts(qkv, keys, values, places, tiles, found)
        plain_kernels.attend_prompts(qkv, keys, values, places, tiles, expected)
        assert difference(found, expected) < tolerance(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("width", "inner"), [(48, 96), (100, 130), (288, 768), (2048, 5632)])
def test_norms_gates_and_products_of_one_row_are_those_of_torch(
    dtype: torch.dtype, width: int, inner: int
) -> None:
    generator = torch.Generator("cuda").manual_seed(width)
    norm = torch.rand(width, device="cuda", generator=generator).to(dtype)
    x = normal(5, width, dtype=dtype, generator=generator)
    delta = normal(5, width, dtype=dtype, generator=generator)
    both = normal(2 * inner, width, dtype=dtype, generator=generator) * width**-0.5
    down = normal(width, inner, dtype=dtype, generator=generator) * inner**-0.5
    gated = normal(1, inner, dtype=dtype, generator=generator)
    results: list[list[Tensor]] = []
    for kernels in (triton_kernels, plain_kernels):
        changed, row = x.clone(), x[:1].clone()
        kernels.multiply_and_add(gated, down, row)
        results.append(
            [
                kernels.add_and_normalize(changed, delta, norm, epsilon=1e-5),
                changed,
                row,
                kernels.gate(both),
                kernels.normalize_and_multiply(x[:1], norm, both, epsilon=1e-5),
                kernels.normalize_and_gate(x[:1], norm, both, epsilon=1e-5),
            ]
        )
    for found, expected in zip(*results, strict=True):
        assert difference(found, expected) < tolerance(dtype)


@pytest.mark.parametrize(
    ("vocabulary", "dtype"),
    [(61, torch.float32), (8192, torch.float32), (32000, torch.bfloat16), (128256, torch.bfloat16)],
)
def test_tokens_drawn_by_the_kernel_are_those_of_the_sampler(
    vocabulary: int, dtype: torch.dtype
) -> None:
    device = torch.device("cuda")
    top_ks, top_ps, min_ps = (0, 1, 2, 5, 50, vocabulary), (1.0, 0.9, 1e-9), (0.0, 0.05)
    rows = [
        DrawnRow(
            token_id=1,
            start=4,
            last=8,
            block_ids=[0],
            temperature=(0.3, 1.0, 2.5)[number % 3],
            top_k=top_ks[number % 6],
            top_p=top_ps[number // 6 % 3],
            min_p=min_ps[number // 18],
            seed=(number, 2**64 - 1 - number)[number % 2],
            sample=number % 4,
        )
        for number in range(36)
    ]
    for trial in range(6):
        generator = torch.Generator("cuda").manual_seed(trial)
        logits = torch.randn(len(rows) + 1, vocabulary, device="cuda", generator=generator)
        logits *= (0.5, 2.0, 8.0)[trial % 3]
        if trial % 2:
            logits = (logits * 2).round() / 2  # ties
        logits = logits.to(dtype)
        logits[0, 3], logits[1, :7] = float("nan"), float("-inf")
        drawn: list[list[int]] = []
        for kernels in (triton_kernels, plain_kernels):
            state = RowState(
                num_rows=len(rows) + 1,
                num_table_blocks=4 * len(rows),
                num_blocks=1,
                block_tokens=BLOCK_TOKENS,
                device=device,
            )
            state.fill(rows)
            ids = torch.full((len(rows) + 1,), -7, dtype=torch.int32, device="cuda")
            scratch = kernels.draw_scratch(len(rows) + 1, vocabulary, device=device)
            kernels.draw(logits, scratch, state, ids)
            drawn.append([*ids.tolist(), *state.positions_N.tolist(), *state.lasts_N.tolist()])
        assert drawn[0] == drawn[1]
        assert drawn[0][0] == FAILED
        assert drawn[0][len(rows)] == NOT_COMPUTED
