"""Bytes to text: encodings, the policies for invalid bytes, odd characters."""

from pathlib import Path

import pytest

from training.corpus import CorpusError, CorpusSettings, load_corpus
from training.corpus.settings import InvalidText

RUSSIAN = "".join(map(chr, range(0x410, 0x450))) + ".\n"  # the alphabet
LINES = [f"{number} {RUSSIAN}" for number in range(100)]
TEXT = "".join(LINES)


def load_text(path: Path, content: bytes, **settings: object) -> tuple[str, list[str]]:
    path.write_bytes(content)
    announced: list[str] = []
    made = CorpusSettings((str(path),), held_out_by="tail", **settings)  # pyright: ignore[reportArgumentType]: the keywords of each test
    corpus = load_corpus(made, announce=announced.append)
    pieces = [doc.text for split in ("train", "held_out") for doc in corpus.documents(split)]
    return "".join(pieces), announced


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"], ids=lambda name: f"as {name}"
)
def test_unicode_encodings_are_told_by_their_mark(tmp_path: Path, encoding: str) -> None:
    assert load_text(tmp_path / "a.txt", TEXT.encode(encoding))[0] == TEXT


def test_big_endian_is_told_too(tmp_path: Path) -> None:
    content = b"\xfe\xff" + TEXT.encode("utf-16-be")
    assert load_text(tmp_path / "a.txt", content)[0] == TEXT


@pytest.mark.parametrize("encoding", ["windows-1251", "koi8-r", "gb18030", "utf-16-le"])
def test_another_encoding_works_when_it_is_named(tmp_path: Path, encoding: str) -> None:
    content = TEXT.encode(encoding)
    assert load_text(tmp_path / "a.txt", content, encoding=encoding)[0] == TEXT


@pytest.mark.parametrize("encoding", ["windows-1251", "koi8-r", "utf-16-le"])
def test_another_encoding_that_is_not_named_is_an_error_that_says_what_to_set(
    tmp_path: Path, encoding: str
) -> None:
    with pytest.raises(CorpusError, match=r"corpus\.encoding"):
        load_text(tmp_path / "a.txt", TEXT.encode(encoding))


def test_an_unknown_encoding_is_an_error(tmp_path: Path) -> None:
    for encoding in ("no-such", "hex", ""):
        with pytest.raises(CorpusError, match=r"corpus\.encoding"):
            load_text(tmp_path / "a.txt", TEXT.encode(), encoding=encoding)


def test_the_encoding_that_a_gutenberg_header_names_is_used(tmp_path: Path) -> None:
    text = (
        "Title: X\n\nCharacter set encoding: ISO-8859-1\n\n"
        + "caf\u00e9 na\u00efve \u00fcber\n" * 200
    )
    assert load_text(tmp_path / "a.txt", text.encode("latin-1"))[0] == text
    # What is valid UTF-8 is UTF-8, whatever the header says.
    assert load_text(tmp_path / "b.txt", text.encode("utf-8"))[0] == text


BROKEN = (TEXT + "tail \ufffd\n").encode() + b"\xff one \xc3( two \xf0\x9f\x98 three\n"


def test_a_few_invalid_bytes_are_replaced_and_counted(tmp_path: Path) -> None:
    text, announced = load_text(tmp_path / "a.txt", BROKEN)
    assert text == TEXT + "tail \ufffd\n\ufffd one \ufffd( two \ufffd three\n"
    assert any("corpus.invalid_text: 3 invalid byte sequences" in line for line in announced)


@pytest.mark.parametrize("policy", ["skip", "error"])
def test_other_policies_for_invalid_bytes(tmp_path: Path, policy: InvalidText) -> None:
    (tmp_path / "good.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "bad.txt").write_bytes(BROKEN)
    settings = CorpusSettings((str(tmp_path),), invalid_text=policy)
    if policy == "error":
        with pytest.raises(CorpusError, match=r"bad\.txt.*invalid_text"):
            load_corpus(settings, announce=lambda _: None)
        return
    statistics = load_corpus(settings, announce=lambda _: None).statistics
    assert statistics.num_documents == 1
    assert (statistics.num_skipped, statistics.num_invalid) == (1, 3)


def test_line_ends_become_line_feeds_and_nul_goes(tmp_path: Path) -> None:
    content = TEXT.replace("\n", "\r\n").encode() + b"old mac\rnext\0line\r\n"
    text, announced = load_text(tmp_path / "a.txt", content)
    assert text == TEXT + "old mac\nnextline\n"
    assert any("NUL" in line for line in announced)
    assert any("carriage return" in line for line in announced)


def test_text_is_not_normalised(tmp_path: Path) -> None:
    text = TEXT + "caf\u00e9 cafe\u0301 \ufb01 \u2126\n"
    assert load_text(tmp_path / "a.txt", text.encode())[0] == text
