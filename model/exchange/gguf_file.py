"""A GGUF file as values and tensors: read through the package ``gguf``, with its faults as ours.

Knows the container only, not what keys and tensors mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from gguf import GGUFEndian, GGUFReader, dequantize

from model.artifact_error import ArtifactError

__all__ = ["GgufFile", "GgufTensor", "read_gguf"]

_MAX_SHOWN = 120
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """One tensor, still as it lies in the file.

    Attributes:
        shape: As numpy has it, rows first.
        stored_as: Name of its type, such as ``F16`` or ``Q4_1``.
        values: Computes the values in float32; it raises `ArtifactError` where the package cannot.
    """

    shape: tuple[int, ...]
    stored_as: str
    values: Callable[[], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFile:
    """Content of a file.

    Attributes:
        path: Where it is, for messages.
        values: Everything that is no tensor, by key.
        tensors: By name, mapped into memory and not read yet.
    """

    path: Path
    values: Mapping[str, object]
    tensors: Mapping[str, GgufTensor]

    def text(self, key: str) -> str | None:
        """A text, None where the key is missing."""
        return self._typed(key, str, "a text")

    def integer(self, key: str) -> int | None:
        """A whole number, None where the key is missing."""
        return self._typed(key, int, "an integer")

    def number(self, key: str) -> float | None:
        """A number, None where the key is missing."""
        value = self._typed(key, float, "a number")
        # Files hold single precision: the shortest decimal that means it is what was meant.
        return None if value is None else float(str(np.float32(value)))

    def flag(self, key: str) -> bool | None:
        """True or false, None where the key is missing."""
        return self._typed(key, bool, "true or false")

    def texts(self, key: str) -> list[str] | None:
        """A list of texts, None where the key is missing."""
        return self._typed_list(key, str, "texts")

    def integers(self, key: str) -> list[int] | None:
        """A list of whole numbers, None where the key is missing."""
        return self._typed_list(key, int, "integers")

    def missing(self, key: str) -> ArtifactError:
        """The error for a key that must be there."""
        return ArtifactError(f"{self.path}: GGUF key {key} is missing")

    def refusal(self, key: str, why: str = "is not supported") -> ArtifactError:
        """The error for a value that cannot be taken over."""
        shown = ascii(self.values.get(key))
        shown = shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "..."
        return ArtifactError(f"{self.path}: GGUF key {key}={shown} {why}")

    def _typed(self, key: str, kind: type[_T], words: str) -> _T | None:
        value = self.values.get(key)
        if value is None or type(value) is kind:
            return value
        raise self.refusal(key, f"must be {words}")

    def _typed_list(self, key: str, kind: type[_T], words: str) -> list[_T] | None:
        value = self.values.get(key)
        if value is None:
            return None
        items = cast("list[object]", value) if isinstance(value, list) else [None]
        if not all(type(item) is kind for item in items):
            raise self.refusal(key, f"must be a list of {words}")
        return cast("list[_T]", items)


class _WholeReader(GGUFReader):
    """The package's reader, which would go on for ever behind the end of a file."""

    def _get(
        self,
        offset: int,
        dtype: npt.DTypeLike,
        count: int = 1,
        override_order: object = None,
    ) -> npt.NDArray[np.generic]:
        end = int(offset) + int(count) * np.dtype(dtype).itemsize
        if end > self.data.nbytes:
            raise ValueError("the file ends too early")
        return super()._get(offset, dtype, count, override_order)  # pyright: ignore


def read_gguf(path: Path) -> GgufFile:
    """Read the values of a file and find its tensors.

    Raises:
        ArtifactError: It is missing, damaged, a part of several files or of the other byte order.
    """
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    try:
        reader = _WholeReader(path)
        values = {name: cast("object", field.contents()) for name, field in reader.fields.items()}
        tensors = {
            tensor.name: GgufTensor(
                shape=tuple(int(size) for size in reversed(tensor.shape.tolist())),
                stored_as=tensor.tensor_type.name,
                values=_reading(path, tensor.name, tensor.data, tensor.tensor_type),
            )
            for tensor in reader.tensors
        }
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except Exception as error:
        # The package raises whatever numpy raises at the place where a file is damaged.
        reason = str(error).splitlines()[0][:_MAX_SHOWN] if str(error) else type(error).__name__
        raise ArtifactError(f"{path}: not a whole GGUF file: {reason}") from error
    if reader.endianess is not GGUFEndian.LITTLE:
        raise ArtifactError(f"{path}: a big-endian GGUF file is not supported")
    file = GgufFile(path=path, values=values, tensors=tensors)
    if (file.integer("split.count") or 0) > 1:
        raise file.refusal("split.count", "is not supported: join the parts with llama-gguf-split")
    return file


def _reading(
    path: Path, name: str, data: npt.NDArray[np.generic], kind: object
) -> Callable[[], npt.NDArray[np.float32]]:
    def values() -> npt.NDArray[np.float32]:
        try:
            found = dequantize(data, kind)  # pyright: ignore
        except Exception as error:
            raise ArtifactError(f"{path}: tensor {name} cannot be decoded: {error}") from error
        return np.ascontiguousarray(found, dtype=np.float32)

    return values
