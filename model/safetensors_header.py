"""The safetensors container, header only: what is stored where, checked before anything is read.

Layout: 8 bytes little-endian header length, the header as JSON, then the tensors without gaps.
Torch-free; knows no model. Stricter than needed for loading: every byte must be accounted for.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from model.artifact_error import ArtifactError
from model.json_file import parse_json_object

__all__ = [
    "ITEM_BYTES",
    "MAX_HEADER_BYTES",
    "MAX_TENSORS",
    "SafetensorsHeader",
    "TensorEntry",
    "encode_header",
    "read_header",
]

MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 10_000
_MAX_DIMENSIONS = 16
_LENGTH = struct.Struct("<Q")

# Bytes of one item of each type that we read or write.
ITEM_BYTES: Mapping[str, int] = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Type, shape and place of one tensor; ``start`` and ``end`` count bytes of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """All tensors of one file, in the order in which they lie there."""

    path: Path
    tensors: Mapping[str, TensorEntry]


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check a file's header; the tensors' bytes are not touched.

    Raises:
        ArtifactError: The file is missing, truncated or longer than its header says, the header
            is too large or malformed, or tensors overlap, leave gaps or lie beyond the end.
    """
    try:
        with path.open("rb") as file:
            file_bytes = file.seek(0, 2)
            file.seek(0)
            prefix = file.read(_LENGTH.size)
            if len(prefix) < _LENGTH.size:
                raise ArtifactError(f"{path}: truncated, it ends before its header")
            header_bytes = cast("int", _LENGTH.unpack(prefix)[0])
            if header_bytes > MAX_HEADER_BYTES:
                raise ArtifactError(
                    f"{path}: header of {header_bytes} bytes, the limit is {MAX_HEADER_BYTES}"
                )
            data_start = _LENGTH.size + header_bytes
            if data_start > file_bytes:
                raise ArtifactError(f"{path}: truncated, it ends inside its header")
            raw = file.read(header_bytes)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or 'cannot be read'}") from error
    if not raw.startswith(b"{"):
        raise ArtifactError(f"{path}: not a safetensors file")
    values = parse_json_object(raw, source=path)
    metadata = values.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ArtifactError(f"{path}: the header's metadata is not an object")
    if len(values) > MAX_TENSORS:
        raise ArtifactError(f"{path}: {len(values)} tensors, the limit is {MAX_TENSORS}")
    entries = [(name, _entry(path, value, data_start)) for name, value in values.items()]
    entries.sort(key=lambda item: (item[1].start, item[1].end))
    end = data_start
    for _, entry in entries:
        if entry.start != end:
            problem = "overlap" if entry.start < end else "leave a gap"
            raise ArtifactError(f"{path}: tensors {problem} at byte {entry.start}")
        end = entry.end
    if end > file_bytes:
        raise ArtifactError(f"{path}: truncated, {file_bytes} bytes of {end}")
    if end < file_bytes:
        raise ArtifactError(f"{path}: {file_bytes - end} bytes beyond its last tensor")
    return SafetensorsHeader(path, dict(entries))


def encode_header(
    tensors: Iterable[tuple[str, str, tuple[int, ...]]],
    *,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Length and header of a file that holds these (name, type, shape) one after the other.

    The result's length is a multiple of 8, so that tensors ordered by falling item size are
    aligned when the file is mapped.

    Raises:
        ValueError: Two tensors of one name, an unknown type, or more than the limits allow.
    """
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, dtype, shape in tensors:
        if name in header or name == "__metadata__":
            raise ValueError(f"tensor name {name!r} cannot be used twice or is reserved")
        if dtype not in ITEM_BYTES:
            raise ValueError(f"tensor {name!r} has the unknown type {dtype!r}")
        start, end = end, end + math.prod(shape) * ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    if len(header) - ("__metadata__" in header) > MAX_TENSORS:
        raise ValueError(f"{len(header)} tensors, the limit is {MAX_TENSORS}")
    raw = json.dumps(header, separators=(",", ":")).encode("utf-8")
    raw += b" " * (-len(raw) % 8)
    if len(raw) > MAX_HEADER_BYTES:
        raise ValueError(f"header of {len(raw)} bytes, the limit is {MAX_HEADER_BYTES}")
    return _LENGTH.pack(len(raw)) + raw


def _entry(path: Path, value: object, data_start: int) -> TensorEntry:
    malformed = ArtifactError(f"{path}: the header describes a tensor wrongly")
    if not isinstance(value, dict):
        raise malformed
    fields = cast("dict[str, object]", value)
    if set(fields) != {"dtype", "shape", "data_offsets"}:
        raise malformed
    dtype = fields["dtype"]
    shape = _sizes(fields["shape"])
    offsets = _sizes(fields["data_offsets"])
    if shape is None or len(shape) > _MAX_DIMENSIONS or offsets is None or len(offsets) != 2:
        raise malformed
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ArtifactError(f"{path}: a tensor has a type that is not supported")
    start, end = offsets
    if end - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ArtifactError(f"{path}: a tensor's place does not fit its type and shape")
    return TensorEntry(dtype, shape, data_start + start, data_start + end)


def _sizes(value: object) -> tuple[int, ...] | None:
    """A JSON list of sizes below 2^63, or None."""
    if not isinstance(value, list):
        return None
    sizes: list[int] = []
    for item in cast("list[object]", value):
        if not isinstance(item, int) or isinstance(item, bool) or not 0 <= item < 1 << 63:
            return None
        sizes.append(item)
    return tuple(sizes)
