"""A corpus: its documents as streams for training and for measuring, and what is known of it.

Loading reads everything once to clean, count and split; each stream reads it again, so that the
text need not fit in memory.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from training.corpus.document import CorpusError, Document
from training.corpus.measures import Measures
from training.corpus.reading import Tally, read_documents
from training.corpus.settings import CorpusSettings
from training.corpus.sources import matches_any
from training.corpus.splitting import Split, SplitName, choose_split
from training.corpus.tally_report import tally_lines

__all__ = ["MIN_CORPUS_BYTES", "Corpus", "CorpusStatistics", "load_corpus"]

_NUMBER = re.compile(r"(?::\d+)?(?:#\d+)?$")
# Below this neither a vocabulary nor a held-out part means anything.
MIN_CORPUS_BYTES = 2_000


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
    """Figures of a loaded corpus; bytes are UTF-8 bytes after cleaning.

    Attributes:
        description: the sources in one line.
        num_files: files that were read.
        num_documents: documents that are not empty; parts of a giant one count once.
        num_bytes: of all documents.
        num_train_documents: texts on the training side; a divided document counts its stretches.
        num_held_out_documents: the same on the held-out side.
        train_bytes: of the training side.
        held_out_bytes: of the held-out side.
        removed_bytes: for each cleaning rule what it removed.
        num_invalid: invalid byte sequences, replaced or skipped by corpus.invalid_text.
        num_skipped: documents skipped for them.
        num_bad_records: .jsonl records skipped by corpus.bad_records.
        num_empty: documents without any visible character, left out.
        num_giant: documents read in parts.
        num_duplicates: documents whose text occurred before; they are kept, on the same side.
        sha256: of the cleaned text in order, a zero byte after each document.
        notes: what was announced, a line each.
    """

    description: str
    num_files: int
    num_documents: int
    num_bytes: int
    num_train_documents: int
    num_held_out_documents: int
    train_bytes: int
    held_out_bytes: int
    removed_bytes: Mapping[str, int]
    num_invalid: int
    num_skipped: int
    num_bad_records: int
    num_empty: int
    num_giant: int
    num_duplicates: int
    sha256: str
    notes: tuple[str, ...]


class Corpus:
    """The documents of a loaded corpus; made by `load_corpus`."""

    def __init__(
        self,
        settings: CorpusSettings,
        *,
        measures: Measures,
        split: Split,
        statistics: CorpusStatistics,
    ) -> None:
        self._settings = settings
        self._measures = measures
        self._split = split
        self.statistics = statistics

    def documents(self, split: SplitName) -> Iterator[Document]:
        """Streams one side's documents in the order of the sources, as often as asked.

        Raises:
            CorpusError: a file can no longer be read or has changed since the corpus was loaded.
        """
        for name, document in _divided(self._settings, self._measures, self._split):
            if name == split:
                yield document

    def all_documents(self) -> Iterator[Document]:
        """Streams every document undivided, whichever side it or its blocks are on.

        Raises:
            CorpusError: as for `documents`.
        """
        for part, document in enumerate(read_documents(self._settings, Tally())):
            self._measures.check(part, document)
            yield document


def load_corpus(settings: CorpusSettings, *, announce: Callable[[str], None]) -> Corpus:
    """Reads, cleans and splits a corpus.

    Args:
        settings: the sources and what is to be done with them.
        announce: told in a line each what was found, removed, refused and held out.

    Raises:
        CorpusError: the corpus or a setting cannot be used.
    """
    tally = Tally()
    measures = Measures(seed=settings.split_seed)
    # Documents are named without .gz and .xz, so globs are taken without them too.
    held_out_globs = tuple(
        glob.removesuffix(".gz").removesuffix(".xz") for glob in settings.held_out_paths
    )
    for document in read_documents(settings, tally):
        is_matched = matches_any(_file_name(document), held_out_globs)
        measures.add(document, is_matched=is_matched)
    description = " ".join(settings.sources)
    if measures.total_bytes < MIN_CORPUS_BYTES:
        raise CorpusError(
            f"corpus.sources: {description} has {measures.total_bytes:,} bytes of text, at least "
            f"{MIN_CORPUS_BYTES:,} are needed"
        )
    split = choose_split(measures, settings)
    sides = _measure_sides(settings, measures, split)
    train, held_out = sides["train"], sides["held_out"]
    if not train.num_bytes or not held_out.num_bytes:
        raise CorpusError(
            f"corpus.held_out_fraction is {settings.held_out_fraction:g}, but "
            f"{measures.total_bytes:,} bytes of text cannot be divided so ({split.description})"
        )
    lines = tally_lines(tally, settings, measures)
    lines.append(
        f"held out: {held_out.num_bytes:,} bytes "
        f"({100 * held_out.num_bytes / measures.total_bytes:.1f} %), {split.description}; "
        f"{train.num_bytes:,} bytes to learn from"
    )
    for line in lines:
        announce(line)
    statistics = CorpusStatistics(
        description=description,
        num_files=tally.num_files,
        num_documents=measures.num_documents,
        num_bytes=measures.total_bytes,
        num_train_documents=train.num_documents,
        num_held_out_documents=held_out.num_documents,
        train_bytes=train.num_bytes,
        held_out_bytes=held_out.num_bytes,
        removed_bytes=dict(tally.removed_bytes),
        num_invalid=tally.num_invalid,
        num_skipped=tally.num_skipped,
        num_bad_records=tally.num_bad_records,
        num_empty=tally.num_empty,
        num_giant=tally.num_giant,
        num_duplicates=measures.num_duplicates,
        sha256=measures.sha256,
        notes=tuple(lines),
    )
    return Corpus(settings, measures=measures, split=split, statistics=statistics)


@dataclass(slots=True)
class _Side:
    num_documents: int = 0
    num_bytes: int = 0


def _measure_sides(
    settings: CorpusSettings, measures: Measures, split: Split
) -> dict[SplitName, _Side]:
    sides: dict[SplitName, _Side] = {"train": _Side(), "held_out": _Side()}
    if (held_out := split.held_out_documents) is not None:
        num_bytes = measures.document_bytes()
        sides["train"] = _Side(int((~held_out).sum()), int(num_bytes[~held_out].sum()))
        sides["held_out"] = _Side(int(held_out.sum()), int(num_bytes[held_out].sum()))
        return sides
    # Where blocks are cut depends on the text around their ends, so it is read once more.
    for name, document in _divided(settings, measures, split):
        sides[name].num_documents += document.ends_here
        sides[name].num_bytes += len(document.text.encode("utf-8"))
    return sides


def _divided(
    settings: CorpusSettings, measures: Measures, split: Split
) -> Iterator[tuple[SplitName, Document]]:
    starts = measures.part_starts()
    documents = measures.document_of_part()
    for part, document in enumerate(read_documents(settings, Tally())):
        measures.check(part, document)
        yield from split.divide(document, index=int(documents[part]), start=int(starts[part]))


def _file_name(document: Document) -> str:
    """The name without the number of a part or of a record."""
    return _NUMBER.sub("", document.name)
