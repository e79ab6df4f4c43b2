"""Records and giant files: policies, parts, and that nothing is lost between parts."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus import CorpusError, CorpusSettings, Document
from training.corpus.borders import nearest_border
from training.corpus.reading import Tally, read_documents

PARAGRAPH = "\u00c9t\u00e9 comme hiver, the \U0001f600 sea was \u6d77\u3002 It was there.\r\n"
GIANT = "".join(f"{number} {PARAGRAPH}\r\n" for number in range(2_000))


def read(path: Path, **settings: object) -> tuple[list[Document], Tally]:
    tally = Tally()
    made = CorpusSettings((str(path),), **settings)  # pyright: ignore[reportArgumentType]: the keywords of each test
    return list(read_documents(made, tally)), tally


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("limit", [10_000, 10_001, 10_002, 33_333])
def test_a_giant_file_is_read_in_parts_between_paragraphs_and_nothing_is_lost(
    tmp_path: Path, encoding: str, limit: int
) -> None:
    path = tmp_path / "giant.txt"
    path.write_bytes(GIANT.encode(encoding))
    documents, tally = read(path, max_document_bytes=limit)
    assert "".join(document.text for document in documents) == GIANT.replace("\r", "")
    assert len(documents) > 4
    assert [document.ends_here for document in documents[:-1]] == [False] * (len(documents) - 1)
    assert documents[-1].ends_here
    assert all(document.text.endswith("\n\n") for document in documents)
    assert documents[1].name == "giant.txt#2"
    assert (tally.num_giant, tally.num_files, tally.num_empty) == (1, 1, 0)


def test_a_giant_file_without_any_border_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "giant.txt"
    path.write_text("x\u0301" * 40_000, encoding="utf-8")
    documents, _ = read(path, max_document_bytes=10_000)
    assert "".join(document.text for document in documents) == "x\u0301" * 40_000
    assert all(document.text.startswith("x") for document in documents)


def test_invalid_bytes_in_a_giant_file_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "giant.txt"
    path.write_bytes(GIANT.encode() + b"\xff end \xc3")
    documents, tally = read(path, max_document_bytes=10_000)
    assert documents[-1].text.endswith("\ufffd end \ufffd")
    assert tally.num_invalid == 2


def write_records(path: Path, records: list[object]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_each_record_is_a_document_by_its_field(tmp_path: Path) -> None:
    records: list[object] = [{"id": 1, "body": "one"}, {"body": " \n"}, {"body": "t\u00e9\r\nwo"}]
    path = write_records(tmp_path / "a.jsonl", records)
    documents, tally = read(path, jsonl_field="body")
    assert [(document.name, document.text) for document in documents] == [
        ("a.jsonl:1", "one"),
        ("a.jsonl:3", "t\u00e9\nwo"),
    ]
    assert tally.num_empty == 1


def test_a_lone_surrogate_in_a_record_is_replaced_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a\\ud800b \\ud83d\\ude00"}\n', encoding="utf-8")
    documents, tally = read(path)
    assert documents[0].text == "a\ufffdb \U0001f600"
    assert tally.num_invalid == 1


@pytest.mark.parametrize(
    "line", ['{"text": 5}', '{"body": "x"}', "[1]", "null", "{", "plain words", "[" * 100_000]
)
def test_a_bad_record_is_an_error_with_file_and_line_or_skipped(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "good"}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"a\.jsonl:3"):
        read(path)
    documents, tally = read(path, bad_records="skip")
    assert len(documents) == 1
    assert tally.num_bad_records == 1


def test_a_giant_record_is_cut_and_an_endless_line_is_an_error(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.jsonl", [{"text": GIANT[:30_000]}, {"text": "small"}])
    documents, tally = read(path, max_document_bytes=16_000)
    assert "".join(document.text for document in documents[:-1]) == GIANT[:30_000].replace("\r", "")
    assert [document.ends_here for document in documents[-2:]] == [True, True]
    assert tally.num_giant == 1
    write_records(path, [{"text": "x" * 100_000}])
    with pytest.raises(CorpusError, match="max_document_bytes"):
        read(path, max_document_bytes=10_000)


@given(
    text=st.text(alphabet="ab \n.\u3002\u0301", max_size=60),
    target=st.integers(-5, 70),
    reach=st.integers(0, 30),
)
def test_a_border_is_near_its_target_and_never_before_a_combining_mark_in_a_run(
    text: str, target: int, reach: int
) -> None:
    border = nearest_border(text, target, reach=reach)
    assert 0 <= border <= len(text)
    found = text[border - 1 : border]
    if found not in ("\n", " ", "\u3002", "") and 0 < border < len(text):
        assert text[border] != "\u0301"


@pytest.mark.parametrize(
    ("text", "border_before"),
    [
        ("one two. Three four\nfive\n\nsix seven eight nine ten", "six"),
        ("one two. Three four\nfive six. Seven eight nine ten", "five"),
        ("one two three four five six. Seven eight nine ten", "Seven"),
        ("one two three four five six seven eight nine ten", "six"),
        ("\u4e00\u4e8c\u4e09\u3002\u56db\u4e94\u516d\u4e03", "\u56db"),
    ],
)
def test_the_best_sort_of_border_wins(text: str, border_before: str) -> None:
    border = nearest_border(text, len(text) // 2, reach=len(text) // 2 - 1)
    assert text[border:].startswith(border_before)
