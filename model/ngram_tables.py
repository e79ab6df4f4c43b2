"""The stored form of an n-gram model: a trie in seven `.npy` arrays and one `ngram.json`.

Reads them memory-mapped, checks that they fit together, and writes them. Numbers only: it knows
neither how the probabilities were estimated nor how a text is scored. No torch, no pickle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from model.ngram_description import (
    DESCRIPTION_NAME,
    FOLDER_NAME,
    FORMAT_VERSION,
    NgramDescription,
    NgramError,
    read_description,
)

NUM_CODES = 256

ARRAY_NAMES = (
    "unigrams",
    "tokens",
    "weights",
    "has_children",
    "first_children",
    "backoffs",
    "levels",
)

_NPY_HEADER_BYTES = 128
_DESCRIPTION_BYTES = 4096

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class NgramTables:
    """A trie of n-grams in breadth-first order, its root (the empty context) left out.

    Nodes 0 .. vocab_size - 1 are the single tokens; the n-grams of order 2, 3, ... follow, each
    order sorted by (context, token), so that the children of a node are neighbours and the
    children of all nodes stand in the order of their parents. A node with children is a context.

    Attributes:
        order: Longest n-gram, 1 to 5.
        vocab_size: Number of token ids.
        end_of_text_id: The token before and after every document.
        num_nodes_by_order: Number of n-grams of order 1, 2, ..., order.
        unigrams: float64 [vocab_size], probability of each token without context.
        tokens: uint16 or uint32 [nodes - vocab_size], last token of each n-gram from order 2.
        weights: uint8 [nodes - vocab_size], code of the discounted count of each n-gram.
        has_children: uint8 bit map (lowest bit first) over the nodes below the highest order.
        first_children: uint8 bit map (lowest bit first) over the n-grams from order 2: those that
            are the first child of their context; as many as there are contexts.
        backoffs: uint8 [contexts], code of the odds of each context's back-off mass.
        levels: float64 [2, order - 1, 256], what the codes mean: [0] weights, [1] odds; row i is
            for n-grams of order i + 2 and for the contexts above them.
        facts: How the model was made (JSON values), kept for people.
    """

    order: int
    vocab_size: int
    end_of_text_id: int
    num_nodes_by_order: tuple[int, ...]
    unigrams: NDArray[np.float64]
    tokens: NDArray[np.unsignedinteger]
    weights: NDArray[np.uint8]
    has_children: NDArray[np.uint8]
    first_children: NDArray[np.uint8]
    backoffs: NDArray[np.uint8]
    levels: NDArray[np.float64]
    facts: Mapping[str, object]


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """Smallest type that holds every token id."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def stored_bytes(*, vocab_size: int, num_nodes_by_order: tuple[int, ...], num_contexts: int) -> int:
    """Upper bound of the bytes on disk of a model with so many n-grams and contexts."""
    order = len(num_nodes_by_order)
    num_ngrams = sum(num_nodes_by_order[1:])
    num_inner = sum(num_nodes_by_order[:-1])
    return (
        len(ARRAY_NAMES) * _NPY_HEADER_BYTES
        + _DESCRIPTION_BYTES
        + vocab_size * 8
        + 2 * (order - 1) * NUM_CODES * 8
        + num_ngrams * (token_dtype(vocab_size).itemsize + 1)
        + (num_inner + 7) // 8
        + (num_ngrams + 7) // 8
        + num_contexts
    )


def write_tables(tables: NgramTables, directory: Path) -> int:
    """Writes `directory`/ngram/ and answers the bytes written; the description comes last."""
    folder = directory / FOLDER_NAME
    folder.mkdir(parents=True, exist_ok=True)
    total_bytes = 0
    for name in ARRAY_NAMES:
        path = folder / f"{name}.npy"
        np.save(path, getattr(tables, name), allow_pickle=False)
        total_bytes += path.stat().st_size
    description = NgramDescription(
        format_version=FORMAT_VERSION,
        order=tables.order,
        vocab_size=tables.vocab_size,
        end_of_text_id=tables.end_of_text_id,
        num_nodes_by_order=tables.num_nodes_by_order,
        facts=dict(tables.facts),
    )
    text = msgspec.json.format(msgspec.json.encode(description), indent=1)
    return total_bytes + (folder / DESCRIPTION_NAME).write_bytes(text + b"\n")


