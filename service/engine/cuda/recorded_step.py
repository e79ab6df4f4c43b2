"""A step of one token for each of N rows, recorded once for its shape and then repeated whole.

It computes logits, draws the rows' next tokens and moves the rows on to them, so that it can be
repeated for the tokens after those without the host. Shape letters: N rows, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from model.kv_cache import KVCache
from service.engine.cuda.kernels import Kernels
from service.engine.cuda.network import PackedNetwork
from service.engine.cuda.row_state import RowState
from service.engine.drawn_rows import DrawnRow

__all__ = ["RecordedStep", "Recorder", "cuda_graph_recorder"]

Recorder = Callable[[Callable[[], None]], Callable[[], None]]


def cuda_graph_recorder() -> Recorder:
    """What records all that a function starts on the CUDA device, and starts it again as one."""
    # No two recordings run at once, so that all can work in the same memory.
    pool = torch.cuda.graph_pool_handle()

    def record(run: Callable[[], None]) -> Callable[[], None]:
        # What allocates, compiles or chooses at its first call must not do so in the recording.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            run()
        return graph.replay

    return record


class RecordedStep:
    """Up to ``num_rows`` rows, one token each and time.

    Args:
        network: Computes the logits.
        kernels: Attend and draw.
        kv_cache: It is written to.
        num_rows: Rows, used or not.
        context_tokens: Longest sequence.
        max_steps: Most repetitions of ``draw``.
        scratch: Of ``draw_scratch`` for at least so many rows, shared by all recordings.
        recorder: Makes the step repeatable.
    """

    def __init__(
        self,
        network: PackedNetwork,
        kernels: Kernels,
        kv_cache: KVCache,
        *,
        num_rows: int,
        context_tokens: int,
        max_steps: int,
        scratch: Tensor,
        recorder: Recorder,
    ) -> None:
        device = scratch.device
        blocks_per_row = -(-context_tokens // kv_cache.block_tokens)
        self._context_tokens = context_tokens
        self._state = RowState(
            num_rows=num_rows,
            num_table_blocks=num_rows * blocks_per_row,
            num_blocks=kv_cache.num_blocks,
            block_tokens=kv_cache.block_tokens,
            device=device,
        )
        self._state.fill([DrawnRow(token_id=0, start=0, last=-1, block_ids=[0])])
        self._logits_NV = torch.empty(0)
        self._num_drawn = 0
        self._drawn_N = torch.zeros(num_rows, dtype=torch.int32, device=device)
        is_cuda = device.type == "cuda"
        self._heard_SN = torch.zeros(max_steps, num_rows, dtype=torch.int32, pin_memory=is_cuda)
        self._events = [torch.cuda.Event() for _ in range(max_steps)] if is_cuda else []
        places = self._state.places

        def attend(qkv: Tensor, layer: int) -> Tensor:
            return kernels.attend_single_tokens(
                qkv, kv_cache.keys[layer], kv_cache.values[layer], places, max_keys=context_tokens
            )

        def run() -> None:
            self._logits_NV = network.next_logits(self._state.tokens_N, places, kv_cache, attend)
            kernels.draw(self._logits_NV, scratch[:num_rows], self._state, self._drawn_N)

        self._repeat = recorder(run)

    def logits(self, rows: Sequence[DrawnRow]) -> Tensor:
        """Logits [rows, V] in f32 after one token of each row.

        Raises:
            ValueError: A row is too long, or its table too short.
        """
        self._fill(rows)
        self._repeat()
        # A copy: the next step writes over the original.
        return self._logits_NV[: len(rows)].to(torch.float32, copy=True)

    def draw(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        """Start some steps; of each, when it is done, what was drawn for each row.

        Raises:
            ValueError: A row is too long, or its table too short.
        """
        self._fill(rows)
        self._num_drawn = len(rows)
        return self.draw_on(num_steps=num_steps)

    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        """The same for the rows of the last ``draw``, from where they are."""
        heard_SN = self._heard_SN[:, : self._num_drawn]
        for step in range(num_steps):
            self._repeat()
            heard_SN[step].copy_(self._drawn_N[: self._num_drawn], non_blocking=True)
            if self._events:
                self._events[step].record()
        return self._heard(heard_SN[:num_steps])

    def _heard(self, heard_SN: Tensor) -> Iterator[list[int]]:
        for step, heard_N in enumerate(heard_SN):
            if self._events:
                self._events[step].synchronize()
            yield cast("list[int]", heard_N.tolist())

    def _fill(self, rows: Sequence[DrawnRow]) -> None:
        longest = max(row.last for row in rows) + 1
        if longest > self._context_tokens:
            raise ValueError(f"a row has at most {self._context_tokens} tokens, got {longest}")
        self._state.fill(rows)
