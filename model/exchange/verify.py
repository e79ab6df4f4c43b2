"""The whole check of a model folder: everything a server looks at, and every byte of the weights.

Torch-free; one tensor is in memory at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.artifact import Artifact, read_artifact
from model.artifact_error import ArtifactError
from model.exchange.number_types import from_bytes
from model.ngram_description import DESCRIPTION_NAME, FOLDER_NAME, NgramError, read_description
from model.safetensors_header import TensorEntry, read_header
from model.tokenizer import Tokenizer, TokenizerError

__all__ = ["Verified", "verify_folder"]

_EMBEDDING, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
_PIECE_BYTES = 32 << 20
# Cut by every kind of tokenizer in a way of its own: digits, runs of spaces, contractions, marks.
_SAMPLE = "It's 1234.5 of them,  don't you\tthink?\n\n caf\u00e9 \u6f22\u5b57 \U0001f680"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A folder in which nothing was found wrong.

    Attributes:
        artifact: What it holds.
        tokenizer: Its tokenizer.
        has_manifest: Whether there were digests to compare with.
        is_lossless: Whether a text in several scripts comes back from its tokens as it was.
    """

    artifact: Artifact
    tokenizer: Tokenizer
    has_manifest: bool
    is_lossless: bool


def verify_folder(directory: Path) -> Verified:
    """Check a folder.

    Raises:
        ArtifactError: The first thing that is wrong with it.
    """
    artifact = read_artifact(directory, verify=True)
    try:
        tokenizer = Tokenizer.load(directory)
        ids = tokenizer.encode(_SAMPLE)
        is_lossless = tokenizer.decode(ids) == _SAMPLE
        if (directory / FOLDER_NAME / DESCRIPTION_NAME).exists():
            read_description(directory)
    except (TokenizerError, NgramError) as error:
        raise ArtifactError(str(error)) from error
    places = {
        name: (path, entry)
        for path in artifact.weight_files
        for name, entry in read_header(path).tensors.items()
    }
    for name, (path, entry) in places.items():
        for values in _pieces(path, entry):
            if not np.isfinite(values).all():
                raise ArtifactError(f"{path}: tensor {name} holds a value that is not finite")
    if artifact.config.tie_word_embeddings and _OUTPUT in places:
        pairs = zip(_pieces(*places[_EMBEDDING]), _pieces(*places[_OUTPUT]), strict=True)
        if not all(np.array_equal(one, other) for one, other in pairs):
            raise ArtifactError(
                f"{directory}: tensor {_OUTPUT} differs from {_EMBEDDING} although "
                "tie_word_embeddings is true"
            )
    return Verified(
        artifact=artifact,
        tokenizer=tokenizer,
        has_manifest=artifact.manifest is not None,
        is_lossless=is_lossless,
    )


def _pieces(path: Path, entry: TensorEntry) -> Iterator[npt.NDArray[np.float32]]:
    """The numbers of a tensor; pieces of two tensors of one shape hold equally many."""
    items = int(np.prod(entry.shape, dtype=np.int64))
    item_bytes = (entry.end - entry.start) // max(1, items)
    step = _PIECE_BYTES // 4
    try:
        with path.open("rb") as file:
            file.seek(entry.start)
            for first in range(0, items, step):
                data = file.read(min(step, items - first) * item_bytes)
                if len(data) < min(step, items - first) * item_bytes:
                    raise ArtifactError(f"{path}: truncated while it was read")
                yield from_bytes(data, entry.dtype)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror or 'cannot be read'}") from error
