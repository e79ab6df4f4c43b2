"""The corpus as token ids on disk, and the batches drawn from it.

A batch is a pure function of (seed, step): a resumed run continues the data order where it
stopped, and every process of a parallel run takes its own rows of the same batch.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from model.durable_files import make_directories, replace_file
from model.tokenizer import Tokenizer
from training.corpus import Corpus
from training.encoding import encode_documents, token_dtype

__all__ = [
    "DatasetError",
    "TokenFiles",
    "TrainingWindows",
    "held_out_windows",
    "open_token_files",
    "write_token_files",
]

_INDEX_FILE = "tokens.json"
Split = Literal["train", "held_out"]


class DatasetError(ValueError):
    """The tokenised corpus cannot be used: too small, damaged or of another corpus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFiles:
    """The two sides of a tokenised corpus, memory-mapped.

    Attributes:
        train: Ids of the training side; every document ends with end-of-text.
        held_out: Ids of the held-out side.
        held_out_bytes: UTF-8 bytes of the text that ``held_out`` stands for.
        train_bytes: The same of ``train``.
    """

    train: NDArray[np.integer]
    held_out: NDArray[np.integer]
    train_bytes: int
    held_out_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    corpus_sha256: str
    tokenizer_sha256: str
    dtype: str
    num_train_tokens: int
    num_held_out_tokens: int
    train_bytes: int
    held_out_bytes: int


def write_token_files(
    corpus: Corpus,
    tokenizer: Tokenizer,
    directory: Path,
    *,
    tokenizer_sha256: str,
    advance: Callable[[int], None],
) -> TokenFiles:
    """Tokenise both sides of a corpus into ``directory``, or open them if that was done before.

    Args:
        corpus: The text.
        tokenizer: Turns it into ids.
        directory: Made when it is missing; holds one file a side and an index that is written last.
        tokenizer_sha256: Identity of the tokenizer's file.
        advance: Told the number of bytes of text done since its last call.

    Raises:
        OSError: The disk refused it.
        CorpusError: A source changed meanwhile.
    """
    wanted = (corpus.statistics.sha256, tokenizer_sha256)
    index = _read_index(directory / _INDEX_FILE)
    if index is None or (index.corpus_sha256, index.tokenizer_sha256) != wanted:
        make_directories(directory)
        (directory / _INDEX_FILE).unlink(missing_ok=True)
        counts = {
            split: _write_side(corpus, tokenizer, directory / f"{split}.bin", split, advance)
            for split in ("train", "held_out")
        }
        index = _Index(
            corpus_sha256=wanted[0],
            tokenizer_sha256=wanted[1],
            dtype=np.dtype(token_dtype(tokenizer.vocab_size)).name,
            num_train_tokens=counts["train"],
            num_held_out_tokens=counts["held_out"],
            train_bytes=corpus.statistics.train_bytes,
            held_out_bytes=corpus.statistics.held_out_bytes,
        )
        replace_file(directory / _INDEX_FILE, json.dumps(asdict(index)).encode())
    return open_token_files(directory)[0]


def open_token_files(directory: Path) -> tuple[TokenFiles, str]:
    """Open what ``write_token_files`` wrote; the sha256 of the corpus stands beside it.

    Raises:
        DatasetError: There is nothing, or a file has not the size that the index names.
    """
    index = _read_index(directory / _INDEX_FILE)
    if index is None:
        raise DatasetError(f"{directory}: holds no tokenised corpus")
    files = TokenFiles(
        train=_map(directory / "train.bin", index.dtype, index.num_train_tokens),
        held_out=_map(directory / "held_out.bin", index.dtype, index.num_held_out_tokens),
        train_bytes=index.train_bytes,
        held_out_bytes=index.held_out_bytes,
    )
    return files, index.corpus_sha256


def _write_side(
    corpus: Corpus, tokenizer: Tokenizer, path: Path, split: Split, advance: Callable[[int], None]
) -> int:
    num_tokens = 0
    total_bytes = (
        corpus.statistics.train_bytes if split == "train" else corpus.statistics.held_out_bytes
    )
    shown_bytes = 0
    with path.open("wb") as file:
        for ids in encode_documents(tokenizer, corpus.documents(split)):
            file.write(ids.tobytes())
            num_tokens += ids.size
            # The bytes of a document are not at hand any more; ids are a fair measure of them.
            done = min(total_bytes, 3 * num_tokens)
            advance(done - shown_bytes)
            shown_bytes = done
    advance(total_bytes - shown_bytes)
    return num_tokens


