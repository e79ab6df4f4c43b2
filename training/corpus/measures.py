"""The size and digest of every part of a corpus: 25 bytes a part, so that millions fit."""

import hashlib
from array import array
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from training.corpus.document import CorpusError, Document

__all__ = ["Measures"]


class Measures:
    """What one pass over the documents has measured, in their order.

    Args:
        seed: changes every digest, and so the order that digests put documents in.
    """

    def __init__(self, *, seed: int) -> None:
        self._salt = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
        self._sha256 = hashlib.sha256()
        self._digests = array("Q")
        self._num_bytes = array("Q")
        self._num_characters = array("Q")
        self._is_first = bytearray()
        self._is_matched = bytearray()
        self._starts_document = True

    def add(self, document: Document, *, is_matched: bool) -> None:
        """Measures the next part; `is_matched` is kept with it for `matched_documents`."""
        encoded = document.text.encode("utf-8")
        self._digests.append(self._digest(encoded))
        self._num_bytes.append(len(encoded))
        self._num_characters.append(len(document.text))
        self._is_first.append(self._starts_document)
        self._is_matched.append(is_matched)
        self._starts_document = document.ends_here
        self._sha256.update(encoded)
        if document.ends_here:
            # A zero byte, which no cleaned text has, keeps the borders between documents.
            self._sha256.update(b"\0")

    def check(self, index: int, document: Document) -> None:
        """Raises a `CorpusError` if a part is not the one that was measured at this place."""
        if (
            index >= len(self._digests)
            or self._digest(document.text.encode("utf-8")) != self._digests[index]
        ):
            raise CorpusError(
                f"{document.name} changed while the corpus was being read; start again"
            )

    @property
    def num_parts(self) -> int:
        """How many parts were measured; a document that is not giant is one part."""
        return len(self._digests)

    @property
    def sha256(self) -> str:
        """Of the cleaned text in order, a zero byte after each document."""
        return self._sha256.hexdigest()

    @property
    def total_bytes(self) -> int:
        """UTF-8 bytes of all parts."""
        return sum(self._num_bytes)

    @property
    def total_characters(self) -> int:
        """Characters of all parts."""
        return sum(self._num_characters)

    def part_starts(self) -> npt.NDArray[np.int64]:
        """For each part how many characters the corpus has before it, and at last the total."""
        return np.fromiter(accumulate(self._num_characters, initial=0), dtype=np.int64)

    def document_of_part(self) -> npt.NDArray[np.int64]:
        """For each part the index of its document, from 0."""
        return np.cumsum(np.frombuffer(self._is_first, dtype=np.uint8), dtype=np.int64) - 1

    def document_digests(self) -> npt.NDArray[np.uint64]:
        """For each document the digest of its text (of its first part, if it is giant)."""
        is_first = np.frombuffer(self._is_first, dtype=np.bool_)
        return np.frombuffer(self._digests, dtype=np.uint64)[is_first]

    def document_bytes(self) -> npt.NDArray[np.int64]:
        """For each document its UTF-8 bytes."""
        num_bytes = np.frombuffer(self._num_bytes, dtype=np.uint64).astype(np.int64)
        sums = np.zeros(self.num_documents, dtype=np.int64)
        np.add.at(sums, self.document_of_part(), num_bytes)
        return sums

    def matched_documents(self) -> npt.NDArray[np.bool_]:
        """For each document whether it was added as matched."""
        is_first = np.frombuffer(self._is_first, dtype=np.bool_)
        return np.frombuffer(self._is_matched, dtype=np.bool_)[is_first]

    @property
    def num_duplicates(self) -> int:
        """How many documents have the text of an earlier one."""
        return self.num_documents - len(np.unique(self.document_digests()))

    @property
    def num_documents(self) -> int:
        """How many documents were measured."""
        return sum(self._is_first)

    def _digest(self, encoded: bytes) -> int:
        digest = hashlib.blake2b(encoded, digest_size=8, salt=self._salt).digest()
        return int.from_bytes(digest, "little")
