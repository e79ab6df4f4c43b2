"""Says in lines for the user what reading a corpus has met, removed and refused."""

from training.corpus.cleaning import CUT_GUTENBERG, JOIN_WRAPPED_LINES, STRIP_MARKDOWN
from training.corpus.measures import Measures
from training.corpus.reading import Tally
from training.corpus.settings import CorpusSettings

__all__ = ["tally_lines"]

_MAX_NAMED = 5


def tally_lines(tally: Tally, settings: CorpusSettings, measures: Measures) -> list[str]:
    """One line for each thing that happened; only the first is always there."""
    lines = [
        f"corpus: {_count(tally.num_files, 'file')}, "
        f"{_count(measures.num_documents, 'document')}, {measures.total_bytes:,} bytes of text"
    ]
    if num_documents := tally.changed_documents[CUT_GUTENBERG]:
        lines.append(
            f"corpus.cut_gutenberg: removed {tally.removed_bytes[CUT_GUTENBERG]:,} bytes of header "
            f"and licence from {_count(num_documents, 'document')}"
        )
    if num_documents := tally.changed_documents[JOIN_WRAPPED_LINES]:
        lines.append(
            f"corpus.join_wrapped_lines: joined {_count(tally.num_joined_lines, 'line')} of "
            f"{_count(num_documents, 'document')}, "
            f"{_count(tally.removed_bytes[JOIN_WRAPPED_LINES], 'byte')} removed"
        )
    if num_documents := tally.changed_documents[STRIP_MARKDOWN]:
        lines.append(
            f"corpus.strip_markdown: removed "
            f"{_count(tally.removed_bytes[STRIP_MARKDOWN], 'byte')} of marks from "
            f"{_count(num_documents, 'document')}"
        )
    lines += [
        f"corpus.{refusal.rule}: not applied to {refusal.name}, it would remove "
        f"{refusal.num_bytes:,} of {refusal.document_bytes:,} bytes, more than "
        f"corpus.max_removed_fraction ({settings.max_removed_fraction:g}); set it to on to do so"
        for refusal in tally.refused[:_MAX_NAMED]
    ]
    if len(tally.refused) > _MAX_NAMED:
        lines.append(f"... and {len(tally.refused) - _MAX_NAMED:,} more refused")
    if tally.num_invalid:
        done = "skipped" if settings.invalid_text == "skip" else "replaced by U+FFFD"
        lines.append(
            f"corpus.invalid_text: {_count(tally.num_invalid, 'invalid byte sequence')} in "
            f"{_count(tally.num_invalid_documents, 'document')} {done}"
        )
    if tally.num_bad_records:
        lines.append(
            f"corpus.bad_records: {_count(tally.num_bad_records, 'unusable record')} skipped"
        )
    if tally.num_carriage_returns:
        lines.append(
            f"corpus: {_count(tally.num_carriage_returns, 'carriage return')} made plain line ends"
        )
    if tally.num_nul:
        lines.append(f"corpus: {_count(tally.num_nul, 'NUL character')} removed")
    if tally.num_empty:
        lines.append(f"corpus: {_count(tally.num_empty, 'empty document')} left out")
    if tally.num_giant:
        lines.append(
            f"corpus: {_count(tally.num_giant, 'giant document')} read in parts of at most "
            f"{settings.max_document_bytes:,} bytes (corpus.max_document_bytes)"
        )
    if measures.num_duplicates:
        lines.append(
            f"corpus: {_count(measures.num_duplicates, 'document')} with the text of an earlier "
            f"one, kept on the same side"
        )
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
