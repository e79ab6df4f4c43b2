"""Reading JSON files that may come from anybody: bounded, strict, one clear error.

Torch-free. Duplicate keys, NaN and Infinity, deep nesting and non-objects are refused.
"""

import json
from pathlib import Path
from typing import NoReturn, cast

from model.artifact_error import ArtifactError

__all__ = ["MAX_JSON_BYTES", "parse_json_object", "read_json_object"]

MAX_JSON_BYTES = 64 << 20


def read_json_object(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> dict[str, object]:
    """Read a file that holds one JSON object.

    Args:
        path: The file, UTF-8.
        max_bytes: A larger file is refused before it is read.

    Raises:
        ArtifactError: Missing, unreadable, too large, or not one JSON object.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or 'cannot be read'}") from error
    if len(data) > max_bytes:
        raise ArtifactError(f"{path}: larger than {max_bytes} bytes")
    return parse_json_object(data, source=path)


def parse_json_object(data: bytes, *, source: Path) -> dict[str, object]:
    """Parse bytes as one JSON object; ``source`` is named in the error.

    Raises:
        ArtifactError: Not UTF-8, not JSON, a key twice, a number JSON has not, or no object.
    """
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
        )
    except RecursionError:
        raise ArtifactError(f"{source}: JSON nested too deeply") from None
    except _DuplicateKeyError:
        raise ArtifactError(f"{source}: a JSON key occurs twice") from None
    except ValueError:
        # The parser's own message may quote the file; ours does not.
        raise ArtifactError(f"{source}: not valid JSON") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{source}: must hold a JSON object")
    return cast("dict[str, object]", value)


class _DuplicateKeyError(ValueError):
    pass


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _DuplicateKeyError
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
