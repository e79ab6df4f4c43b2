"""The vocabularies that the text campaign runs over: ours of every kind, and other people's."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from model.tokenizer import Tokenizer
from tests.model.stories260k import convert
from training.tokenizer_training import TokenizerKind, train_tokenizer

__all__ = ["bundled", "trained", "vocabularies"]

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLED = REPOSITORY / "artifacts" / "fairytales" / "1"
# Where the tests keep what they fetched: `tests/model/test_tokenizer_vectors.py`.
FETCHED = REPOSITORY / ".pytest_cache" / "d" / "npm"
TRAINED_KINDS: tuple[TokenizerKind, ...] = ("words", "characters", "bytes")


def bundled() -> Tokenizer:
    """The byte-level BPE of the bundled model."""
    return Tokenizer.load(BUNDLED)


def trained(kind: TokenizerKind) -> Tokenizer:
    """A vocabulary of some text in several scripts."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    scripts = "na\u00efve \u6f22\u5b57 \u05e2\u05d1\u05e8\u05d9\u05ea \U0001f469\u200d\U0001f680 "
    return Tokenizer.from_backend(
        train_tokenizer(
            [text + scripts * 20],
            kind=kind,
            vocab_size=257 if kind == "bytes" else None,
            announce=_say_nothing,
        )
    )


def vocabularies(folder: Path) -> Iterator[tuple[str, Tokenizer | None]]:
    """Name and tokenizer of each; None where its files are not on this machine.

    Args:
        folder: An empty folder to write into.
    """
    yield "bundled byte BPE", bundled()
    for kind in TRAINED_KINDS:
        yield kind, trained(kind)
    shared = Path(os.environ.get("NEXTWORD_SHARED") or REPOSITORY.parent / "shared") / "data"
    yield "stories260K, SentencePiece", _loaded(shared, lambda: _stories(shared, folder))
    yield "GPT-2", _loaded(shared, lambda: _gpt_2(shared / "tokenizer-vectors", folder))
    for name, package in (("Llama 3", "tokenizer-llama3"), ("Qwen 2.5", "tokenizer-qwen2_5")):
        found = sorted(FETCHED.glob(f"*{package}*/**/models/tokenizer.json"))
        yield name, Tokenizer.load(found[0].parent) if found else None


def _loaded(needed: Path, load: Callable[[], Tokenizer]) -> Tokenizer | None:
    return load() if needed.is_dir() else None


def _stories(shared: Path, folder: Path) -> Tokenizer:
    (folder / "stories260k").mkdir()
    convert(shared, folder / "stories260k")
    return Tokenizer.load(folder / "stories260k")


def _gpt_2(source: Path, folder: Path) -> Tokenizer:
    vocabulary = json.loads((source / "encoder.json").read_text(encoding="utf-8"))
    lines = (source / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines) if left]
    backend = Backend(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    (folder / "gpt-2").mkdir()
    backend.save(str(folder / "gpt-2" / "tokenizer.json"))
    return Tokenizer.load(folder / "gpt-2")


def _say_nothing(text: str) -> None:
    del text
