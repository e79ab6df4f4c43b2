"""Tensors of a checkpoint as one safetensors file: written in pieces, read one by one.

No pickle in either direction. Knows names, types and bytes, not what the tensors mean.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from model.safetensors_header import ITEM_BYTES, encode_header, read_header

__all__ = ["TensorFile", "TensorFileError", "check_tensors", "tensor_file_chunks"]

_DTYPE_NAMES: Mapping[torch.dtype, str] = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
}
_DTYPES: Mapping[str, torch.dtype] = {name: dtype for dtype, name in _DTYPE_NAMES.items()}


class TensorFileError(ValueError):
    """A tensor that cannot, or must not, be stored."""


class TensorFile(Mapping[str, Tensor]):
    """The tensors of a file by name; each access reads that one tensor, to CPU memory.

    Args:
        path: A safetensors file; its header is read and checked at once.

    Raises:
        ArtifactError: The file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = read_header(path).tensors

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        data = bytearray(entry.end - entry.start)
        with self._path.open("rb", buffering=0) as file:
            file.seek(entry.start)
            view = memoryview(data)
            while view:
                num_read = file.readinto(view)
                if not num_read:
                    raise OSError(f"{self._path}: truncated while it was read")
                view = view[num_read:]
        dtype = _DTYPES[entry.dtype]
        if not data:
            return torch.empty(entry.shape, dtype=dtype)
        return torch.frombuffer(data, dtype=dtype).reshape(entry.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def check_tensors(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that would spoil a checkpoint, before any file is touched.

    Raises:
        TensorFileError: A value is NaN or infinite, or the type is none that we store.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPE_NAMES or tensor.layout is not torch.strided:
            raise TensorFileError(f"tensor {name}: type {tensor.dtype} cannot be stored")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TensorFileError(f"tensor {name} holds NaN or Infinity")


def tensor_file_chunks(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of a safetensors file, header first, then one chunk per tensor.

    At most one tensor is copied at a time, so a model on a GPU needs no second copy in memory.

    Raises:
        ValueError: More tensors or longer names than a header may hold.
    """
    # Falling item size keeps every tensor aligned; the name makes equal content equal bytes.
    ordered = sorted(
        tensors.items(), key=lambda item: (-ITEM_BYTES[_DTYPE_NAMES[item[1].dtype]], item[0])
    )
    yield encode_header(
        (name, _DTYPE_NAMES[tensor.dtype], tuple(tensor.shape)) for name, tensor in ordered
    )
    for _, tensor in ordered:
        if math.prod(tensor.shape):
            flat = tensor.detach().to("cpu").contiguous().reshape(-1)
            yield flat.view(torch.uint8).numpy().data
