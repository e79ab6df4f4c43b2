"""Bytes to text: encodings, invalid bytes by a stated policy, line ends, NUL characters.

Text is not normalised to NFC or any other form: what the author wrote is what the model sees.
"""

import codecs
import re
from dataclasses import dataclass

from training.corpus.document import CorpusError
from training.corpus.settings import CorpusSettings

__all__ = [
    "DecodedText",
    "NormalisedText",
    "choose_encoding",
    "decode",
    "normalise",
    "without_surrogates",
]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    # UTF-32's little-endian mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_GUTENBERG_ENCODING = re.compile(rb"^Character set encoding: *([\w.-]+)", re.MULTILINE)
_HEADER_BYTES = 20_000
_NOT_TEXT = {
    b"PK\x03\x04": "a zip file (as .epub and .docx are)",
    b"%PDF": "a PDF file",
    b"\x1f\x8b": "a gzip file without the name ending .gz",
    b"\xfd7zXZ": "an xz file without the name ending .xz",
    b"SQLite": "a database",
    b"\x89PNG": "a picture",
    b"PAR1": "a parquet file",
}
# Fewer replaced bytes than this say nothing about a file's encoding.
_FEW_INVALID = 20
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A text, or None where the policy is to skip it, and its number of invalid sequences."""

    text: str | None
    num_invalid: int = 0


@dataclass(frozen=True, slots=True)
class NormalisedText:
    """A text with line feeds as line ends and without NUL, and how many of each it lost."""

    text: str
    num_nul: int
    num_carriage_returns: int


def choose_encoding(head: bytes, settings: CorpusSettings, *, name: str) -> tuple[str, int]:
    """The encoding of a file and the length of its byte order mark, from its first bytes.

    Raises:
        CorpusError: the setting names no encoding, or the bytes are not text.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark) and settings.encoding == "auto":
            return encoding, len(mark)
    if settings.encoding != "auto":
        return _checked(settings.encoding), 0
    for magic, kind in _NOT_TEXT.items():
        if head.startswith(magic):
            raise CorpusError(f"{name} is {kind}, not plain text")
    sample = head[:65_536]
    if sample.count(0) * 100 > len(sample):
        raise CorpusError(
            f"{name} is not plain text: more than 1 % of its bytes are zero (a binary file, or "
            f"UTF-16 without a byte order mark: then set corpus.encoding to utf-16-le)"
        )
    if (declared := _GUTENBERG_ENCODING.search(head[:_HEADER_BYTES])) and not _is_utf8(head):
        try:
            return codecs.lookup(declared[1].decode("ascii", "replace")).name, 0
        except LookupError:
            return "utf-8", 0
    return "utf-8", 0


def decode(
    raw: bytes, encoding: str, settings: CorpusSettings, *, name: str, is_sample: bool
) -> DecodedText:
    """Decodes by the policy of `settings.invalid_text`.

    Raises:
        CorpusError: the policy is error, or bytes that stand for a whole file (`is_sample`) have
            so many invalid ones that the file is in another encoding.
    """
    num_invalid = 0
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        text = raw.decode(encoding, errors="replace")
        genuine = raw.count("\ufffd".encode()) if encoding == "utf-8" else 0
        num_invalid = max(1, text.count("\ufffd") - genuine)
        match settings.invalid_text:
            case "error":
                raise CorpusError(
                    f"{name}: byte {error.start} is not valid {encoding} "
                    f"(corpus.invalid_text is error)"
                ) from None
            case "skip":
                return DecodedText(None, num_invalid=num_invalid)
            case "replace":
                limit = max(_FEW_INVALID, settings.max_invalid_fraction * len(raw))
                if is_sample and num_invalid > limit:
                    raise CorpusError(
                        f"{name}: {num_invalid:,} of {len(raw):,} bytes are not valid {encoding}, "
                        f"more than corpus.max_invalid_fraction "
                        f"({settings.max_invalid_fraction:g}); set corpus.encoding to the file's "
                        f"own (for example windows-1251, gb18030, latin-1)"
                    ) from None
    return DecodedText(text, num_invalid)


def without_surrogates(text: str) -> tuple[str, int]:
    """The text with each lone surrogate (JSON can carry them) as U+FFFD, and their number."""
    return _SURROGATE.subn("\ufffd", text)


def normalise(text: str) -> NormalisedText:
    """Makes CR LF and CR line feeds and takes out NUL; nothing else, NFC is not forced."""
    num_nul = text.count("\0")
    if num_nul:
        text = text.replace("\0", "")
    num_carriage_returns = text.count("\r")
    if num_carriage_returns:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return NormalisedText(text, num_nul, num_carriage_returns)


def _checked(encoding: str) -> str:
    try:
        "".encode(encoding)
        return codecs.lookup(encoding).name
    except LookupError:
        raise CorpusError(f"corpus.encoding is {encoding!r}, which is not an encoding") from None


def _is_utf8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
