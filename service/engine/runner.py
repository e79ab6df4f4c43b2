"""Computes logits: the scheduler's chunks become tensors, the cache is written, rows come back.

Shape letters: B rows, T tokens of a row, V vocabulary.
"""

import json
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model.transformer import Transformer
from service.engine.eager_executor import DEFAULT_BLOCK_TOKENS, EagerExecutor
from service.engine.executor import ChunkInput, LogitsWanted
from service.engine.scheduler import Chunk

__all__ = ["Runner", "TokenRunner", "resolve_device", "resolve_dtype"]


class TokenRunner(Protocol):
    """What the engine needs of whatever computes next-token logits."""

    def logits(self, chunks: list[Chunk]) -> dict[int, Tensor]:
        """Compute the chunks; logits [V] in f32 on the CPU by request id, for the last ones."""
        ...

    def clear_slot(self, slot: int) -> None:
        """Forget what a slot holds, NaN included."""
        ...


class Runner:
    """An executor of which each slot owns as many blocks as the longest sequence needs.

    Args:
        model: In evaluation mode, on its device.
        num_slots: Sequences at once.
        max_tokens: Longest sequence.
    """

    def __init__(self, model: Transformer, *, num_slots: int, max_tokens: int) -> None:
        self._blocks_per_slot = -(-max_tokens // DEFAULT_BLOCK_TOKENS)
        self._executor = EagerExecutor(model, num_blocks=num_slots * self._blocks_per_slot)

    @property
    def kv_cache_bytes(self) -> int:
        """Memory of the cache."""
        return self._executor.kv_cache_bytes

    def logits(self, chunks: list[Chunk]) -> dict[int, Tensor]:
        """Compute the chunks; logits [V] in f32 on the CPU by request id, for the last ones."""
        computed = self._executor.compute([self._input(chunk) for chunk in chunks])
        logits_RV = computed.logits_RV.cpu()
        return {
            chunk.sequence.request_id: logits_RV[rows][0]
            for chunk, rows in zip(chunks, computed.rows, strict=True)
            if chunk.is_last
        }

    def clear_slot(self, slot: int) -> None:
        """Write zeros over a slot."""
        self._executor.clear_blocks(self._blocks(slot))

    def _blocks(self, slot: int) -> range:
        return range(slot * self._blocks_per_slot, (slot + 1) * self._blocks_per_slot)

    def _input(self, chunk: Chunk) -> ChunkInput:
        assert chunk.sequence.slot is not None
        return ChunkInput(
            token_ids=chunk.sequence.token_ids[chunk.start : chunk.start + chunk.num_tokens],
            start=chunk.start,
            block_ids=self._blocks(chunk.sequence.slot),
            logits=LogitsWanted.LAST if chunk.is_last else LogitsWanted.NONE,
        )


def resolve_device(name: str) -> torch.device:
    """The device of a setting; "auto" takes a CUDA device when torch can use one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device, directory: Path) -> torch.dtype | None:
    """The number type of a setting; None is the folder's own.

    "auto" keeps what the folder stores, except on a processor that would only emulate it.
    """
    match name:
        case "f32":
            return torch.float32
        case "bf16":
            return torch.bfloat16
        case "auto":
            if device.type != "cpu" or (_has_fast_bf16() and not _stores_float16(directory)):
                return None
            return torch.float32
        case _:
            raise ValueError(f"dtype must be auto, f32 or bf16, got {name}")


def _has_fast_bf16() -> bool:
    # Linux names the processor's abilities here; elsewhere f32 is the safe choice.
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(word in flags.read_text() for word in (" avx512_bf16", " bf16"))


def _stores_float16(directory: Path) -> bool:
    config = json.loads((directory / "config.json").read_text("utf-8"))
    return "float16" in (config.get("dtype"), config.get("torch_dtype"))
