"""Products of one row with a matrix, which take as long as reading the matrix takes.

One program reads one row of the matrix. What comes before and after a product goes along: the norm
of the input (its scale is a factor of the result), the gate, the sum with what the layer adds to.
Shape letters: C and I widths, O outputs.
"""
# Triton has no types, and a kernel is not Python: its arguments are pointers and constants.
# pyright: basic, reportMissingImports=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["multiply_and_add", "normalize_and_gate", "normalize_and_multiply"]

_COLUMNS = 2048


@triton.jit
def _multiply(
    x,
    norm,
    matrix,
    out,
    num_outputs,
    epsilon,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_NORM: tl.constexpr,
    IS_GATED: tl.constexpr,
    IS_ADDED: tl.constexpr,
):
    output = tl.program_id(0)
    columns = tl.arange(0, COLUMNS)
    sums = tl.zeros([COLUMNS], tl.float32)
    gated = tl.zeros([COLUMNS], tl.float32)
    squares = tl.zeros([COLUMNS], tl.float32)
    row = matrix + output.to(tl.int64) * WIDTH
    second_row = row + num_outputs.to(tl.int64) * WIDTH
    for first in range(0, WIDTH, COLUMNS):
        is_inside = first + columns < WIDTH
        weights = tl.load(row + first + columns, mask=is_inside, other=0.0).to(tl.float32)
        inputs = tl.load(x + first + columns, mask=is_inside, other=0.0).to(tl.float32)
        if HAS_NORM:
            squares += inputs * inputs
            factors = tl.load(norm + first + columns, mask=is_inside, other=0.0)
            inputs *= factors.to(tl.float32)
        sums += inputs * weights
        if IS_GATED:
            others = tl.load(second_row + first + columns, mask=is_inside, other=0.0)
            gated += inputs * others.to(tl.float32)
    result = tl.sum(sums, 0)
    if HAS_NORM:
        scale = 1.0 / tl.sqrt(tl.sum(squares, 0) / WIDTH + epsilon)
        result *= scale
        if IS_GATED:
            result = result / (1.0 + tl.exp(-result)) * (tl.sum(gated, 0) * scale)
    if IS_ADDED:
        result += tl.load(out + output).to(tl.float32)
    tl.store(out + output, result)


def _start(
    x: Tensor,
    norm: Tensor | None,
    matrix: Tensor,
    out: Tensor,
    *,
    epsilon: float,
    is_gated: bool = False,
    is_added: bool = False,
) -> None:
    assert x.shape[0] == out.shape[0] == 1
    num_outputs, width = out.shape[1], x.shape[1]
    _multiply[(num_outputs,)](
        x,
        x if norm is None else norm,
        matrix,
        out,
        num_outputs,
        epsilon,
        WIDTH=width,
        COLUMNS=min(_COLUMNS, triton.next_power_of_2(width)),
        HAS_NORM=norm is not None,
        IS_GATED=is_gated,
        IS_ADDED=is_added,
        num_warps=4 if width > 1024 else 2,
    )


def normalize_and_multiply(
    x_1C: Tensor, norm_C: Tensor, matrix_OC: Tensor, *, epsilon: float
) -> Tensor:
    """Products [1, O] of the root-mean-square norm of ``x_1C``."""
    out_1O = torch.empty(1, matrix_OC.shape[0], dtype=x_1C.dtype, device=x_1C.device)
    _start(x_1C, norm_C, matrix_OC, out_1O, epsilon=epsilon)
    return out_1O


def normalize_and_gate(x_1C: Tensor, norm_C: Tensor, both: Tensor, *, epsilon: float) -> Tensor:
    """``silu(first) * second`` [1, I] of the norm's products with the halves of [2 I, C]."""
    out_1I = torch.empty(1, both.shape[0] // 2, dtype=x_1C.dtype, device=x_1C.device)
    _start(x_1C, norm_C, both, out_1I, epsilon=epsilon, is_gated=True)
    return out_1I


def multiply_and_add(input_1I: Tensor, matrix_CI: Tensor, x_1C: Tensor) -> None:
    """Add the products of ``input_1I`` to ``x_1C`` in place."""
    _start(input_1I, None, matrix_CI, x_1C, epsilon=0.0, is_added=True)
