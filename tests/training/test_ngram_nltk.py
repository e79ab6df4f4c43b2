"""The n-gram model with one fixed discount against nltk.lm."""

from typing import cast

import numpy as np
import pytest
from nltk.lm import KneserNeyInterpolated
from numpy.typing import NDArray

from training.ngram.training import train_ngram

END = 0


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


def scored(theirs: KneserNeyInterpolated, token: int, context: list[str]) -> float:
    """Their probability; the library ships no types."""
    return cast(float, theirs.score(str(token), context))


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("discount", [0.1, 0.75])
def test_one_fixed_discount_equals_nltk(order: int, discount: float) -> None:
    # nltk counts whatever n-grams it is given; it gets ours: one end of text before a document and
    # none across. It does not discount single tokens, which equals our interpolation with the
    # uniform distribution where every id occurs. It has no counts for lower orders that begin a
    # document (nothing stands before them), so those contexts are not asked.
    vocab_size = 8
    stream = made_up_text(vocab_size=vocab_size, num_tokens=400, seed=order)
    documents = [[END, *part] for part in documents_of(stream)]
    words = [[str(token) for token in document] for document in documents]
    theirs = KneserNeyInterpolated(order, discount=discount)
    theirs.fit(
        [
            [
                tuple(document[start : start + length])
                for length in range(1, order + 1)
                for start in range(len(document) - length + 1)
            ]
            for document in words
        ],
        vocabulary_text=[str(token) for token in range(vocab_size)],
    )
    ours = train_ngram(
        [stream],
        vocab_size=vocab_size,
        end_of_text_id=END,
        order=order,
        max_bytes=None,
        discounts=discount,
        announce=quiet,
    ).model
    rng = np.random.default_rng(1)
    contexts = rng.integers(1, vocab_size, size=(40, order - 1)).tolist()
    inside = documents[0]
    contexts += [inside[start : start + order - 1] for start in range(min(40, len(inside) - order))]
    for context in contexts:
        asked = [str(token) for token in context]
        expected = [scored(theirs, token, asked) for token in range(vocab_size)]
        assert ours.probabilities(context) == pytest.approx(expected, rel=1e-9)
