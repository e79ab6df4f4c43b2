"""The n-gram model, exported in the ARPA format, against KenLM."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from model.ngram import NgramModel
from model.ngram_description import NgramError
from training.ngram.arpa import export_arpa
from training.ngram.training import train_ngram

END = 0

kenlm = pytest.importorskip("kenlm", reason="kenlm-ex has no build for this Python and platform")


class KenlmModel(Protocol):
    """What we use of kenlm.Model."""

    order: int

    def full_scores(self, sentence: str, bos: bool, eos: bool) -> Iterable[tuple[float, int, bool]]:
        """Base-10 log probability, length of the matched n-gram, is unknown, for each word."""
        ...


def made_up_text(*, vocab_size: int, num_tokens: int, seed: int) -> NDArray[np.uint16]:
    """Tokens with frequent and rare continuations, in documents of about 50, every id used."""
    rng = np.random.default_rng(seed)
    favourites = rng.integers(1, vocab_size, size=(vocab_size, 3))
    tokens = list(range(1, vocab_size))
    while len(tokens) < num_tokens - 1:
        if rng.random() < 0.7:
            tokens.append(int(favourites[tokens[-1], rng.choice(3, p=[0.6, 0.3, 0.1])]))
        else:
            tokens.append(int(rng.zipf(1.5)) % vocab_size)
        if rng.random() < 0.02:
            tokens.append(END)
    return np.array([*tokens[: num_tokens - 1], END], dtype=np.uint16)


def quiet(line: str) -> None:
    """Takes announcements that a test does not look at."""


def documents_of(stream: NDArray[np.uint16]) -> list[list[int]]:
    """The documents of a stream, each with its end of text."""
    ends = np.flatnonzero(stream == END) + 1
    return [part.tolist() for part in np.split(stream, ends) if part.size]


def largest_difference_from_kenlm(
    ours: NgramModel, documents: Sequence[Sequence[int]], arpa: Path
) -> float:
    """Largest difference of a token's log10 probability over documents that end with END."""
    export_arpa(ours, arpa)
    theirs: KenlmModel = kenlm.Model(str(arpa))
    assert theirs.order == ours.order
    worst = 0.0
    for document in documents:
        text = " ".join(str(token) for token in document[:-1])
        expected = np.array([log for log, _, _ in theirs.full_scores(text, bos=True, eos=True)])
        found = ours.log_probabilities(np.array(document)) / math.log(10)
        assert expected.shape == found.shape
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


@pytest.mark.parametrize("max_bytes", [None, 30_000])
@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_kenlm_scores_a_made_up_text_equally(
    order: int, max_bytes: int | None, tmp_path: Path
) -> None:
    stream = made_up_text(vocab_size=40, num_tokens=8000, seed=3)
    model = train_ngram(
        [stream[:6000]],
        vocab_size=40,
        end_of_text_id=END,
        order=order,
        max_bytes=max_bytes,
        announce=quiet,
    ).model
    documents = [part for part in documents_of(stream[5000:]) if part[-1] == END]
    assert largest_difference_from_kenlm(model, documents, tmp_path / "m.arpa") < 1e-4


@pytest.mark.parametrize("max_bytes", [None, 100_000])
def test_kenlm_scores_shakespeare_equally(
    max_bytes: int | None, shared_data: Path, tmp_path: Path
) -> None:
    text = (shared_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[:200_000]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        [text],
        trainers.BpeTrainer(vocab_size=1024, special_tokens=["<|endoftext|>"], show_progress=False),
    )
    speeches = text.split("\n\n")
    documents = [[*tokenizer.encode(speech).ids, END] for speech in speeches]
    cut = len(documents) * 9 // 10
    train = np.array([token for document in documents[:cut] for token in document])
    trained = train_ngram(
        [train], vocab_size=1024, end_of_text_id=END, max_bytes=max_bytes, announce=quiet
    )
    trained.save(tmp_path)
    model = NgramModel.load(tmp_path)
    assert largest_difference_from_kenlm(model, documents[cut:], tmp_path / "m.arpa") < 1e-4


@pytest.mark.parametrize(
    "words", [["a", "b"], ["a", "a", "b"], ["a", "b", "c d"], ["a", "b", "<s>"], ["a", "b", ""]]
)
def test_words_that_the_format_cannot_hold_are_refused(words: list[str], tmp_path: Path) -> None:
    model = train_ngram(
        [np.array([1, 2, 0, 1, 0])], vocab_size=3, end_of_text_id=END, announce=quiet
    ).model
    with pytest.raises(NgramError, match="words"):
        export_arpa(model, tmp_path / "m.arpa", words=words)
    assert not (tmp_path / "m.arpa").exists()
