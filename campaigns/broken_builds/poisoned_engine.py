"""The real engine process, in which some requests are poisoned; `poisons` says which."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TypeAlias

import torch

from campaigns.broken_builds.poisons import CONTROL_VARIABLE, NUM_TOKENS_BEFORE, Poison
from campaigns.broken_builds.sampler_in_torch import draw_steps_in_torch
from model.transformer import rotation_tables
from model.weight_files import expected_tensors
from service.engine import guarded_compute, sampler
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.packed_network import PackedNetwork
from service.engine.drawn_rows import DrawnRow
from service.engine.eager_executor import EagerExecutor
from service.engine.executor import ChunkInput, ComputedStep
from service.engine.request import Sequence as TokenSequence
from service.engine.step_plan import Chunk
from service.engine_link import engine_start

Poisonable: TypeAlias = EagerExecutor | CpuExecutor

_KERNELS_COMPUTE = CpuExecutor.compute
_SEEDS = frozenset(Poison)


class PoisonedComputing:
    """Stands between the engine and its executor, and between the sampler and its numbers."""

    def __init__(self) -> None:
        self._spreads = CONTROL_VARIABLE in os.environ
        self._is_device_lost = False
        # The executor is not told whose chunks it computes.
        self._sequences: dict[int, TokenSequence] = {}
        # Nor is it told whose tokens it draws ahead, but for the seed.
        self._sequence_of_seed: dict[int, TokenSequence] = {}
        self._rows: Sequence[DrawnRow] = ()
        self._failed_ahead: TokenSequence | None = None
        self._chunk_input = guarded_compute._chunk_input  # pyright: ignore[reportPrivateUsage]
        self._random_words = sampler.random_words

    def install(self) -> None:
        """Take the places of the real ones."""
        guarded_compute._chunk_input = self.chunk_input  # pyright: ignore[reportPrivateUsage]
        outer, eagerly, by_kernels = self, EagerExecutor.compute, CpuExecutor.compute

        @torch.inference_mode()
        def compute_eagerly(self: EagerExecutor, chunks: Sequence[ChunkInput]) -> ComputedStep:
            return outer.compute(self, chunks, partial(eagerly, self))

        def compute_by_kernels(self: CpuExecutor, chunks: Sequence[ChunkInput]) -> ComputedStep:
            return outer.compute(self, chunks, partial(by_kernels, self))

        EagerExecutor.compute = compute_eagerly
        CpuExecutor.compute = compute_by_kernels
        self._install_ahead()
        draw_steps_in_torch()
        sampler.random_words = self.random_words

    def _install_ahead(self) -> None:
        outer, start, go_on = self, CpuExecutor.draw_ahead, CpuExecutor.draw_on

        def draw_ahead(
            self: CpuExecutor, rows: Sequence[DrawnRow], *, num_steps: int
        ) -> Iterator[list[int]]:
            outer._rows = rows
            outer._poison_rows(self)
            return outer._told(start(self, rows, num_steps=num_steps))

        def draw_on(self: CpuExecutor, *, num_steps: int) -> Iterator[list[int]]:
            outer._poison_rows(self)
            return outer._told(go_on(self, num_steps=num_steps))

        CpuExecutor.draw_ahead = draw_ahead
        CpuExecutor.draw_on = draw_on

    def _due_rows(self, *poisons: Poison) -> list[DrawnRow]:
        return [
            row
            for row in self._rows
            if row.seed in poisons
            and _num_output(self._sequence_of_seed[row.seed]) >= NUM_TOKENS_BEFORE
        ]

    def _poison_rows(self, executor: CpuExecutor) -> None:
        due = self._due_rows(Poison.DECODE, Poison.AHEAD)
        compute = partial(_KERNELS_COMPUTE, executor)
        for row in self._rows if self._spreads and due else due:
            # What the run starts with it writes itself.
            before = ChunkInput(token_ids=[0], start=row.start - 1, block_ids=row.block_ids)
            _poison_cache(executor, before, compute)

    def _told(self, drawn: Iterator[list[int]]) -> Iterator[list[int]]:
        due = bool(self._due_rows(Poison.RUN))
        # Only now does anybody ask for tokens.
        if due:
            self._failed_ahead = self._sequence_of_seed[Poison.RUN]
            raise RuntimeError("a run ahead failed")
        yield from drawn

    def chunk_input(self, chunk: Chunk) -> ChunkInput:
        """The real input of a chunk, with a note of whose it is."""
        made = self._chunk_input(chunk)
        self._sequences[id(made)] = chunk.sequence
        return made

    def compute(
        self,
        executor: Poisonable,
        chunks: Sequence[ChunkInput],
        compute: Callable[[Sequence[ChunkInput]], ComputedStep],
    ) -> ComputedStep:
        """The real step, with the numbers of poisoned sequences made unusable."""
        sequences = [self._sequences.pop(id(chunk), None) for chunk in chunks]
        seeds = [None if each is None else each.request.seed for each in sequences]
        self._is_device_lost = self._is_device_lost or Poison.DEVICE in seeds
        if self._is_device_lost:
            raise RuntimeError("the device is lost")
        for sequence in sequences:
            if sequence is not None and sequence.request.seed in _SEEDS:
                self._sequence_of_seed[sequence.request.seed] = sequence
        is_failed_ahead = any(each is self._failed_ahead for each in sequences if each is not None)
        if Poison.COMPUTE in seeds or is_failed_ahead:
            raise RuntimeError("one of them cannot be computed")
        step = compute(chunks)
        for place, sequence in enumerate(sequences):
            if sequence is not None and _is_due(sequence):
                rows = slice(None) if self._spreads else step.rows[place]
                step.logits_RV[rows] = torch.nan
                _poison_cache(executor, chunks[place], compute)
        return step

    def random_words(self, places: Sequence[tuple[int, int, int]]) -> list[int]:
        """The real numbers, unless a poisoned request is among those that draw."""
        if any(seed == Poison.SAMPLER for seed, _, _ in places):
            raise ValueError("one of them cannot be drawn")
        return self._random_words(places)


def _num_output(sequence: TokenSequence) -> int:
    return len(sequence.token_ids) - len(sequence.request.prompt_ids)


def _is_due(sequence: TokenSequence) -> bool:
    match sequence.request.seed:
        case Poison.PREFILL:
            return True
        case Poison.DECODE:
            return _num_output(sequence) >= NUM_TOKENS_BEFORE
        case _:
            return False


def _poison_cache(
    executor: Poisonable,
    chunk: ChunkInput,
    compute: Callable[[Sequence[ChunkInput]], ComputedStep],
) -> None:
    """What a network whose numbers are NaN would have written for the chunk's last token."""
    position = chunk.start + len(chunk.token_ids) - 1
    if isinstance(executor, CpuExecutor):
        executor.network, sound = _poisoned_network(executor.network), executor.network
        last = ChunkInput(token_ids=chunk.token_ids[-1:], start=position, block_ids=chunk.block_ids)
        compute([last])
        executor.network = sound
        return
    block, inside = divmod(position, executor.block_tokens)
    cache = executor.kv_cache
    place = chunk.block_ids[block] * executor.block_tokens + inside
    for tensor in (*cache.keys, *cache.values):
        tensor[:, place] = torch.nan


@cache
def _poisoned_network(sound: PackedNetwork) -> PackedNetwork:
    """A network of the same shape, all of whose weights are NaN."""
    poisoned = PackedNetwork(
        sound.config,
        weight_type=sound.weight_type,
        tables_PD=rotation_tables(sound.config),
        num_threads=1,
    )
    for name, shape in expected_tensors(sound.config).items():
        poisoned.load(name, torch.full(shape, torch.nan))
    return poisoned


if __name__ == "__main__":
    PoisonedComputing().install()
    sys.exit(engine_start.main())
