"""Documents to ids: cutting long texts never changes a token, parts and ends are right."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

from model.tokenizer import Tokenizer, TokenizerError
from tests.model.stories260k import convert
from training.corpus import Document
from training.encoding import encode_documents, token_dtype
from training.text_cuts import cut_text
from training.tokenizer_training import TokenizerKind, train_tokenizer

CHINESE = "\u6211\u4eec\u53bb\u770b\u6d77\u3002\u201c\u4f60\u597d\uff0c\u5c71\u201d"
SAMPLE = (
    "It's said: \"don't  go   there!\" 123 dogs\n\n  went--and 1st came; caf\u00e9 we\u2019ll.\n\t"
    f"{CHINESE}\n{CHINESE}"
)
# Letters, marks, numbers, punctuation, apostrophes and every sort of space, often side by side.
ALPHABET = "ab\u00e9\u0301\u6211\u4eec\u3002\uff0c\u2019'\"-.!12\u00bd \u00a0\u3000\t\n\r\U0001f600"
# The pre-tokenizers of Llama 3 and Qwen 2 as their files have them.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def trained(kind: TokenizerKind) -> Tokenizer:
    size = {"byte_bpe": 330, "words": 20}.get(kind)
    backend = train_tokenizer(
        [SAMPLE * 4, ALPHABET * 4], kind=kind, vocab_size=size, announce=lambda _: None
    )
    return Tokenizer.from_backend(backend)


def with_llama_3_splitting() -> Tokenizer:
    specification = json.loads(
        train_tokenizer(
            [SAMPLE * 4], kind="byte_bpe", vocab_size=330, announce=lambda _: None
        ).to_str()
    )
    split = {
        "type": "Split",
        "pattern": {"Regex": LLAMA_3},
        "behavior": "Isolated",
        "invert": False,
    }
    bytes_only = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    specification["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, bytes_only]}
    return Tokenizer.from_backend(Backend.from_str(json.dumps(specification)))


TOKENIZERS = {
    "byte_bpe": trained("byte_bpe"),
    "words": trained("words"),
    "characters": trained("characters"),
    "bytes": trained("bytes"),
    "llama_3": with_llama_3_splitting(),
}


def texts() -> st.SearchStrategy[str]:
    phrases = st.sampled_from(["it's ", " dog", "the end.\n\n", "--", CHINESE, " 12", "\u2019ll "])
    return st.lists(phrases | st.text(alphabet=ALPHABET, max_size=6), max_size=30).map("".join)


@given(text=texts(), max_characters=st.integers(min_value=20, max_value=60))
@example(text=SAMPLE * 3, max_characters=20)
@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_pieces_have_the_ids_of_the_whole_where_the_text_has_borders(
    name: str, text: str, max_characters: int
) -> None:
    pieces = list(cut_text(text, max_characters=max_characters))
    assert "".join(pieces) == text
    assert all(len(piece) <= max_characters for piece in pieces)
    # Runs without any border are cut just anywhere: that is stated, and not what is tested here.
    if all(is_border(left, right) for left, right in pairwise(pieces)):
        tokenizer = TOKENIZERS[name]
        ids = [token_id for piece in pieces for token_id in tokenizer.encode(piece)]
        assert ids == tokenizer.encode(text)


def is_border(left: str, right: str) -> bool:
    return left[-1].isalpha() and (right[0].isspace() or right[0] in "\u3002\uff0c\u201c\u201d")


def test_ordinary_text_of_any_script_has_borders_everywhere() -> None:
    for text in (
        SAMPLE * 20,
        CHINESE * 100,
        "\u0414\u043e\u0431\u0440\u044b\u0439 \u0434\u0435\u043d\u044c. " * 50,
    ):
        pieces = list(cut_text(text, max_characters=60))
        assert len(pieces) >= len(text) // 60
        assert all(is_border(left, right) for left, right in pairwise(pieces))


def test_a_run_without_borders_is_cut_all_the_same() -> None:
    assert [len(piece) for piece in cut_text("x" * 250, max_characters=100)] == [100, 100, 50]
    assert list(cut_text("", max_characters=100)) == [""]


@pytest.mark.parametrize("batch_characters", [1, 500, 10_000_000])
def test_each_document_becomes_its_ids_and_the_end_of_text(batch_characters: int) -> None:
    tokenizer = TOKENIZERS["byte_bpe"]
    long = SAMPLE * 1_500  # longer than one piece
    documents = [Document("a", "one"), Document("b", long), Document("c", "three\n")]
    arrays = list(encode_documents(tokenizer, documents, batch_characters=batch_characters))
    assert [array.dtype for array in arrays] == [np.dtype(np.uint16)] * 3
    assert [array.tolist() for array in arrays] == [
        [*tokenizer.encode(document.text), 0] for document in documents
    ]


def test_a_part_that_another_part_follows_has_no_end_of_text() -> None:
    tokenizer = TOKENIZERS["bytes"]
    parts = [Document("a#1", "ab", ends_here=False), Document("a#2", "c")]
    ids = np.concatenate(list(encode_documents(tokenizer, parts)))
    assert ids.tolist() == [*tokenizer.encode("abc"), 0]


def test_a_tokenizer_with_a_dummy_space_encodes_each_document_as_a_whole(
    shared_data: Path, tmp_path: Path
) -> None:
    convert(shared_data, tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    text = "Lily went out. " * 6_000
    (ids,) = encode_documents(tokenizer, [Document("a", text)])
    assert ids.tolist() == [*tokenizer.encode(text), 2]


def test_without_an_end_of_text_token_there_is_an_error() -> None:
    backend = Backend(models.BPE(vocab={"a": 0}, merges=[]))
    backend.decoder = decoders.Fuse()
    with pytest.raises(TokenizerError):
        next(encode_documents(Tokenizer.from_backend(backend), [Document("a", "a")]))


@pytest.mark.parametrize(("vocab_size", "bits"), [(65_536, 16), (65_537, 32)])
def test_the_dtype_holds_every_id(vocab_size: int, bits: Literal[16, 32]) -> None:
    assert np.iinfo(token_dtype(vocab_size)).bits == bits
