"""The kernels of the executor for GPUs once more in plain torch: slow, short and on any device.

Sizes and blocks of the executor are tried over these where there is no GPU; where there is one,
the real kernels are held against them.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from service.engine.cuda.row_state import RowState
from service.engine.cuda.token_places import PromptTiles, TokenPlaces
from service.engine.drawn_rows import FAILED, NOT_COMPUTED
from service.engine.messages import Submit
from service.engine.request import Sequence
from service.engine.sampler import Choice, sample

TILE_QUERIES = 8


class CountingRecorder:
    """Repeats by running again, and counts."""

    def __init__(self) -> None:
        self.num_recorded = 0
        self.num_repeated = 0

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        self.num_recorded += 1
        run()

        def repeat() -> None:
            self.num_repeated += 1
            run()

        return repeat


def add_and_normalize(
    x_TC: Tensor, delta_TC: Tensor | None, weight_C: Tensor, *, epsilon: float
) -> Tensor:
    if delta_TC is not None:
        x_TC += delta_TC
    return F.rms_norm(x_TC, (x_TC.shape[1],), weight_C, epsilon)


def gate(both: Tensor) -> Tensor:
    first, second = both.float().chunk(2, dim=1)
    return (F.silu(first) * second).to(both.dtype)


def rotate_and_store(
    qkv: Tensor,
    tables: tuple[Tensor, Tensor],
    places: TokenPlaces,
    keys_KPD: Tensor,
    values_KPD: Tensor,
) -> None:
    kv_heads, _, width = keys_KPD.shape
    heads_THD = qkv.view(qkv.shape[0], -1, width)
    turned = heads_THD.shape[1] - kv_heads
    lasts = integers(places.lasts_T)
    for token, position in enumerate(integers(places.positions_T)):
        if position > lasts[token]:
            continue
        cosine, sine = (table[position] for table in tables)
        first, second = heads_THD[token, :turned].float().chunk(2, dim=1)
        whole = torch.cat((first, second), 1) * cosine + torch.cat((-second, first), 1) * sine
        heads_THD[token, :turned] = whole.to(qkv.dtype)
        place = row_places(places, token)[position]
        keys_KPD[:, place] = heads_THD[token, turned - kv_heads : turned]
        values_KPD[:, place] = heads_THD[token, turned:]


def attend_single_tokens(
    qkv: Tensor, keys_KPD: Tensor, values_KPD: Tensor, places: TokenPlaces, *, max_keys: int
) -> Tensor:
    width = qkv.shape[1] - 2 * keys_KPD.shape[0] * keys_KPD.shape[2]
    out = torch.zeros(qkv.shape[0], width, dtype=qkv.dtype, device=qkv.device)
    for token, position in enumerate(integers(places.positions_T[: qkv.shape[0]])):
        if position <= places.lasts_T[token]:
            assert position < max_keys
            _attend(qkv, keys_KPD, values_KPD, places, token, out)
    return out


def attend_prompts(
    qkv: Tensor,
    keys_KPD: Tensor,
    values_KPD: Tensor,
    places: TokenPlaces,
    tiles: PromptTiles,
    out: Tensor,
) -> None:
    for first, count in zip(integers(tiles.firsts), integers(tiles.counts), strict=True):
        assert 0 <= count <= TILE_QUERIES
        for token in range(first, first + count):
            _attend(qkv, keys_KPD, values_KPD, places, token, out)


def normalize_and_multiply(
    x_1C: Tensor, norm_C: Tensor, matrix_OC: Tensor, *, epsilon: float
) -> Tensor:
    return F.linear(add_and_normalize(x_1C, None, norm_C, epsilon=epsilon), matrix_OC)


def normalize_and_gate(x_1C: Tensor, norm_C: Tensor, both: Tensor, *, epsilon: float) -> Tensor:
    return gate(normalize_and_multiply(x_1C, norm_C, both, epsilon=epsilon))


def multiply_and_add(input_1I: Tensor, matrix_CI: Tensor, x_1C: Tensor) -> None:
    x_1C += F.linear(input_1I, matrix_CI)


def draw_scratch(num_rows: int, vocabulary: int, *, device: torch.device) -> Tensor:
    return torch.empty(num_rows, 0, device=device)


def draw(logits_NV: Tensor, scratch: Tensor, state: RowState, drawn_N: Tensor) -> None:
    assert scratch.shape[0] == logits_NV.shape[0]
    for row, logits_V in enumerate(logits_NV.float()):
        position = int(state.positions_N[row])
        if position > state.lasts_N[row]:
            drawn_N[row] = NOT_COMPUTED
            continue
        request = Submit(
            request_id=0,
            prompt_ids=[0] * (position + 1),
            max_tokens=1,
            temperature=float(state.temperatures_N[row]),
            top_k=int(state.top_ks_N[row]),
            top_p=float(state.top_ps_N[row]),
            min_p=float(state.min_ps_N[row]),
            seed=int(state.seeds_N[row]) % 2**64,
        )
        sequence = Sequence(request, choice=int(state.samples_N[row]))
        (choice,) = sample(logits_V[None], [sequence])
        if isinstance(choice, Choice):
            drawn_N[row] = state.tokens_N[row] = choice.token_id
            state.positions_N[row] += 1
        else:
            drawn_N[row] = FAILED
            state.lasts_N[row] = -1


def integers(tensor: Tensor) -> list[int]:
    return cast("list[int]", tensor.tolist())


def row_places(places: TokenPlaces, token: int) -> Tensor:
    """Places of the cache of the positions up to a token's own."""
    start, end = int(places.table_starts_T[token]), int(places.positions_T[token]) + 1
    positions = torch.arange(end, device=places.block_ids.device)
    blocks = places.block_ids.long()[start + positions // places.block_tokens]
    return blocks * places.block_tokens + positions % places.block_tokens


def _attend(
    qkv: Tensor,
    keys_KPD: Tensor,
    values_KPD: Tensor,
    places: TokenPlaces,
    token: int,
    out: Tensor,
) -> None:
    kv_heads, _, width = keys_KPD.shape
    heads = out.shape[1] // width
    seen = row_places(places, token)
    query_HD = qkv[token, : heads * width].view(heads, width).float()
    keys_HSD, values_HSD = (
        pool[:, seen].float().repeat_interleave(heads // kv_heads, 0)
        for pool in (keys_KPD, values_KPD)
    )
    weights_HS = (torch.einsum("hd,hsd->hs", query_HD, keys_HSD) * width**-0.5).softmax(1)
    out[token] = torch.einsum("hs,hsd->hd", weights_HS, values_HSD).flatten().to(out.dtype)
