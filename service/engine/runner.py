"""Computes logits: the scheduler's chunks become tensors, the cache is written, rows come back.

Shape letters: B rows, T tokens of a row, V vocabulary.
"""

import json
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from model.kv_cache import KVCache
from model.transformer import Transformer
from service.engine.scheduler import Chunk

__all__ = ["Runner", "TokenRunner", "resolve_device", "resolve_dtype"]

# f32 products give a row the same bits for every batch size that is a multiple of this.
ROWS_MULTIPLE = 4


class TokenRunner(Protocol):
    """What the engine needs of whatever computes next-token logits."""

    def logits(self, chunks: list[Chunk]) -> dict[int, Tensor]:
        """Compute the chunks; logits [V] in f32 on the CPU by request id, for the last ones."""
        ...

    def clear_slot(self, slot: int) -> None:
        """Forget what a slot holds, NaN included."""
        ...


class Runner:
    """A transformer with its cache.

    Args:
        model: In evaluation mode, on its device.
        num_slots: Sequences at once.
        max_tokens: Longest sequence.
    """

    def __init__(self, model: Transformer, *, num_slots: int, max_tokens: int) -> None:
        self._model = model
        weight = model.output_weight
        self._device = weight.device
        # One slot more takes the rows that only fill a batch up to a round size.
        self._padding_slot = num_slots
        self._cache = KVCache(
            model.config,
            num_slots=num_slots + 1,
            max_tokens=max_tokens,
            dtype=weight.dtype,
            device=weight.device,
        )

    @property
    def kv_cache_bytes(self) -> int:
        """Memory of the cache."""
        tensors = (*self._cache.keys, *self._cache.values)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @torch.inference_mode()
    def logits(self, chunks: list[Chunk]) -> dict[int, Tensor]:
        """Compute the chunks; logits [V] in f32 on the CPU by request id, for the last ones.

        Sequences with one token to go form one batch; a longer piece of a prompt is computed by
        itself, since its length is its own.
        """
        singles = [chunk for chunk in chunks if chunk.num_tokens == 1]
        groups = [[chunk] for chunk in chunks if chunk.num_tokens > 1]
        if singles:
            groups.append(singles)
        logits: dict[int, Tensor] = {}
        for group in groups:
            rows_BV = self._forward(group)
            for row, chunk in enumerate(group):
                if chunk.is_last:
                    logits[chunk.sequence.request_id] = rows_BV[row]
        return logits

    @torch.inference_mode()
    def clear_slot(self, slot: int) -> None:
        """Write zeros over a slot: a masked NaN would still poison its next owner's sums."""
        for tensor in (*self._cache.keys, *self._cache.values):
            tensor[slot].zero_()

    def _forward(self, group: list[Chunk]) -> Tensor:
        """Logits [B, V] after the last token of each chunk of equal length."""
        tokens: list[list[int]] = []
        slots: list[int] = []
        starts: list[int] = []
        for chunk in group:
            assert chunk.sequence.slot is not None
            tokens.append(chunk.sequence.token_ids[chunk.start : chunk.start + chunk.num_tokens])
            slots.append(chunk.sequence.slot)
            starts.append(chunk.start)
        if group[0].num_tokens == 1:
            for _ in range(-len(group) % ROWS_MULTIPLE):
                tokens.append([0])
                slots.append(self._padding_slot)
                starts.append(0)
        logits_BTV = self._model(
            torch.tensor(tokens, device=self._device),
            kv_cache=self._cache,
            slots_B=torch.tensor(slots, device=self._device),
            start_positions_B=torch.tensor(starts, device=self._device),
        )
        return logits_BTV[:, -1].float().cpu()


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
