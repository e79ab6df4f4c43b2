"""Byte-level BPE training against the reference merges of the shared data, and against counts.

The reference breaks ties by the greater pair, the tokenizers library otherwise, and one broken tie
changes what follows. So both lists are replayed on the text: at every step the merged pair must
be one of the most frequent of that moment.
"""

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias, cast

import pytest
import regex

from model.token_bytes import byte_alphabet
from model.tokenizer import END_OF_TEXT
from training.tokenizer_training import train_tokenizer

Pair: TypeAlias = tuple[str, str]

VOCABULARY_SIZE = 500
GPT_2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTE_OF = {symbol: value for value, symbol in byte_alphabet().items()}


@pytest.fixture(scope="module")
def text(shared_data: Path) -> str:
    return (shared_data / "bpe-reference" / "corpus.en").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> list[Pair]:
    path = shared_data / "bpe-reference" / "train-bpe-reference-merges.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    return [cast("Pair", tuple(line.split(" "))) for line in lines]


@pytest.fixture(scope="module")
def trained(text: str) -> dict[str, object]:
    tokenizer = train_tokenizer(
        [text], kind="byte_bpe", vocab_size=VOCABULARY_SIZE, announce=lambda _: None
    )
    return cast("dict[str, object]", json.loads(tokenizer.to_str())["model"])


@pytest.fixture(scope="module")
def merges(trained: dict[str, object]) -> list[Pair]:
    return [cast("Pair", tuple(pair)) for pair in cast("list[list[str]]", trained["merges"])]


class Replay:
    """The text as pieces of symbols, on which merges are carried out one by one."""

    def __init__(self, text: str) -> None:
        alphabet = byte_alphabet()
        pieces = Counter(cast("list[str]", regex.findall(GPT_2_PATTERN, text)))
        self.words = [
            ([alphabet[byte] for byte in piece.encode("utf-8")], count)
            for piece, count in pieces.items()
        ]
        self.counts: Counter[Pair] = Counter()
        self.words_with: defaultdict[Pair, set[int]] = defaultdict(set)
        for index in range(len(self.words)):
            self._count(index, sign=1)

    def _count(self, index: int, *, sign: int) -> None:
        symbols, count = self.words[index]
        for pair in pairwise(symbols):
            self.counts[pair] += sign * count
            self.words_with[pair].add(index)

    def merge(self, pair: Pair) -> None:
        for index in sorted(self.words_with.pop(pair)):
            self._count(index, sign=-1)
            symbols, _ = self.words[index]
            place = 0
            while place < len(symbols) - 1:
                if (symbols[place], symbols[place + 1]) == pair:
                    symbols[place : place + 2] = ["".join(pair)]
                place += 1
            self._count(index, sign=1)
        self.words_with.pop(pair, None)


def as_bytes(pair: Pair) -> tuple[bytes, bytes]:
    left, right = (bytes(BYTE_OF[symbol] for symbol in part) for part in pair)
    return left, right


def test_each_of_our_merges_is_a_most_frequent_pair_of_its_moment(
    text: str, merges: list[Pair]
) -> None:
    replay = Replay(text)
    for pair in merges:
        counts = replay.counts
        assert counts[pair] == max(counts.values()), f"{pair} is no tie"
        replay.merge(pair)
    assert len(merges) == VOCABULARY_SIZE - 257


def test_the_replay_with_the_reference_s_tie_rule_gives_the_reference(
    text: str, reference: list[Pair]
) -> None:
    replay = Replay(text)
    found: list[Pair] = []
    for _ in reference:
        counts = replay.counts
        most = max(counts.values())
        best = max((pair for pair in counts if counts[pair] == most), key=as_bytes)
        found.append(best)
        replay.merge(best)
    assert found == reference
    assert len(reference) == 243


def test_merges_that_differ_from_the_reference_do_so_from_a_tie_on(
    text: str, merges: list[Pair], reference: list[Pair]
) -> None:
    replay = Replay(text)
    for ours, theirs in zip(merges, reference, strict=True):
        if ours != theirs:
            counts = replay.counts
            assert counts[ours] == counts[theirs] == max(counts.values())
            break
        replay.merge(ours)
    # Ties only change the order and the last few: nearly all merges are the same.
    assert len(set(merges) & set(reference)) >= 230


def test_the_vocabulary_is_the_control_token_the_bytes_and_the_merges(
    trained: dict[str, object], merges: list[Pair], shared_data: Path
) -> None:
    vocab = cast("dict[str, int]", trained["vocab"])
    assert vocab[END_OF_TEXT] == 0
    assert [symbol for symbol in vocab if 1 <= vocab[symbol] <= 256] == sorted(BYTE_OF)
    assert {vocab["".join(pair)] for pair in merges} == set(range(257, VOCABULARY_SIZE))
    path = shared_data / "bpe-reference" / "train-bpe-reference-vocab.json"
    theirs = cast("dict[str, int]", json.loads(path.read_text(encoding="utf-8")))
    assert {symbol: theirs[symbol] for symbol in BYTE_OF} == {s: vocab[s] for s in BYTE_OF}
