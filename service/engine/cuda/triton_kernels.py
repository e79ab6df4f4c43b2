"""All of `kernels.Kernels` in Triton; it can be imported where Triton is."""

from service.engine.cuda.draw_kernel import draw, draw_scratch
from service.engine.cuda.layer_kernels import add_and_normalize, gate, rotate_and_store
from service.engine.cuda.prompt_attention import TILE_QUERIES, attend_prompts
from service.engine.cuda.single_attention import attend_single_tokens
from service.engine.cuda.skinny_kernels import (
    multiply_and_add,
    normalize_and_gate,
    normalize_and_multiply,
)

__all__ = [
    "TILE_QUERIES",
    "add_and_normalize",
    "attend_prompts",
    "attend_single_tokens",
    "draw",
    "draw_scratch",
    "gate",
    "multiply_and_add",
    "normalize_and_gate",
    "normalize_and_multiply",
    "rotate_and_store",
]
