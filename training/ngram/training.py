"""Trains, saves and evaluates an n-gram model: the order in which the parts are called."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ngram import NgramModel
from model.ngram_description import MAX_ORDER, NgramError
from model.ngram_tables import NgramTables, stored_bytes, write_tables
from training.ngram.counting import count_ngrams
from training.ngram.kneser_ney import Discounts, estimate
from training.ngram.packing import pack, packed_bytes
from training.ngram.pruning import choose_kept

DEFAULT_MAX_BYTES = 8_000_000
DEFAULT_MAX_TOKENS = 100_000_000
MIN_TOKENS = 2
_BYTES_PER_NGRAM = 3
_SCORED_AT_ONCE = 1 << 19


@dataclass(frozen=True, slots=True)
class TrainedNgram:
    """A trained model and how it came about.

    Attributes:
        tables: The model in its stored form.
        num_tokens: Tokens it was counted from.
        num_counted_by_order: Different n-grams in them, order 1 (the vocabulary) first.
        seconds: Wall time of the training.
    """

    tables: NgramTables
    num_tokens: int
    num_counted_by_order: tuple[int, ...]
    seconds: float

    @property
    def model(self) -> NgramModel:
        """The model ready to score, without a file."""
        return NgramModel(self.tables)

    def save(self, directory: Path) -> int:
        """Writes `directory`/ngram/ (seven .npy arrays and ngram.json); answers the bytes."""
        return write_tables(self.tables, directory)


@dataclass(frozen=True, slots=True)
class NgramScore:
    """How well a model foretells a text.

    Attributes:
        num_tokens: Tokens scored, end-of-text tokens included.
        nats_per_token: Mean negative natural log probability.
        bits_per_byte: All bits over the bytes of the text.
        perplexity: exp(nats_per_token).
    """

    num_tokens: int
    nats_per_token: float
    bits_per_byte: float
    perplexity: float


def train_ngram(
    token_arrays: Sequence[NDArray[np.integer]],
    *,
    vocab_size: int,
    end_of_text_id: int,
    announce: Callable[[str], None],
    order: int = MAX_ORDER,
    max_bytes: int | None = DEFAULT_MAX_BYTES,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    discounts: Discounts = "modified",
) -> TrainedNgram:
    """Trains an interpolated Kneser-Ney model on a stream of documents.

    Args:
        token_arrays: Integer vectors (memory-mapped or not), read as one stream in which every
            document is followed by the end-of-text token.
        vocab_size: Number of token ids.
        end_of_text_id: The token between documents.
        announce: Is told in one line each what was left out and what was assumed.
        order: Longest n-gram, 1 to 5.
        max_bytes: Bytes on disk that the model may take; None for no limit.
        max_tokens: Of more tokens than this, so many are used, in pieces spread evenly.
        discounts: "modified" for the three discounts of modified Kneser-Ney, or one number between
            0 and 1 for every count and order.

    Raises:
        NgramError: A setting is out of its limits, or the text is too short.
    """
    started = time.perf_counter()
    _check_settings(
        vocab_size=vocab_size,
        end_of_text_id=end_of_text_id,
        order=order,
        max_bytes=max_bytes,
        max_tokens=max_tokens,
        discounts=discounts,
    )
    num_given = _num_tokens(token_arrays)
    if num_given < MIN_TOKENS:
        raise NgramError(f"text must have at least {MIN_TOKENS} tokens, given {num_given}")
    if num_given > max_tokens:
        token_arrays = list(_evenly(token_arrays, max_tokens))
        announce(
            f"n-gram: counts {max_tokens:,} of {num_given:,} tokens (max_tokens), in pieces spread "
            "evenly over the text"
        )
    num_tokens = _num_tokens(token_arrays)
    drops_singles = max_bytes is not None and num_tokens > 4 * max_bytes // _BYTES_PER_NGRAM
    counts = count_ngrams(
        token_arrays,
        vocab_size=vocab_size,
        end_of_text_id=end_of_text_id,
        order=order,
        first_order_without_singles=3 if drops_singles else None,
    )
    num_counted = tuple(
        held + dropped
        for held, dropped in zip(
            counts.num_nodes_by_order,
            (0, *(level.num_dropped for level in counts.levels)),
            strict=True,
        )
    )
    kept = [np.ones(level.tokens.size, dtype=np.bool_) for level in counts.levels]
    full_bytes = packed_bytes(counts, kept)
    if max_bytes is not None and full_bytes > max_bytes:
        kept = choose_kept(counts, max_bytes=max_bytes, discounts=discounts)
    num_kept = (vocab_size, *(int(np.count_nonzero(mask)) for mask in kept))
    if num_kept != num_counted:
        announce(
            f"n-gram: keeps {sum(num_kept[1:]):,} of {sum(num_counted[1:]):,} n-grams of order 2 "
            f"to {order}, those worth most within {max_bytes:,} bytes (max_bytes); by order: "
            + ", ".join(
                f"{held:,} of {counted:,}"
                for held, counted in zip(num_kept[1:], num_counted[1:], strict=True)
            )
        )
    estimated = estimate(counts, kept, discounts=discounts)
    for fallback_order in estimated.fallback_orders:
        announce(
            f"n-gram: too few different counts of order {fallback_order} to estimate discounts; "
            "takes 0.5, 1 and 1.5"
        )
    tables = pack(
        counts,
        kept,
        estimated,
        end_of_text_id=end_of_text_id,
        facts={
            "num_tokens": num_tokens,
            "num_counted_by_order": list(num_counted),
            "discounts": [list(values) for values in estimated.discounts],
            "max_bytes": max_bytes,
        },
    )
    return TrainedNgram(tables, num_tokens, num_counted, time.perf_counter() - started)


def evaluate_ngram(
    model: NgramModel, token_arrays: Sequence[NDArray[np.integer]], *, total_bytes: int
) -> NgramScore:
    """Scores a stream of documents, each followed by end of text.

    Args:
        model: The model.
        token_arrays: Integer vectors, read as one stream.
        total_bytes: Bytes of the text that the tokens stand for.

    Raises:
        NgramError: No tokens, no bytes, or an id outside the vocabulary.
    """
    num_tokens = _num_tokens(token_arrays)
    if num_tokens == 0 or total_bytes < 1:
        raise NgramError(
            f"held-out text must have tokens and bytes, given {num_tokens} tokens, "
            f"{total_bytes} bytes"
        )
    nats = 0.0
    context: list[int] = []
    for array in token_arrays:
        for start in range(0, array.size, _SCORED_AT_ONCE):
            piece = array[start : start + _SCORED_AT_ONCE]
            nats -= float(model.log_probabilities(piece, context_ids=context).sum())
            context = [*context, *piece[-MAX_ORDER:].tolist()][-MAX_ORDER:]
    mean = nats / num_tokens
    return NgramScore(
        num_tokens=num_tokens,
        nats_per_token=mean,
        bits_per_byte=nats / float(np.log(2)) / total_bytes,
        perplexity=float(np.exp(mean)),
    )


def _num_tokens(token_arrays: Sequence[NDArray[np.integer]]) -> int:
    return sum(array.size for array in token_arrays)


def _evenly(
    token_arrays: Sequence[NDArray[np.integer]], max_tokens: int
) -> Iterator[NDArray[np.integer]]:
    """Pieces of all arrays, `max_tokens` in all, spread evenly; they are read end to end."""
    num_pieces = 100
    num_tokens = _num_tokens(token_arrays)
    bounds = np.cumsum([0, *(array.size for array in token_arrays)]).tolist()
    for piece in range(num_pieces):
        start = num_tokens * piece // num_pieces
        size = max_tokens * (piece + 1) // num_pieces - max_tokens * piece // num_pieces
        for array, (low, high) in zip(token_arrays, pairwise(bounds), strict=True):
            part = array[max(start, low) - low : max(min(start + size, high) - low, 0)]
            if start < high and part.size:
                yield part


def _check_settings(
    *,
    vocab_size: int,
    end_of_text_id: int,
    order: int,
    max_bytes: int | None,
    max_tokens: int,
    discounts: Discounts,
) -> None:
    if not 1 <= order <= MAX_ORDER:
        raise NgramError(f"order must be 1 to {MAX_ORDER}, given {order}")
    if vocab_size < 1:
        raise NgramError(f"vocab_size must be at least 1, given {vocab_size}")
    if not 0 <= end_of_text_id < vocab_size:
        raise NgramError(f"end_of_text_id must be 0 to {vocab_size - 1}, given {end_of_text_id}")
    if max_tokens < MIN_TOKENS:
        raise NgramError(f"max_tokens must be at least {MIN_TOKENS}, given {max_tokens}")
    if isinstance(discounts, float) and not 0 < discounts < 1:
        raise NgramError(f"discounts must lie between 0 and 1, given {discounts}")
    least = stored_bytes(
        vocab_size=vocab_size,
        num_nodes_by_order=(vocab_size, *(0 for _ in range(order - 1))),
        num_contexts=0,
    )
    if max_bytes is not None and max_bytes < least:
        raise NgramError(
            f"max_bytes must be at least {least:,} for {vocab_size:,} tokens, given {max_bytes:,}"
        )
