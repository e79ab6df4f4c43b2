"""Attention of a mixed batch to a paged cache: pieces of prompts and single tokens in one call.

Shape letters as in ``transformer.py``; N new tokens of all rows one after another, J rows of one
job, M queries that share a key-value head, S keys in tiles.

A token's numbers are to depend on its own sequence only, bit by bit, however the sequence was cut
and whatever shares the batch. So the arithmetic of every product is the same for any such shapes:
queries in multiples of `query_multiple`, keys in whole tiles, and the weighted sum of the values
tile after tile. Keys beyond a row's own tokens are never multiplied: what they hold, NaN included,
is replaced before.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from model.kv_cache import CacheRow, KVCache

__all__ = ["KEY_TILE_TOKENS", "CachedBatch"]

KEY_TILE_TOKENS = 64
# A longer piece is cut: its earlier queries need fewer keys.
_MAX_JOB_QUERIES = 64
# Gathered keys of one job, per key-value head; bounds the memory a step takes.
_MAX_JOB_KEYS = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """Some consecutive new tokens of one row, with all they may attend to."""

    row: int
    first: int  # among the new tokens of all rows
    start: int  # position in the sequence
    num_tokens: int

    @property
    def num_keys(self) -> int:
        return self.start + self.num_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Queries of equal length and about as many keys, computed together."""

    queries: tuple[_Query, ...]
    num_tokens: int
    source_JT: Tensor  # which of the new tokens, repeated where padded
    target: Tensor  # the same without padding, flat
    blocks: Tensor  # [J * blocks], flat
    # What lies before is seen by all queries, and of the row, for all rows of the job.
    first_hidden: int
    first_foreign: int
    hidden_JTS: Tensor  # from first_hidden on, what a query must not see
    foreign_JS: Tensor  # from first_foreign on, keys that are not of the row
    num_keys: int


