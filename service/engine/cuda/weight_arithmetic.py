"""The integers of `weight_stages.py` on the device: a logit's weight, and where a number points."""
# Triton has no types, and a kernel is not Python: its arguments are pointers and constants.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import triton
import triton.language as tl

from service.engine.weight_stages import LARGEST_WEIGHT

__all__ = ["threshold_of", "weights_of"]

_LARGEST = tl.constexpr(LARGEST_WEIGHT)
# Adding this and taking it off again rounds a number below 2^51 to the nearest integer, half to
# even, as torch.round does.
_ROUNDER = tl.constexpr(6755399441055744.0)


@triton.jit
def weights_of(values, largest, temperature):
    """``exp((logit - largest) / temperature)`` in units of the largest weight, rounded."""
    scaled = tl.div_rn(values - largest, tl.zeros_like(values) + temperature)
    exact = tl.exp(scaled.to(tl.float64)) * _LARGEST
    return ((exact + _ROUNDER) - _ROUNDER).to(tl.int32)


@triton.jit
def threshold_of(total, word):
    """``total * word / 2^32``, rounded down; the product has up to 96 bits."""
    low = (total & 0xFFFFFFFF).to(tl.uint64) * word.to(tl.uint64)
    return (total >> 32) * word + (low >> 32).to(tl.int64)
