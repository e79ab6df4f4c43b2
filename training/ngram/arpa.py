"""Writes an n-gram model in the ARPA text format, which KenLM, SRILM and others read.

The end-of-text token becomes `<s>` where it begins an n-gram and `</s>` where it ends one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.ngram import NgramModel
from model.ngram_description import NgramError

_IMPOSSIBLE = -99.0  # how the format spells a probability of 0
_RESERVED = frozenset({"<s>", "</s>", "<unk>"})


def export_arpa(model: NgramModel, path: Path, *, words: Sequence[str] | None = None) -> None:
    """Writes all n-grams with base-10 logarithms of probabilities and back-off weights.

    Args:
        model: The model.
        path: The file to write.
        words: How each token id is spelled; without it the id in decimal. A token's own text often
            holds spaces, which the format cannot.

    Raises:
        NgramError: The words are not one for each id, different, and free of white space.
    """
    spelled = [str(token) for token in range(model.vocab_size)] if words is None else list(words)
    _check_words(spelled, vocab_size=model.vocab_size)
    end = model.tables.end_of_text_id
    # <s> and </s> are two words for one token, and <unk> is asked for by the format.
    sizes = [model.vocab_size + 2, *model.tables.num_nodes_by_order[1:]]
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {order}={size}\n" for order, size in enumerate(sizes, start=1))
        for order, (nodes, ngrams_NK) in enumerate(_ngrams_by_order(model), start=1):
            file.write(f"\n\\{order}-grams:\n")
            log_probabilities = np.log10(_probabilities(model, ngrams_NK)).tolist()
            log_backoffs = np.log10(model.backoffs(nodes, order=order)).tolist()
            if order == 1:
                file.write(f"{_IMPOSSIBLE}\t<unk>\n{_IMPOSSIBLE}\t<s>\t{log_backoffs[end]}\n")
                log_backoffs[end] = 0.0  # nothing follows </s>
            ngrams: list[list[int]] = ngrams_NK.tolist()
            for ngram, probability, backoff in zip(
                ngrams, log_probabilities, log_backoffs, strict=True
            ):
                names = [spelled[token] for token in ngram]
                if ngram[0] == end:
                    names[0] = "<s>"
                if ngram[-1] == end:
                    names[-1] = "</s>"
                weight = f"\t{backoff}" if backoff else ""
                file.write(f"{probability}\t{' '.join(names)}{weight}\n")
        file.write("\n\\end\\\n")


def _ngrams_by_order(
    model: NgramModel,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Nodes [N] and token ids [N, K] of the n-grams of each order K from 1."""
    tables = model.tables
    is_first = np.unpackbits(tables.first_children, bitorder="little")
    contexts = np.flatnonzero(np.unpackbits(tables.has_children, bitorder="little"))
    ngrams_NK = np.arange(tables.vocab_size)[:, None]
    start, below_start = tables.vocab_size, 0
    yield np.arange(tables.vocab_size), ngrams_NK
    parents = contexts[np.cumsum(is_first[: tables.tokens.size], dtype=np.int64) - 1]
    for size in tables.num_nodes_by_order[1:]:
        part = slice(start - tables.vocab_size, start - tables.vocab_size + size)
        heads = ngrams_NK[parents[part] - below_start]
        ngrams_NK = np.column_stack((heads, tables.tokens[part].astype(np.int64)))
        yield np.arange(start, start + size), ngrams_NK
        start, below_start = start + size, start


def _probabilities(model: NgramModel, ngrams_NK: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability of each n-gram's last token after its other tokens."""
    last, order = ngrams_NK[:, -1], ngrams_NK.shape[1]
    probabilities = np.asarray(model.tables.unigrams)[last]
    for length in range(1, order):
        contexts = model.trie.find(ngrams_NK[:, order - 1 - length : order - 1])
        probabilities, _ = model.lengthen(contexts, last, probabilities, order=length + 1)
    return probabilities


def _check_words(words: Sequence[str], *, vocab_size: int) -> None:
    if len(words) != vocab_size or len(set(words)) != vocab_size:
        raise NgramError(
            f"words must be {vocab_size} different ones, given {len(words)}, "
            f"{len(set(words))} of them different"
        )
    for word in words:
        if word.split() != [word] or word in _RESERVED:
            raise NgramError(f"words must be free of white space and not reserved, given {word!r}")