def _read_index(path: Path) -> _Index | None:
    try:
        return _Index(**cast("dict[str, object]", json.loads(path.read_text("utf-8"))))  # pyright: ignore[reportArgumentType]
    except (OSError, ValueError, TypeError):
        return None


def _map(path: Path, dtype: str, num_tokens: int) -> NDArray[np.integer]:
    if num_tokens == 0:
        return np.zeros(0, dtype=dtype)
    if path.stat().st_size != num_tokens * np.dtype(dtype).itemsize:
        raise DatasetError(f"{path}: has not the size that its index names; delete its folder")
    return np.memmap(path, dtype=dtype, mode="r", shape=(num_tokens,))


class TrainingWindows:
    """Batches of windows of ``context_length + 1`` tokens, every window once an epoch.

    Each epoch cuts the text at another phase and visits the windows in another order, both drawn
    from (seed, epoch), so that a boundary between windows is never the same twice.

    Args:
        tokens: The training side.
        context_length: Tokens that the model sees; the window has one more, its last target.
        batch_size: Windows in a batch, of all processes together.
        seed: Of phases and orders.

    Raises:
        DatasetError: The text is shorter than one window.
    """

    def __init__(
        self, tokens: NDArray[np.integer], *, context_length: int, batch_size: int, seed: int
    ) -> None:
        # One window is given up to the phase.
        self.num_windows = (tokens.size - 1) // context_length - 1
        if self.num_windows < 1:
            raise DatasetError(
                f"the training text has {tokens.size} tokens, but model.context_length = "
                f"{context_length} needs at least {2 * context_length + 1}"
            )
        self._tokens = tokens
        self._context_length = context_length
        self._batch_size = batch_size
        self._seed = seed
        self._epoch_starts = lru_cache(maxsize=2)(self._draw_epoch)

    @property
    def tokens_per_step(self) -> int:
        """Targets of a batch."""
        return self._batch_size * self._context_length

    @property
    def steps_per_epoch(self) -> float:
        """Updates that show every window once."""
        return self.num_windows / self._batch_size

    def batch(self, step: int, *, rank: int = 0, num_processes: int = 1) -> NDArray[np.int64]:
        """Windows [batch_size / num_processes, context_length + 1] of the update ``step``."""
        indices = range(
            step * self._batch_size + rank, (step + 1) * self._batch_size, num_processes
        )
        rows = [self._window(index) for index in indices]
        return np.stack(rows).astype(np.int64)

    def _window(self, index: int) -> NDArray[np.integer]:
        epoch, place = divmod(index, self.num_windows)
        start = int(self._epoch_starts(epoch)[place])
        return self._tokens[start : start + self._context_length + 1]

    def _draw_epoch(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
        phase = int(rng.integers(self._context_length))
        return rng.permutation(self.num_windows) * self._context_length + phase


def held_out_windows(
    tokens: NDArray[np.integer], *, context_length: int, first_id: int, max_tokens: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Cut a text into windows side by side in which every token is a target exactly once.

    Args:
        tokens: The held-out side.
        context_length: Targets in a window.
        first_id: Stands before the first token: end-of-text.
        max_tokens: About as many targets, in windows spread evenly; 0 takes all.

    Returns:
        Windows [N, context_length + 1], padded with ``first_id``, and a mask [N, context_length]
        that is true where the target is a token of the text.
    """
    num_windows = -(-tokens.size // context_length)
    chosen = np.arange(num_windows)
    if 0 < max_tokens < tokens.size:
        chosen = np.unique(
            np.linspace(0, num_windows - 1, max(1, max_tokens // context_length)).astype(np.int64)
        )
    padded = np.full(num_windows * context_length + 1, first_id, dtype=np.int64)
    padded[1 : tokens.size + 1] = tokens
    offsets = chosen[:, None] * context_length + np.arange(context_length + 1)
    is_target = offsets[:, 1:] <= tokens.size
    return padded[offsets], is_target
