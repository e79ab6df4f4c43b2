"""Reads source files as a stream of cleaned documents, counting what is met on the way.

One document is in memory at a time; a file longer than the limit is read in parts.
"""

import codecs
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import cast

from training.corpus.borders import nearest_border
from training.corpus.cleaning import clean
from training.corpus.decoding import (
    DecodedText,
    choose_encoding,
    decode,
    normalise,
    without_surrogates,
)
from training.corpus.document import CorpusError, Document
from training.corpus.settings import CorpusSettings
from training.corpus.sources import SourceFile, source_files, translated_read_errors

__all__ = ["Refusal", "Tally", "read_documents"]

# How far from a giant document's wanted cut a paragraph's end is looked for, in characters.
_BORDER_REACH = 100_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A cleaning rule that was not applied to a document, since it would have removed too much."""

    name: str
    rule: str
    num_bytes: int
    document_bytes: int


@dataclass(slots=True)
class Tally:
    """What one pass over the sources has met."""

    num_files: int = 0
    num_empty: int = 0
    num_skipped: int = 0
    num_bad_records: int = 0
    num_giant: int = 0
    num_invalid: int = 0
    num_invalid_documents: int = 0
    num_nul: int = 0
    num_carriage_returns: int = 0
    num_joined_lines: int = 0
    removed_bytes: Counter[str] = field(default_factory=Counter[str])
    changed_documents: Counter[str] = field(default_factory=Counter[str])
    refused: list[Refusal] = field(default_factory=list[Refusal])


def read_documents(settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    """Yields every document that is not empty, cleaned; parts of a giant one in order.

    Raises:
        CorpusError: a file or record cannot be used under the settings' policies.
    """
    for file in source_files(settings):
        tally.num_files += 1
        with translated_read_errors(file.name):
            read = _records if file.is_jsonl else _text_file
            yield from read(file, settings, tally)


def _text_file(file: SourceFile, settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    raw = file.stream.read(settings.max_document_bytes + 1)
    encoding, mark_length = choose_encoding(raw, settings, name=file.name)
    is_giant = len(raw) > settings.max_document_bytes
    raw = raw[mark_length:]
    if is_giant:
        yield from _parts(file.name, _giant_file(file, raw, encoding, settings, tally), tally)
        return
    decoded = decode(raw, encoding, settings, name=file.name, is_sample=True)
    text = _counted(decoded, tally)
    if text is not None:
        yield from _cleaned(file.name, _normalised(text, tally), settings, tally)


def _giant_file(
    file: SourceFile, head: bytes, encoding: str, settings: CorpusSettings, tally: Tally
) -> Iterator[str]:
    """The text of a file that is too long for one document, in parts cut between paragraphs."""
    raw, text, held_back = head, "", ""
    is_first, is_last = True, False
    while not is_last:
        if not is_first:
            following = file.stream.read(settings.max_document_bytes)
            is_last = not following
            raw += following
        # Only whole characters are decoded; the bytes of a cut one wait for the next ones.
        splitter = codecs.getincrementaldecoder(encoding)(errors="replace")
        splitter.decode(raw)
        num_waiting = 0 if is_last else len(splitter.getstate()[0])
        whole, raw = raw[: len(raw) - num_waiting], raw[len(raw) - num_waiting :]
        decoded = decode(whole, encoding, settings, name=file.name, is_sample=is_first)
        is_first = False
        new = held_back + (_counted(decoded, tally) or "")
        # A carriage return at the very end may be the first half of a line end.
        held_back = "\r" if new.endswith("\r") and not is_last else ""
        text += _normalised(new.removesuffix(held_back), tally)
        if not is_last:
            reach = min(len(text) // 8, _BORDER_REACH)
            cut = nearest_border(text, len(text) - reach, reach=reach)
            yield text[:cut]
            text = text[cut:]
    yield text


def _giant_record(text: str, settings: CorpusSettings) -> Iterator[str]:
    reach = min(settings.max_document_bytes // 8, _BORDER_REACH)
    start = 0
    while len(text) - start > settings.max_document_bytes:
        target = start + settings.max_document_bytes - reach
        end = nearest_border(text, target, reach=reach)
        yield text[start:end]
        start = end
    yield text[start:]


def _parts(name: str, texts: Iterable[str], tally: Tally) -> Iterator[Document]:
    """The parts that are not empty as documents, of which only the last ends."""
    tally.num_giant += 1
    held: Document | None = None
    filled = (text for text in texts if text.strip())
    for number, text in enumerate(filled, start=1):
        if held is not None:
            yield held
        held = Document(f"{name}#{number}", text, ends_here=False)
    if held is None:
        tally.num_empty += 1
    else:
        yield replace(held, ends_here=True)


def _records(file: SourceFile, settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    """The texts of a .jsonl file's records."""
    # JSON may spend six bytes (\\u4e2d) on what are three in UTF-8.
    max_line_bytes = 4 * settings.max_document_bytes
    number = 0
    while line := file.stream.readline(max_line_bytes + 1):
        number += 1
        name = f"{file.name}:{number}"
        if len(line) > max_line_bytes:
            raise CorpusError(
                f"{name}: the record is longer than {max_line_bytes:,} bytes "
                f"(4 times corpus.max_document_bytes)"
            )
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        decoded = decode(line, "utf-8", settings, name=name, is_sample=False)
        content = _counted(decoded, tally)
        if content is None or not content.strip():
            continue
        text = _record_text(content, settings, name=name)
        if text is None:
            tally.num_bad_records += 1
            continue
        text, num_surrogates = without_surrogates(text)
        tally.num_invalid += num_surrogates
        tally.num_invalid_documents += num_surrogates > 0
        yield from _cleaned(name, _normalised(text, tally), settings, tally)


