"""Turns a stream of documents into token ids, on all cores and in bounded memory.

Knows nothing of shards or batches of training: it yields one array of ids for each document.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model.tokenizer import Tokenizer, TokenizerError
from training.corpus.document import Document
from training.text_cuts import cut_text

__all__ = ["TokenArray", "encode_documents", "token_dtype"]

TokenArray: TypeAlias = npt.NDArray[np.uint16 | np.uint32]

_PIECE_CHARACTERS = 65_536


def token_dtype(vocab_size: int) -> type[np.uint16 | np.uint32]:
    """The smallest of the two integer types that shards of tokens are kept in."""
    return np.uint16 if vocab_size <= 65_536 else np.uint32


def encode_documents(
    tokenizer: Tokenizer, documents: Iterable[Document], *, batch_characters: int = 4_000_000
) -> Iterator[TokenArray]:
    """Yields the ids of each document in turn, ended by the end-of-text token.

    A part of a giant document that another part follows gets no end-of-text token. Long texts are
    encoded in pieces cut where no token spans (see `training.text_cuts`), so that memory stays
    bounded and all cores work; the ids are those of the whole text.

    Args:
        tokenizer: what encodes; it must have an end-of-text token.
        documents: the texts, one in memory at a time plus about `batch_characters`.
        batch_characters: how much text is handed to the tokenizer's threads at once.

    Raises:
        TokenizerError: the tokenizer has no end-of-text token.
    """
    end_of_text_id = tokenizer.end_of_text_id
    if end_of_text_id is None:
        raise TokenizerError("the tokenizer has no end-of-text token to end documents with")
    dtype = token_dtype(tokenizer.vocab_size)
    unfinished: list[TokenArray] = []
    for batch in _batches(_pieces(tokenizer, documents), num_characters=batch_characters):
        encoded = tokenizer.encode_batch([piece.text for piece in batch])
        for piece, ids in zip(batch, encoded, strict=True):
            ending = [end_of_text_id] if piece.ends_document else []
            unfinished.append(np.array([*ids, *ending], dtype=dtype))
            if piece.is_last:
                yield np.concatenate(unfinished)
                unfinished.clear()


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    is_last: bool  # of its `Document`, which then is complete as an array
    ends_document: bool  # the end-of-text token follows


def _pieces(tokenizer: Tokenizer, documents: Iterable[Document]) -> Iterator[_Piece]:
    for document in documents:
        # A tokenizer that puts a dummy space before every text would put one before each piece.
        max_characters = (
            len(document.text) + 1 if tokenizer.strips_leading_space else _PIECE_CHARACTERS
        )
        pieces = list(cut_text(document.text, max_characters=max_characters))
        for piece in pieces[:-1]:
            yield _Piece(piece, is_last=False, ends_document=False)
        yield _Piece(pieces[-1], is_last=True, ends_document=document.ends_here)


def _batches(pieces: Iterable[_Piece], *, num_characters: int) -> Iterator[list[_Piece]]:
    batch: list[_Piece] = []
    collected = 0
    for piece in pieces:
        batch.append(piece)
        collected += len(piece.text)
        if collected >= num_characters:
            yield batch
            batch, collected = [], 0
    if batch:
        yield batch
