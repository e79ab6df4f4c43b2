"""Tensors as the bytes that cross from an engine to the front."""

import torch
from torch import Tensor

__all__ = ["packed"]


def packed(values: Tensor) -> bytes:
    """All values in order as little-endian f32."""
    return values.to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes()
