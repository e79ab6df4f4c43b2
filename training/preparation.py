"""From a corpus to what a trainer needs: tokenizer, token files and the n-gram to beat.

Only the first of several processes prepares; the others open what it left in the run's folder.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from model.durable_files import discard_directory, make_directories
from model.tokenizer import Tokenizer
from training.config import ConfigurationError, NgramSettings, TrainingConfig
from training.corpus import Corpus
from training.dataset import TokenFiles, open_token_files, write_token_files
from training.derive import vocabulary_size
from training.ngram.training import TrainedNgram, evaluate_ngram, train_ngram
from training.progress import Progress
from training.run_log.facts import JsonValue
from training.tokenizer_training import save_tokenizer, train_tokenizer

__all__ = ["Prepared", "discard_preparation", "ngram_baseline", "prepare", "reopen"]

_TOKENIZER_FOLDER = "tokenizer"
_TOKENS_FOLDER = "tokens"
_EXAMPLE_TOKENS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A corpus ready for training.

    Attributes:
        backend: The tokenizer as the tokenizers library has it, to be saved.
        tokenizer: The same, as the project uses it.
        tokenizer_sha256: Of its file.
        files: The tokenised text.
        corpus_sha256: Of the cleaned text.
    """

    backend: tokenizers.Tokenizer
    tokenizer: Tokenizer
    tokenizer_sha256: str
    files: TokenFiles
    corpus_sha256: str

    @property
    def end_of_text_id(self) -> int:
        """The token that ends every document and stands before the first."""
        end = self.tokenizer.end_of_text_id
        if end is None:
            raise ConfigurationError("--init-from: the model's tokenizer has no end-of-text token")
        return end


def prepare(
    config: TrainingConfig,
    corpus: Corpus,
    run_path: Path,
    *,
    parent: Path | None,
    progress: Progress,
) -> Prepared:
    """Train or take over the tokenizer, and tokenise both sides of the corpus.

    Args:
        config: As the user gave it.
        corpus: The loaded text.
        run_path: Folder of the run; keeps the tokenizer and the tokens for a resume.
        parent: Artifact whose tokenizer is taken over; None trains one.
        progress: Shows what is done.

    Raises:
        ConfigurationError: The held-out side is empty.
        TokenizerError: The vocabulary cannot be had from this text.
        OSError: The disk refused it.
    """
    statistics = corpus.statistics
    path = _tokenizer_path(run_path, parent)
    if not path.is_file():
        with progress.task("training the tokenizer", total_bytes=statistics.train_bytes) as advance:
            backend = train_tokenizer(
                (_counted(document.text, advance) for document in corpus.documents("train")),
                kind=config.tokenizer.kind,
                vocab_size=vocabulary_size(config),
                announce=progress.announce,
                total_bytes=statistics.train_bytes,
            )
        make_directories(path.parent)
        save_tokenizer(backend, path.parent, context_length=config.model.context_length)
    tokenizer = Tokenizer.load(path.parent)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    total_bytes = statistics.train_bytes + statistics.held_out_bytes
    with progress.task("tokenizing", total_bytes=total_bytes) as advance:
        files = write_token_files(
            corpus, tokenizer, run_path / _TOKENS_FOLDER, tokenizer_sha256=digest, advance=advance
        )
    if files.held_out.size == 0:
        raise ConfigurationError(
            "corpus.held_out_fraction left nothing to hold out; the text is too short to measure on"
        )
    progress.event(
        "corpus",
        description=statistics.description,
        documents=statistics.num_documents,
        bytes=statistics.num_bytes,
        train_bytes=statistics.train_bytes,
        held_out_bytes=statistics.held_out_bytes,
        removed=dict(statistics.removed_bytes),
        sha256=statistics.sha256,
        train_tokens=int(files.train.size),
        held_out_tokens=int(files.held_out.size),
        notes=list(statistics.notes),
    )
    examples = [
        _example(tokenizer, side[start : start + _EXAMPLE_TOKENS])
        for side, start in (
            (files.train, 0),
            (files.train, files.train.size // 2),
            (files.held_out, 0),
        )
    ]
    progress.event(
        "tokenizer",
        kind=config.tokenizer.kind if parent is None else "taken over from the parent",
        vocab_size=tokenizer.vocab_size,
        bytes_per_token=statistics.train_bytes / files.train.size,
        examples=examples,
    )
    return _prepared(path, files, statistics.sha256)


def reopen(run_path: Path, *, parent: Path | None) -> Prepared:
    """Open what ``prepare`` left in a run's folder, in another process of the same run.

    Raises:
        DatasetError: The tokens are not there, or damaged.
    """
    path = _tokenizer_path(run_path, parent)
    files, corpus_sha256 = open_token_files(run_path / _TOKENS_FOLDER)
    return _prepared(path, files, corpus_sha256)


def discard_preparation(run_path: Path) -> None:
    """Forget an earlier run's tokenizer, tokens and n-grams, so that a new run makes its own."""
    for name in (_TOKENIZER_FOLDER, _TOKENS_FOLDER, "ngram"):
        if (run_path / name).exists():
            discard_directory(run_path / name)


def _tokenizer_path(run_path: Path, parent: Path | None) -> Path:
    return (run_path / _TOKENIZER_FOLDER if parent is None else parent) / "tokenizer.json"


def _prepared(path: Path, files: TokenFiles, corpus_sha256: str) -> Prepared:
    backend = tokenizers.Tokenizer.from_file(str(path))
    backend.encode_special_tokens = True
    return Prepared(
        backend=backend,
        tokenizer=Tokenizer.load(path.parent),
        tokenizer_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        files=files,
        corpus_sha256=corpus_sha256,
    )


def _example(tokenizer: Tokenizer, tokens: NDArray[np.integer]) -> list[JsonValue]:
    """A piece of text, and the strings of its tokens."""
    ids = [int(token) for token in tokens]
    return [tokenizer.decode(ids), [tokenizer.decode([token]) for token in ids]]


def _counted(text: str, advance: Callable[[int], None]) -> str:
    advance(len(text.encode("utf-8")))
    return text


def ngram_baseline(
    settings: NgramSettings, prepared: Prepared, run_path: Path, *, progress: Progress
) -> TrainedNgram | None:
    """Train the n-gram model and measure it on the held-out text: the line to beat.

    Raises:
        NgramError: A setting is out of its limits.
    """
    if settings.order == 0:
        return None
    with progress.task("training the n-gram model"):
        trained = train_ngram(
            [prepared.files.train],
            vocab_size=prepared.tokenizer.vocab_size,
            end_of_text_id=prepared.end_of_text_id,
            order=settings.order,
            max_bytes=int(settings.max_megabytes * 1e6),
            announce=progress.announce,
        )
        score = evaluate_ngram(
            trained.model, [prepared.files.held_out], total_bytes=prepared.files.held_out_bytes
        )
    progress.event(
        "ngram",
        order=settings.order,
        bits_per_byte=score.bits_per_byte,
        nats_per_token=score.nats_per_token,
        perplexity=score.perplexity,
        size_bytes=trained.save(run_path),
        seconds=trained.seconds,
        contexts=trained.model.num_ngrams,
    )
    return trained