class CachedBatch:
    """New tokens of some rows, what they read and where they go.

    Args:
        kv_cache: It is written to.
        rows: One after another they are the N new tokens of the batch.
        num_padded: Length of the batch in tokens; what is beyond the rows is neither stored nor
            attended to, its output is 0.
        query_multiple: Queries of a product are filled up to a multiple of this.
        inspected_rows: Rows whose hidden states are kept, and of which layers the attention
            weights.

    Attributes:
        positions_N: Position of each token in its sequence, 0 for padding.
        num_keys: Tokens of the longest row.
        attention: Weights [layer, H, T, S] of each inspected row, its layers in the order given;
            filled in by ``attend``.
        hidden_states: Of each inspected row the embedding [T, C], what each layer but the last
            gives, and what the final norm gives; filled in by ``keep_hidden_states``.
    """

    def __init__(
        self,
        kv_cache: KVCache,
        rows: Sequence[CacheRow],
        *,
        num_padded: int | None = None,
        query_multiple: int = 1,
        inspected_rows: Mapping[int, Sequence[int]] | None = None,
    ) -> None:
        if KEY_TILE_TOKENS % kv_cache.block_tokens != 0:
            raise ValueError(
                f"block_tokens must divide {KEY_TILE_TOKENS}, got {kv_cache.block_tokens}"
            )
        self._kv_cache = kv_cache
        self._device = kv_cache.keys[0].device
        self.num_new = sum(row.num_new for row in rows)
        places = [place for row in rows for place in kv_cache.places(row)]
        positions = [row.start + place for row in rows for place in range(row.num_new)]
        positions += [0] * ((num_padded or 0) - len(positions))
        self._places_N = self._integers(places)
        self.positions_N = self._integers(positions)
        self.num_keys = max(row.start + row.num_new for row in rows)
        self._jobs = [
            self._job(queries, rows, query_multiple=query_multiple) for queries in _grouped(rows)
        ]
        self._layers = {row: list(layers) for row, layers in (inspected_rows or {}).items()}
        self._inspected = {row: rows[row] for row in self._layers}
        self._first = list(accumulate((row.num_new for row in rows), initial=0))
        self.attention: dict[int, Tensor] = {}
        self.hidden_states: dict[int, list[Tensor]] = {row: [] for row in self._layers}

    def attend(self, layer: int, q_HND: Tensor, k_KND: Tensor, v_KND: Tensor) -> Tensor:
        """Store the new tokens of one layer; what they attend to, [H, N, D]."""
        self._kv_cache.write(
            layer, self._places_N, k_KND[:, : self.num_new], v_KND[:, : self.num_new]
        )
        out_HND = torch.zeros_like(q_HND)
        for job in self._jobs:
            self._compute(layer, job, q_HND, out_HND)
        return out_HND

    def keep_hidden_states(self, hidden_NC: Tensor) -> None:
        """Remember the inspected rows of some hidden states."""
        for number, row in self._inspected.items():
            first = self._first[number]
            self.hidden_states[number].append(hidden_NC[first : first + row.num_new].clone())

    def _compute(self, layer: int, job: _Job, q_HND: Tensor, out_HND: Tensor) -> None:
        keys, values = self._kv_cache.keys[layer], self._kv_cache.values[layer]
        heads, kv_heads, width = q_HND.shape[0], keys.shape[0], q_HND.shape[2]
        num_rows, num_padded = job.source_JT.shape
        num_keys = job.num_keys
        shape = (kv_heads, heads // kv_heads, num_rows, num_padded)
        q_KJMD = q_HND[:, job.source_JT.flatten()].view(*shape, width).transpose(1, 2)
        q_XMD = q_KJMD.reshape(kv_heads * num_rows, -1, width)
        k_XSD = self._gather(keys, job).view(-1, num_keys, width)
        v_KJSD = self._gather(values, job).view(kv_heads, num_rows, num_keys, width)
        # The copy is ours. A weight of 0 would not do against a NaN.
        v_KJSD[:, :, job.first_foreign :].masked_fill_(job.foreign_JS[None, :, :, None], 0)
        v_XSD = v_KJSD.flatten(0, 1)
        scores_XMS = torch.bmm(q_XMD, k_XSD.transpose(1, 2)).mul_(width**-0.5)
        scores = scores_XMS.view(kv_heads, num_rows, -1, num_padded, num_keys)
        hidden = scores[..., job.first_hidden :]
        hidden.masked_fill_(job.hidden_JTS[None, :, None], float("-inf"))
        weights_XMS = scores_XMS.softmax(dim=-1, dtype=torch.float32)
        if self._inspected:
            self._keep(layer, job, weights_XMS.view(scores.shape))
        weights_XMS = weights_XMS.to(v_XSD.dtype)
        out_XMD = torch.zeros(q_XMD.shape, dtype=torch.float32, device=self._device)
        for tile in range(0, num_keys, KEY_TILE_TOKENS):
            part = slice(tile, tile + KEY_TILE_TOKENS)
            out_XMD += torch.bmm(weights_XMS[:, :, part], v_XSD[:, part])
        out = out_XMD.view(kv_heads, num_rows, -1, num_padded, width)[:, :, :, : job.num_tokens]
        out = out.transpose(1, 2).reshape(heads, -1, width)
        out_HND.index_copy_(1, job.target, out.to(out_HND.dtype))

    def _gather(self, pool_KPD: Tensor, job: _Job) -> Tensor:
        """Copies of the rows' blocks, [K, J * blocks, block_tokens, D]."""
        heads, _, width = pool_KPD.shape
        blocks = pool_KPD.view(heads, -1, self._kv_cache.block_tokens, width)
        return blocks.index_select(1, job.blocks)

    def _keep(self, layer: int, job: _Job, weights_KJGTS: Tensor) -> None:
        for place, query in enumerate(job.queries):
            row = self._inspected.get(query.row)
            if row is None:
                continue
            weights = weights_KJGTS[:, place, :, : query.num_tokens].flatten(0, 1)
            layers = self._layers[query.row]
            if query.row not in self.attention:
                shape = (len(layers), weights.shape[0], row.num_new, row.start + row.num_new)
                self.attention[query.row] = torch.zeros(shape, device=self._device)
            if layer in layers:
                first = query.start - row.start
                kept = self.attention[query.row][layers.index(layer)]
                kept[:, first : first + query.num_tokens, : query.num_keys] = weights[
                    :, :, : query.num_keys
                ]

    def _job(
        self, queries: Sequence[_Query], rows: Sequence[CacheRow], *, query_multiple: int
    ) -> _Job:
        num_tokens = queries[0].num_tokens
        num_padded = -(-num_tokens // query_multiple) * query_multiple
        num_keys = max(_whole_tiles(query.num_keys) for query in queries)
        num_blocks = num_keys // self._kv_cache.block_tokens
        blocks: list[int] = []
        for query in queries:
            own = list(rows[query.row].block_ids[:num_blocks])
            # Any block will do: what is beyond the row is replaced.
            blocks += own + own[:1] * (num_blocks - len(own))
        # Padding asks again what the last token asks.
        offsets = [min(token, num_tokens - 1) for token in range(num_padded)]
        source_JT = self._integers([[q.first + offset for offset in offsets] for q in queries])
        positions_JT = self._integers([[q.start + offset for offset in offsets] for q in queries])
        keys_S = torch.arange(num_keys, device=self._device)
        first_hidden = 1 + min(query.start for query in queries)
        first_foreign = min(query.num_keys for query in queries)
        lengths_J = self._integers([query.num_keys for query in queries])
        return _Job(
            queries=tuple(queries),
            num_tokens=num_tokens,
            source_JT=source_JT,
            target=source_JT[:, :num_tokens].flatten(),
            blocks=self._integers(blocks),
            first_hidden=first_hidden,
            first_foreign=first_foreign,
            hidden_JTS=keys_S[first_hidden:] > positions_JT[:, :, None],
            foreign_JS=keys_S[first_foreign:] >= lengths_J[:, None],
            num_keys=num_keys,
        )

    def _integers(self, values: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)


def _grouped(rows: Sequence[CacheRow]) -> Iterator[list[_Query]]:
    """What can be computed together: as many tokens, and tiles of keys up to a power of two."""
    groups: defaultdict[tuple[int, int], list[_Query]] = defaultdict(list)
    first = 0
    for number, row in enumerate(rows):
        for offset in range(0, row.num_new, _MAX_JOB_QUERIES):
            query = _Query(
                row=number,
                first=first + offset,
                start=row.start + offset,
                num_tokens=min(_MAX_JOB_QUERIES, row.num_new - offset),
            )
            num_tiles = _whole_tiles(query.num_keys) // KEY_TILE_TOKENS
            groups[query.num_tokens, (num_tiles - 1).bit_length()].append(query)
        first += row.num_new
    for queries in groups.values():
        longest = max(_whole_tiles(query.num_keys) for query in queries)
        size = max(1, _MAX_JOB_KEYS // longest)
        for place in range(0, len(queries), size):
            yield queries[place : place + size]


def _whole_tiles(num_keys: int) -> int:
    return -(-num_keys // KEY_TILE_TOKENS) * KEY_TILE_TOKENS
