"""The executor for CPUs: one call of the compiled kernels for each step.

Whatever shares a step with a token, its numbers are the same bits: deterministic mode is how these
kernels compute, and costs nothing. Shape letters as in `service/engine/executor.py`.
"""

import ctypes
import weakref
from array import array
from collections.abc import Iterator, Sequence
from ctypes import byref

import torch

from service.engine.cpu.drawn_steps import DrawnSteps
from service.engine.cpu.kernel_library import (
    Inspection,
    KernelError,
    StepInput,
    check_status,
    new_handle,
)
from service.engine.cpu.packed_network import NumberType, PackedNetwork
from service.engine.drawn_rows import DrawnRow
from service.engine.executor import (
    ChunkInput,
    ComputedStep,
    InspectedChunk,
    LogitsWanted,
)

__all__ = ["BLOCK_TOKENS", "CpuExecutor"]

# `NEXTWORD_BLOCK_TOKENS`.
BLOCK_TOKENS = 16


class CpuExecutor:
    """A packed network with its cache.

    Args:
        network: All its tensors are packed.
        num_blocks: Blocks of the cache.
        cache_type: Of keys and values: F32 or BF16.

    Raises:
        MemoryError: There is no room for the cache.
    """

    name = "cpu-kernels"
    block_tokens = BLOCK_TOKENS
    is_deterministic = True
    has_fixed_steps = False
    max_steps_ahead = 16
    seconds_ahead = 0.012
    least_prompt_tokens = 16
    draws_beside_prompts = False
    least_prompt_seconds = 0.02

    def __init__(self, network: PackedNetwork, *, num_blocks: int, cache_type: NumberType) -> None:
        self.network = network
        self.num_blocks = num_blocks
        self._library = library = network.kernels
        shape = byref(network.shape)
        self.kv_cache_bytes: int = library.nextword_cache_bytes(shape, num_blocks, cache_type)
        self._cache = new_handle(
            library, "nextword_cache_create", network.handle, num_blocks, cache_type
        )
        self._drawn_steps = DrawnSteps(
            library,
            model=network.handle,
            cache=self._cache,
            vocab_size=network.config.vocab_size,
            block_tokens=BLOCK_TOKENS,
            num_positions=network.shape.num_positions,
        )
        # With the network, which must not go before the thread that computes it.
        weakref.finalize(self, _destroy, library, self._drawn_steps, self._cache, network)

    def compute(self, chunks: Sequence[ChunkInput]) -> ComputedStep:
        """Compute some chunks, at most one of each sequence, in one step.

        Raises:
            KernelError: A chunk does not fit its blocks or the model's context.
            MemoryError: There is no room for what is between the layers.
        """
        token_ids, sizes, starts = array("i"), array("i"), array("i")
        wanted = array("i")
        rows: list[slice] = []
        stride = 0
        for chunk in chunks:
            first = len(token_ids)
            token_ids.extend(chunk.token_ids)
            end = len(token_ids)
            sizes.append(end - first)
            starts.append(chunk.start)
            stride = max(stride, _num_blocks(chunk))
            num_before = len(wanted)
            if chunk.logits is LogitsWanted.LAST:
                wanted.append(end - 1)
            elif chunk.logits is LogitsWanted.ALL:
                wanted.extend(range(first, end))
            rows.append(slice(num_before, len(wanted)))
        tables = array("i")
        for chunk in chunks:
            own = array("i", chunk.block_ids[: _num_blocks(chunk)])
            tables.extend(own)
            # What lies beyond its tokens is not read.
            tables.frombytes(bytes(4 * (stride - len(own))))
        looks = [
            _Look(self.network, chunk, place)
            for place, chunk in enumerate(chunks)
            if chunk.is_inspected
        ]
        logits_RV = torch.empty((len(wanted), self.network.config.vocab_size))
        step = StepInput(
            num_chunks=len(chunks),
            table_stride=stride,
            token_ids=_address(token_ids),
            chunk_tokens=_address(sizes),
            chunk_starts=_address(starts),
            block_tables=_address(tables),
            num_logit_rows=len(wanted),
            num_inspections=len(looks),
            logit_tokens=_address(wanted),
            logits=logits_RV.data_ptr(),
            logits_stride=logits_RV.shape[1],
            inspections=(Inspection * len(looks))(*(look.inspection for look in looks)),
        )
        self._drawn_steps.stop()
        status = self._library.nextword_step(self.network.handle, self._cache, byref(step))
        check_status(self._library, status)
        return ComputedStep(
            logits_RV=logits_RV,
            rows=rows,
            inspected={look.inspection.chunk: look.seen for look in looks},
        )

    def draw_ahead(self, rows: Sequence[DrawnRow], *, num_steps: int) -> Iterator[list[int]]:
        """Start computing and drawing up to ``num_steps`` tokens of each row.

        Raises:
            KernelError: A row does not fit its blocks or the model's context.
            MemoryError: There is no room for what is between the layers.
        """
        return self._drawn_steps.start(rows, num_steps=num_steps)

    def draw_on(self, *, num_steps: int) -> Iterator[list[int]]:
        """Start some steps more for the rows of the last call, which go on where they are."""
        return self._drawn_steps.go_on(num_steps=num_steps)

    def end_runs_early_for(self, descriptor: int) -> None:
        """Cut such runs short as soon as something can be read from a descriptor."""
        self._drawn_steps.end_early_for(descriptor)

    def clear_blocks(self, block_ids: Sequence[int]) -> None:
        """Forget what some blocks hold, NaN included."""
        self._drawn_steps.stop()
        ids = array("i", block_ids)
        status = self._library.nextword_cache_clear(self._cache, _address(ids), len(ids))
        check_status(self._library, status)


def _destroy(
    library: ctypes.CDLL, drawn_steps: DrawnSteps, cache: ctypes.c_void_p, network: PackedNetwork
) -> None:
    drawn_steps.close()
    library.nextword_cache_destroy(cache)
    del network


class _Look:
    """Where the kernels write what is seen of one chunk."""

    def __init__(self, network: PackedNetwork, chunk: ChunkInput, place: int) -> None:
        config = network.config
        layers = chunk.attention_layers
        self._layers = array("i", range(config.num_hidden_layers) if layers is None else layers)
        num_new = len(chunk.token_ids)
        num_keys = chunk.start + num_new
        self.seen = InspectedChunk(
            hidden_states=torch.empty((config.num_hidden_layers + 1, num_new, config.hidden_size)),
            attention=torch.empty(
                (len(self._layers), config.num_attention_heads, num_new, num_keys)
            ),
        )
        self.inspection = Inspection(
            chunk=place,
            num_attention_layers=len(self._layers),
            attention_layers=_address(self._layers),
            hidden_states=self.seen.hidden_states.data_ptr(),
            attention=self.seen.attention.data_ptr() if self._layers else None,
        )


def _num_blocks(chunk: ChunkInput) -> int:
    """Blocks that a chunk's tokens reach to."""
    num_tokens = chunk.start + len(chunk.token_ids)
    num_blocks = -(-num_tokens // BLOCK_TOKENS)
    if num_blocks > len(chunk.block_ids):
        raise KernelError(f"{len(chunk.block_ids)} blocks do not hold {num_tokens} tokens")
    return num_blocks


def _address(numbers: "array[int]") -> int:
    return numbers.buffer_info()[0]
