"""The three number types that weights are stored in, as numpy computes and bytes hold them.

numpy has no bfloat16: it is the upper half of a float32, rounded to the nearest, ties to even.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["CONFIG_NAMES", "SAFETENSORS_NAMES", "from_bytes", "to_array"]

# By the word of a command.
SAFETENSORS_NAMES: Mapping[str, str] = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
CONFIG_NAMES: Mapping[str, str] = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


def to_array(values: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[np.generic]:
    """The numbers in a type; bfloat16 as its 16 bits.

    Raises:
        ValueError: One is not finite, or not in this type.
    """
    if not np.isfinite(values).all():
        raise ValueError(f"a value is not finite in {dtype}")
    if dtype == "f32":
        return np.ascontiguousarray(values, dtype="<f4")
    if dtype == "f16":
        with np.errstate(over="ignore"):
            halves = np.ascontiguousarray(values).astype("<f2")
        if not np.isfinite(halves).all():
            raise ValueError("a value is not finite in f16")
        return halves
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    carried = bits + ((bits >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
    upper = (carried >> np.uint32(16)).astype("<u2")
    if ((upper & np.uint16(0x7F80)) == 0x7F80).any():
        raise ValueError("a value is not finite in bf16")
    return upper


def from_bytes(data: bytes, dtype: str) -> npt.NDArray[np.float32]:
    """The numbers of stored bytes.

    Args:
        data: Little-endian items.
        dtype: F32, F16 or BF16.
    """
    match dtype:
        case "F32":
            return np.frombuffer(data, "<f4")
        case "F16":
            return np.frombuffer(data, "<f2").astype(np.float32)
        case "BF16":
            return (np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
        case _:
            raise ValueError(f"weights are F32, F16 or BF16, got {dtype}")