def read_tables(directory: Path) -> NgramTables:
    """Reads `directory`/ngram/, arrays memory-mapped, and checks that they fit together.

    Raises:
        NgramError: A file is missing, truncated, of the wrong type or size, or contradicts
            another; the text names the file.
    """
    folder = directory / FOLDER_NAME
    description = read_description(directory)
    order, vocab_size = description.order, description.vocab_size
    num_nodes = description.num_nodes_by_order
    num_ngrams, num_inner = sum(num_nodes[1:]), sum(num_nodes[:-1])
    byte = np.dtype(np.uint8)
    real = np.dtype(np.float64)
    has_children = _read_array(folder, "has_children", byte, ((num_inner + 7) // 8,))
    num_contexts = int(np.bitwise_count(has_children).sum())
    tables = NgramTables(
        order=order,
        vocab_size=vocab_size,
        end_of_text_id=description.end_of_text_id,
        num_nodes_by_order=num_nodes,
        unigrams=_read_array(folder, "unigrams", real, (vocab_size,)),
        tokens=_read_array(folder, "tokens", token_dtype(vocab_size), (num_ngrams,)),
        weights=_read_array(folder, "weights", byte, (num_ngrams,)),
        has_children=has_children,
        first_children=_read_array(folder, "first_children", byte, ((num_ngrams + 7) // 8,)),
        backoffs=_read_array(folder, "backoffs", byte, (num_contexts,)),
        levels=_read_array(folder, "levels", real, (2, order - 1, NUM_CODES)),
        facts=description.facts,
    )
    _check_contents(tables, folder)
    return tables


def _read_array(
    folder: Path, name: str, dtype: np.dtype[Number], shape: tuple[int, ...]
) -> NDArray[Number]:
    path = folder / f"{name}.npy"
    try:
        # Not np.load: it would open archives and, told so, pickles.
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise NgramError(f"{path}: is missing") from None
    except (OSError, ValueError, EOFError) as error:
        raise NgramError(f"{path}: cannot be read ({error})") from None
    if array.dtype != dtype or array.shape != shape:
        raise NgramError(
            f"{path}: must hold {dtype} {shape}, as the other files have it, "
            f"but holds {array.dtype} {array.shape}"
        )
    return np.asarray(array)  # still mapped; the class memmap itself is slow to slice


def _check_contents(tables: NgramTables, folder: Path) -> None:
    """Refuses values that would read out of bounds or break the sum of the probabilities."""

    def refuse(name: str, what: str) -> NoReturn:
        raise NgramError(f"{folder / f'{name}.npy'}: {what}")

    total = float(tables.unigrams.sum())
    if not (tables.unigrams > 0).all() or not abs(total - 1) < 1e-9:
        refuse("unigrams", f"must be positive and sum to 1, but sums to {total!r}")
    if not (np.isfinite(tables.levels).all() and (tables.levels > 0).all()):
        refuse("levels", "must hold positive finite numbers")
    num_nodes = tables.num_nodes_by_order
    has_children = np.unpackbits(tables.has_children, bitorder="little")
    first_children = np.unpackbits(tables.first_children, bitorder="little")
    if has_children[sum(num_nodes[:-1]) :].any():
        refuse("has_children", "marks an n-gram of the highest order")
    if first_children[sum(num_nodes[1:]) :].any():
        refuse("first_children", "marks more than the n-grams")
    ends = np.cumsum(num_nodes).tolist()
    for parent_start, start, end in zip([0, *ends], ends, ends[1:], strict=False):
        groups = first_children[start - tables.vocab_size : end - tables.vocab_size]
        if groups.sum() != has_children[parent_start:start].sum() or not groups[:1].all():
            refuse("first_children", "does not fit the contexts in has_children.npy")
    tokens = tables.tokens
    if tokens.size:
        if int(tokens.max()) >= tables.vocab_size:
            refuse("tokens", f"holds a token id above {tables.vocab_size - 1}")
        if not ((tokens[1:] > tokens[:-1]) | (first_children[1 : tokens.size] == 1)).all():
            refuse("tokens", "is not sorted within each context")
