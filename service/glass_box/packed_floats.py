"""Numbers that cross borders as packed little-endian 32-bit floats."""

import sys
from array import array

__all__ = ["FLOAT_BYTES", "unpack_floats"]

FLOAT_BYTES = 4


def unpack_floats(data: bytes) -> "array[float]":
    """Numbers of packed little-endian f32."""
    values = array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values
