"""What is held out: its size, its place, that it is disjoint from the rest and repeatable."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.corpus import Corpus, CorpusError, CorpusSettings, Document, SplitName, load_corpus
from training.corpus.splitting import Split

PARAGRAPH = "There was once a house by the sea. Nobody knew who lived in it; nobody asked.\n\n"
# Letters without any space, sentences of seven; some 3 bytes each.
CHINESE = "".join(
    chr(0x4E00 + number * 7919 % 5000) + ("\u3002" if number % 7 == 6 else "")
    for number in range(20_000)
)


def load(*paths: Path, **kwargs: object) -> Corpus:
    made = CorpusSettings(tuple(map(str, paths)), **kwargs)  # pyright: ignore[reportArgumentType]: the keywords of each test
    return load_corpus(made, announce=lambda _: None)


def numbered(num_paragraphs: int) -> str:
    return "".join(f"{number}. {PARAGRAPH}" for number in range(num_paragraphs))


def texts(corpus: Corpus, split: SplitName) -> list[str]:
    return [document.text for document in corpus.documents(split)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def check_statistics(corpus: Corpus) -> None:
    statistics = corpus.statistics
    sides: tuple[tuple[SplitName, int, int], ...] = (
        ("train", statistics.train_bytes, statistics.num_train_documents),
        ("held_out", statistics.held_out_bytes, statistics.num_held_out_documents),
    )
    for split, num_bytes, num_documents in sides:
        found = list(corpus.documents(split))
        assert sum(len(document.text.encode()) for document in found) == num_bytes
        assert sum(document.ends_here for document in found) == num_documents


def test_one_file_is_held_out_in_blocks_over_all_of_it_between_paragraphs(tmp_path: Path) -> None:
    text = numbered(4_000)
    corpus = load(write(tmp_path / "a.txt", text))
    check_statistics(corpus)
    train, held_out = texts(corpus, "train"), texts(corpus, "held_out")
    assert 0.095 < corpus.statistics.held_out_bytes / len(text) < 0.105
    assert len(held_out) >= 4
    assert sorted("".join(train + held_out).split("\n\n")) == sorted(text.split("\n\n"))
    places = [text.index(block) / len(text) for block in held_out]
    assert [int(place * len(held_out)) for place in places] == list(range(len(held_out)))
    assert all(block.endswith("\n\n") and block[0].isdigit() for block in train + held_out)
    assert [document.text for document in corpus.all_documents()] == [text]


@given(
    num_paragraphs=st.integers(50, 400),
    fraction=st.sampled_from([0.02, 0.1, 0.3, 0.5]),
    seed=st.integers(0, 3),
    num_files=st.integers(1, 3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_lose_nothing_and_come_near_the_wanted_size(
    tmp_path: Path, num_paragraphs: int, fraction: float, seed: int, num_files: int
) -> None:
    paths = [write(tmp_path / f"{n}.txt", numbered(num_paragraphs)) for n in range(num_files)]
    corpus = load(*paths, held_out_fraction=fraction, split_seed=seed, held_out_by="blocks")
    check_statistics(corpus)
    total = num_files * len(numbered(num_paragraphs))
    assert corpus.statistics.train_bytes + corpus.statistics.held_out_bytes == total
    assert 0.5 * fraction < corpus.statistics.held_out_bytes / total < 1.5 * fraction


def test_a_text_without_spaces_is_cut_between_sentences(tmp_path: Path) -> None:
    corpus = load(write(tmp_path / "a.txt", CHINESE))
    check_statistics(corpus)
    assert 0.09 < corpus.statistics.held_out_bytes / len(CHINESE.encode()) < 0.11
    blocks = texts(corpus, "train")[:-1] + texts(corpus, "held_out")
    assert all(block.endswith("\u3002") for block in blocks)


def test_a_giant_file_is_held_out_in_blocks_over_all_its_parts(tmp_path: Path) -> None:
    text = numbered(3_000)
    corpus = load(write(tmp_path / "a.txt", text), max_document_bytes=20_000)
    check_statistics(corpus)
    assert corpus.statistics.num_documents == 1
    assert corpus.statistics.num_train_documents > corpus.statistics.num_held_out_documents - 2
    held_out = texts(corpus, "held_out")
    # Four blocks, one in each quarter.
    assert text.index(held_out[0]) < 0.25 * len(text)
    assert text.index(held_out[-1]) > 0.7 * len(text)
    train = list(corpus.documents("train"))
    assert sum(document.ends_here for document in train) < len(train)
    assert train[-1].ends_here


def test_a_side_ends_where_the_other_begins_also_at_the_edge_of_a_part() -> None:
    split = Split("", ranges=((10, 20), (30, 50)), is_exact=True)
    parts = ["a" * 10, "b" * 10, "c" * 20, "d" * 20]
    starts = [0, 10, 20, 40]
    found = [
        (side, piece.text, piece.ends_here)
        for index, (text, start) in enumerate(zip(parts, starts, strict=True))
        for side, piece in split.divide(
            Document(f"x#{index}", text, ends_here=index == 3), index=0, start=start
        )
    ]
    assert found == [
        ("train", "a" * 10, True),
        ("held_out", "b" * 10, True),
        ("train", "c" * 10, True),
        ("held_out", "c" * 10, False),
        ("held_out", "d" * 10, True),
        ("train", "d" * 10, True),
    ]


def test_the_tail_is_the_customary_split_of_tinyshakespeare(shared_data: Path) -> None:
    path = shared_data / "tinyshakespeare" / "input.txt"
    text = path.read_text(encoding="utf-8")
    corpus = load(path, held_out_by="tail")
    cut = int(len(text) * 0.9)
    assert texts(corpus, "train") == [text[:cut]]
    assert texts(corpus, "held_out") == [text[cut:]]


def test_a_large_corpus_is_held_out_up_to_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", numbered(4_000))
    for way in ("auto", "tail"):
        corpus = load(path, held_out_by=way, max_held_out_bytes=5_000)
        assert 4_000 < corpus.statistics.held_out_bytes < 6_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(40):
        write(tmp_path / f"{number:02}.txt", f"Book {number}.\n\n" + numbered(20 + number % 7))
    return tmp_path


def test_whole_documents_are_held_out_where_there_are_enough(folder: Path) -> None:
    corpus = load(folder)
    check_statistics(corpus)
    held_out, train = texts(corpus, "held_out"), texts(corpus, "train")
    assert len(held_out) + len(train) == 40
    assert not set(held_out) & set(train)
    fraction = corpus.statistics.held_out_bytes / corpus.statistics.num_bytes
    assert 0.09 < fraction < 0.11
    assert texts(load(folder), "held_out") == held_out
    assert texts(load(folder, split_seed=1), "held_out") != held_out


def test_names_and_order_do_not_change_the_choice(folder: Path) -> None:
    held_out = set(texts(load(folder), "held_out"))
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"{99 - int(path.stem)}-renamed.txt"))
    assert set(texts(load(folder), "held_out")) == held_out


def test_equal_documents_are_on_one_side(tmp_path: Path) -> None:
    records = [{"text": f"Tale {number % 50}. {PARAGRAPH}"} for number in range(200)]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    corpus = load(path)
    assert not set(texts(corpus, "train")) & set(texts(corpus, "held_out"))
    assert corpus.statistics.num_duplicates == 150


def test_few_large_documents_are_divided_into_blocks(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.txt", numbered(300))
    corpus = load(tmp_path)
    assert 0.08 < corpus.statistics.held_out_bytes / corpus.statistics.num_bytes < 0.12
    by_document = load(tmp_path, include=("0.txt", "1.txt"), held_out_by="blocks")
    check_statistics(by_document)


def test_whole_documents_on_demand_even_if_there_are_two(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", numbered(300))
    write(tmp_path / "b.txt", "Another.\n\n" + numbered(60))
    corpus = load(tmp_path, held_out_by="document")
    assert [document.name for document in corpus.documents("held_out")] == ["b.txt"]


def test_one_document_cannot_be_held_out_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", numbered(100))
    with pytest.raises(CorpusError, match=r"corpus\.held_out_by"):
        load(path, held_out_by="document")
    with pytest.raises(CorpusError, match=r"corpus\.held_out_by"):
        load(path, path, held_out_by="document")


def test_held_out_files_by_name_are_exactly_those(folder: Path) -> None:
    corpus = load(folder, held_out_paths=("03.txt", "3*.txt"))
    check_statistics(corpus)
    held_out = {document.name for document in corpus.documents("held_out")}
    assert held_out == {"03.txt", *(f"3{digit}.txt" for digit in range(10))}
    packed = load(folder, held_out_paths=("03.txt.gz",))
    assert [document.name for document in packed.documents("held_out")] == ["03.txt"]
    for globs in (("no-such*",), ("*.txt",)):
        with pytest.raises(CorpusError, match=r"corpus\.held_out_paths"):
            load(folder, held_out_paths=globs)


def test_the_fairy_tales_are_split_as_their_archive_says(shared_data: Path) -> None:
    path = shared_data / "books" / "fairy-tales.tar.xz"
    corpus = load(path, held_out_paths=("validation/*",), exclude=("test/*",))
    statistics = corpus.statistics
    # The figures of the shared data's README: nothing was cleaned away.
    assert (statistics.train_bytes, statistics.num_train_documents) == (22_072_427, 61)
    assert (statistics.held_out_bytes, statistics.num_held_out_documents) == (600_134, 2)
    assert statistics.removed_bytes == {}


def test_the_records_of_a_held_out_file_are_held_out(tmp_path: Path) -> None:
    for name, size in (("train", 50), ("validation", 5)):
        records = [{"text": f"{name} {number} {PARAGRAPH}"} for number in range(size)]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write(tmp_path / f"{name}.jsonl", lines)
    corpus = load(tmp_path, held_out_paths=("validation.jsonl",))
    assert corpus.statistics.num_held_out_documents == 5
    assert all(text.startswith("validation") for text in texts(corpus, "held_out"))


@pytest.mark.parametrize("way", ["blocks", "tail", "auto"])
@pytest.mark.parametrize("text", [PARAGRAPH * 27, "x" * 2_000, "\u6d77" * 700])
def test_the_smallest_corpus_can_be_split(tmp_path: Path, way: str, text: str) -> None:
    corpus = load(write(tmp_path / "a.txt", text), held_out_by=way)
    check_statistics(corpus)
    assert corpus.statistics.held_out_bytes > 0
    assert corpus.statistics.train_bytes + corpus.statistics.held_out_bytes == len(text.encode())