def _record_text(content: str, settings: CorpusSettings, *, name: str) -> str | None:
    """The text of one record, None for a bad record that is to be skipped."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        problem = "is not valid JSON"
    else:
        match record:
            case {settings.jsonl_field: str(text)}:
                return text
            case dict():
                fields = ", ".join(sorted(cast("dict[str, object]", record))[:8])
                problem = (
                    f"has no text in the field {settings.jsonl_field!r} (corpus.jsonl_field); "
                    f"its fields are: {fields}"
                )
            case _:
                problem = "is not a JSON object"
    if settings.bad_records == "skip":
        return None
    raise CorpusError(f"{name}: the record {problem} (corpus.bad_records is error)")


def _counted(decoded: DecodedText, tally: Tally) -> str | None:
    tally.num_invalid += decoded.num_invalid
    tally.num_invalid_documents += decoded.num_invalid > 0
    tally.num_skipped += decoded.text is None
    return decoded.text


def _normalised(text: str, tally: Tally) -> str:
    normalised = normalise(text)
    tally.num_nul += normalised.num_nul
    tally.num_carriage_returns += normalised.num_carriage_returns
    return normalised.text


def _cleaned(name: str, text: str, settings: CorpusSettings, tally: Tally) -> Iterator[Document]:
    cleaned = clean(text, settings, name=name)
    tally.num_joined_lines += cleaned.num_joined_lines
    for rule, num_bytes in cleaned.removed_bytes.items():
        tally.removed_bytes[rule] += num_bytes
        tally.changed_documents[rule] += 1
    for rule, num_bytes in cleaned.refused_bytes.items():
        tally.refused.append(Refusal(name, rule, num_bytes, len(text.encode("utf-8"))))
    if len(cleaned.text) > settings.max_document_bytes:
        yield from _parts(name, _giant_record(cleaned.text, settings), tally)
    elif cleaned.text.strip():
        yield Document(name, cleaned.text)
    else:
        tally.num_empty += 1
