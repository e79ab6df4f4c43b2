"""A corpus as a user loads it: every kind of source, what is announced, what is an error."""

import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from training.corpus import Corpus, CorpusError, CorpusSettings, load_corpus
from training.corpus.settings import Rule

PARAGRAPH = "Once there was a small house by the sea, and nobody knew who lived in it any more.\n\n"


def load(*sources: Path | str, **settings: object) -> tuple[Corpus, list[str]]:
    lines: list[str] = []
    made = CorpusSettings(tuple(str(source) for source in sources), **settings)  # pyright: ignore[reportArgumentType]: the keywords of each test
    return load_corpus(made, announce=lines.append), lines


def names(corpus: Corpus) -> set[str]:
    return {
        document.name.partition("#")[0]
        for split in ("train", "held_out")
        for document in corpus.documents(split)
    }


def book(number: int, *, num_paragraphs: int = 20) -> str:
    return "".join(f"{number} {index} {PARAGRAPH}" for index in range(num_paragraphs))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Texts of every kind, with things between them that are none."""
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "a.txt").write_text(book(1), encoding="utf-8")
    (tmp_path / "sub" / "b.md").write_text(book(2), encoding="utf-8")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(book(3).encode()))
    (tmp_path / "sub" / "d.txt.xz").write_bytes(lzma.compress(book(4).encode()))
    records = "".join(
        json.dumps({"text": book(5 + index), "id": index}) + "\n" for index in range(2)
    )
    (tmp_path / "e.jsonl.gz").write_bytes(gzip.compress(records.encode()))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / ".git" / "hidden.txt").write_text(book(9), encoding="utf-8")
    return tmp_path


def test_a_folder_gives_its_texts_plain_or_packed_and_nothing_else(folder: Path) -> None:
    corpus, lines = load(folder)
    assert names(corpus) == {"a.txt", "sub/b.md", "c.txt", "sub/d.txt", "e.jsonl:1", "e.jsonl:2"}
    assert corpus.statistics.num_files == 5
    assert corpus.statistics.num_documents == 6
    assert corpus.statistics.num_bytes == sum(len(book(number)) for number in range(1, 7))
    assert lines == list(corpus.statistics.notes)
    assert f"{corpus.statistics.num_bytes:,} bytes" in lines[0]


def test_globs_choose_among_the_files_of_a_folder(folder: Path) -> None:
    assert names(load(folder, include=("*.txt*",))[0]) == {"a.txt", "c.txt", "sub/d.txt"}
    assert names(load(folder, include=("sub/*",))[0]) == {"sub/b.md", "sub/d.txt"}
    without = names(load(folder, exclude=("sub/*", "*.jsonl.gz"))[0])
    assert without == {"a.txt", "c.txt"}


def test_several_sources_are_read_in_order(folder: Path) -> None:
    corpus, _ = load(folder / "c.txt.gz", folder / "a.txt", held_out_by="tail")
    assert "".join(document.text for document in corpus.documents("train")).startswith(book(3))


@pytest.mark.parametrize(
    ("suffix", "pack"), [("tar", bytes), ("tar.gz", gzip.compress), ("tar.xz", lzma.compress)]
)
def test_an_archive_s_members_are_documents(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("train/a.txt", "train/b.txt", "validation/c.txt", "test/d.txt", "list.tsv"):
            info = tarfile.TarInfo(name)
            content = book(len(name)).encode()
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    path = tmp_path / f"books.{suffix}"
    path.write_bytes(pack(buffer.getvalue()))
    corpus, _ = load(path, held_out_paths=("validation/*",), exclude=("test/*",))
    assert [document.name for document in corpus.documents("held_out")] == ["validation/c.txt"]
    assert [document.name for document in corpus.documents("train")] == [
        "train/a.txt",
        "train/b.txt",
    ]


def test_a_distribution_s_text_files_are_found_without_running_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "tales"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('this code was run')")
    (package / "one.md").write_text(book(1), encoding="utf-8")
    (package / "two.md").write_text(book(2, num_paragraphs=40), encoding="utf-8")
    information = tmp_path / "tales_of_old-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tales-of-old\nVersion: 1.0\n"
    )
    files = ("tales/__init__.py", "tales/one.md", "tales/two.md")
    (information / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    monkeypatch.syspath_prepend(tmp_path)
    assert names(load("dist:tales-of-old/*.md")[0]) == {"tales/one.md", "tales/two.md"}
    assert names(load("dist:tales-of-old/tales/tw*")[0]) == {"tales/two.md"}
    for source in (
        "dist:no-such-tales/*.md",
        "dist:tales-of-old/*.txt",
        "dist:tales-of-old",
        "dist:",
    ):
        with pytest.raises(CorpusError):
            load(source)


def test_a_book_is_cleaned_and_what_was_removed_is_announced(tmp_path: Path) -> None:
    prose = "\n".join(["it was a long way to the sea and a longer one back to the hills and"] * 9)
    text = "Title\r\n\r\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n\r\n"
    text += (f"{prose}\n\n" * 8).replace("\n", "\r\n")
    text += "*** END OF THE PROJECT GUTENBERG EBOOK X ***\r\nlicence\r\n"
    (tmp_path / "x.txt").write_bytes(text.encode())
    corpus, lines = load(tmp_path / "x.txt")
    joined = "\n\n".join([prose.replace("\n", " ")] * 8) + "\n"
    assert corpus.statistics.num_bytes == len(joined)
    removed = len(text.replace("\r", "")) - len(joined)
    assert corpus.statistics.removed_bytes == {"cut_gutenberg": removed, "join_wrapped_lines": 0}
    assert any("corpus.cut_gutenberg" in line and f"{removed:,}" in line for line in lines)
    assert any("corpus.join_wrapped_lines" in line and "64 lines" in line for line in lines)
    off: Rule = "off"
    unchanged, _ = load(tmp_path / "x.txt", cut_gutenberg=off, join_wrapped_lines=off)
    assert unchanged.statistics.num_bytes == len(text.replace("\r", ""))


def test_markdown_is_stripped_in_packed_files_too_and_announced(tmp_path: Path) -> None:
    text = "# Tale\n\n" + "**Once** there was _a_ house  \nby the sea.\n\n" * 60
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    (tmp_path / "b.md.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "c.md.xz").write_bytes(lzma.compress(text.encode()))
    (tmp_path / "d.txt").write_text(text, encoding="utf-8")
    corpus, lines = load(tmp_path)
    removed = 3 * (2 + 60 * 8)
    assert corpus.statistics.removed_bytes == {"strip_markdown": removed}
    assert any(
        "corpus.strip_markdown" in line and f"{removed:,}" in line and "3 documents" in line
        for line in lines
    )
    texts = {document.name: document.text for document in corpus.all_documents()}
    assert texts["a.md"] == texts["b.md"] == texts["c.md"]
    assert texts["a.md"].startswith("Tale\n\nOnce there was a house\nby the sea.\n\nOnce")
    assert texts["d.txt"] == text


def test_a_refused_cleaning_is_announced(tmp_path: Path) -> None:
    text = book(1) + "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n" + "licence words\n" * 60
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    corpus, lines = load(tmp_path / "x.txt")
    assert corpus.statistics.num_bytes == len(text)
    assert any("not applied" in line and "max_removed_fraction" in line for line in lines)


def test_streams_repeat_and_the_digest_is_of_the_text(folder: Path) -> None:
    first, _ = load(folder)
    second, _ = load(folder)
    assert list(first.documents("train")) == list(first.documents("train"))
    assert first.statistics == second.statistics
    (folder / "a.txt").write_text(book(1).replace("small", "tiny "), encoding="utf-8")
    assert load(folder)[0].statistics.sha256 != first.statistics.sha256


def test_a_file_that_changes_meanwhile_is_noticed(folder: Path) -> None:
    corpus, _ = load(folder)
    (folder / "a.txt").write_text(book(7), encoding="utf-8")
    with pytest.raises(CorpusError, match="changed"):
        list(corpus.documents("train"))


def test_empty_documents_and_duplicates_are_counted(folder: Path) -> None:
    (folder / "empty.txt").write_text(" \n\n", encoding="utf-8")
    (folder / "again.txt").write_text(book(1), encoding="utf-8")
    statistics = load(folder)[0].statistics
    assert (statistics.num_empty, statistics.num_duplicates) == (1, 1)


def test_a_source_that_cannot_be_used_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("Too little.", encoding="utf-8")
    (tmp_path / "broken.txt.gz").write_bytes(gzip.compress(book(1).encode())[:-20])
    (tmp_path / "plain.txt.xz").write_bytes(b"this is no xz file")
    (tmp_path / "book.epub").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "book.pdf").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "binary.dat").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive at all")
    (tmp_path / "none").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    cases = {path.name: path for path in tmp_path.iterdir()}
    cases["missing.txt"] = tmp_path / "missing.txt"
    for name, path in cases.items():
        with pytest.raises(CorpusError) as caught:
            load(path)
        assert name.removesuffix(".gz").removesuffix(".xz") in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("held_out_fraction", 0.0),
        ("held_out_fraction", 0.6),
        ("max_removed_fraction", 1.5),
        ("max_invalid_fraction", -0.1),
        ("max_held_out_bytes", 10),
        ("max_document_bytes", 10),
        ("held_out_by", "magic"),
        ("cut_gutenberg", "maybe"),
        ("join_wrapped_lines", "yes"),
        ("strip_markdown", "yes"),
        ("invalid_text", "ignore"),
        ("bad_records", "ignore"),
        ("sources", ()),
    ],
)
def test_a_setting_out_of_range_is_an_error_with_its_name_and_value(
    setting: str, value: object
) -> None:
    with pytest.raises(CorpusError) as caught:
        CorpusSettings(**{"sources": ("x",), setting: value})  # pyright: ignore[reportArgumentType]: wrong on purpose
    assert f"corpus.{setting}" in str(caught.value)
    assert str(value) in str(caught.value) or setting == "sources"
