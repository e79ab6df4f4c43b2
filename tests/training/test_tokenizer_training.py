"""The four kinds of tokenizer: round trips, transformers, bad sizes, large texts."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from model.tokenizer import END_OF_TEXT, UNKNOWN, Tokenizer, TokenizerError
from training.tokenizer_training import (
    TokenizerKind,
    save_tokenizer,
    suggested_vocabulary_size,
    train_tokenizer,
)

RUSSIAN = "\u0414\u043e\u0431\u0440\u044b\u0439 \u0434\u0435\u043d\u044c, "
CHINESE = "\u6211\u4eec\u53bb\u770b\u6d77\u3002\u6211\u4eec\u53bb\u770b\u5c71\u3002"
TEXT = 3 * (
    'The old man\'s dog didn\'t bark; it ran, and ran, and ran -- "well," said he, "let it run!"\n'
    f"There were 12 dogs and 345 cats. {RUSSIAN}{RUSSIAN}\n{CHINESE} na\u00efve caf\u00e9\n\n"
    "\tThe end of the old man's dog.\n"
)
SIZES: dict[TokenizerKind, int | None] = {
    "byte_bpe": 300,
    "words": 40,
    "characters": None,
    "bytes": None,
}
KINDS = list(SIZES)


def train(kind: TokenizerKind, vocab_size: int | None, text: str = TEXT) -> Tokenizer:
    return Tokenizer.from_backend(
        train_tokenizer([text], kind=kind, vocab_size=vocab_size, announce=unexpected)
    )


def unexpected(line: str) -> None:
    raise AssertionError(f"nothing was to be announced, but: {line}")


TOKENIZERS = {kind: train(kind, size) for kind, size in SIZES.items()}


@given(st.text())
@pytest.mark.parametrize("kind", ["byte_bpe", "bytes"])
def test_byte_kinds_give_every_string_back(kind: TokenizerKind, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.token_bytes(token_id) for token_id in ids) == text.encode("utf-8")
    assert all(0 < token_id < tokenizer.vocab_size for token_id in ids)


@given(st.text(alphabet=sorted(set(TEXT))))
@pytest.mark.parametrize("kind", ["characters"])
def test_characters_give_every_string_of_their_alphabet_back(
    kind: TokenizerKind, text: str
) -> None:
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) == len(text)


def largest_size(kind: TokenizerKind) -> int:
    with pytest.raises(TokenizerError) as caught:
        train(kind, 5_000)
    return int(str(caught.value).partition("at most ")[2].split()[0])


def test_words_give_every_text_of_known_words_back() -> None:
    tokenizer = train("words", largest_size("words"))
    for text in (TEXT, TEXT + TEXT, CHINESE, " dog, and\n 12 cats"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.text())
@pytest.mark.parametrize("kind", ["words", "characters"])
def test_text_outside_the_vocabulary_becomes_the_unknown_token(
    kind: TokenizerKind, text: str
) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text)
    spans = tokenizer.encode_with_spans(text)
    encoded = text.encode("utf-8")
    assert b"".join(encoded[start:end] for _, start, end in spans) == encoded
    for token_id, start, end in spans:
        if token_id != tokenizer.unknown_id:
            assert encoded[start:end] == tokenizer.token_bytes(token_id)
    assert tokenizer.decode(ids).count(UNKNOWN) == ids.count(1)


def test_words_have_punctuation_and_letters_of_scripts_without_spaces_as_their_own_tokens() -> None:
    text = 'Say, "it\'s 12," (na\u00efvely) \u6211\u4eec!'
    tokenizer = train("words", 3, text + text)
    spans = [text.encode()[start:end] for _, start, end in tokenizer.encode_with_spans(text)]
    assert [span.decode() for span in spans] == [
        *("Say", ",", ' "', "it's", " 12", ",", '"', " (", "na\u00efvely", ")"),
        *(" \u6211", "\u4eec", "!"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_each_kind_and_gives_the_same_ids_and_text(
    kind: TokenizerKind, tmp_path: Path
) -> None:
    tokenizer = train_tokenizer([TEXT], kind=kind, vocab_size=SIZES[kind], announce=unexpected)
    save_tokenizer(tokenizer, tmp_path, context_length=4096)
    # The folder of a model has its config beside the tokenizer, which AutoTokenizer looks at.
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    ours = Tokenizer.load(tmp_path)
    texts = [TEXT, f"a {END_OF_TEXT} b", " \u00e9\U0001f600\0", "", "  two", f"{END_OF_TEXT}"]
    for theirs in (
        cast("PreTrainedTokenizerFast", AutoTokenizer.from_pretrained(str(tmp_path))),
        cast("PreTrainedTokenizerFast", PreTrainedTokenizerFast.from_pretrained(str(tmp_path))),
    ):
        assert theirs.eos_token_id == ours.end_of_text_id == 0
        assert len(theirs) == ours.vocab_size
        for text in texts:
            ids = ours.encode(text)
            assert 0 not in ids
            assert theirs.encode(text, split_special_tokens=True) == ids
            assert theirs.encode(text) == ids
            assert theirs.decode(ids) == ours.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_text_trains_the_same_tokenizer(kind: TokenizerKind) -> None:
    first, second = (
        train_tokenizer([TEXT], kind=kind, vocab_size=SIZES[kind], announce=unexpected).to_str()
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("kind", "vocab_size", "words"),
    [
        ("byte_bpe", 5_000, ("tokenizer.vocabulary_size", "5000", "at most")),
        ("words", 5_000, ("tokenizer.vocabulary_size", "5000", "at most")),
        ("characters", 5_000, ("tokenizer.vocabulary_size", "5000", "at most")),
        ("byte_bpe", 200, ("tokenizer.vocabulary_size", "200", "at least 258")),
        ("words", 0, ("tokenizer.vocabulary_size", "0", "at least 3")),
        ("characters", -1, ("tokenizer.vocabulary_size", "-1", "at least 3")),
        ("bytes", 300, ("tokenizer.vocabulary_size", "300", "257")),
    ],
)
def test_a_size_that_cannot_be_is_an_error_with_setting_limit_and_value(
    kind: TokenizerKind, vocab_size: int | None, words: tuple[str, ...]
) -> None:
    with pytest.raises(TokenizerError) as caught:
        train(kind, vocab_size)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("kind", ["byte_bpe", "words", "characters"])
def test_the_largest_size_that_an_error_names_works(kind: TokenizerKind) -> None:
    assert train(kind, largest_size(kind)).vocab_size == largest_size(kind)


@pytest.mark.parametrize(
    ("kind", "text", "kept"),
    [
        ("words", "a a a b b b b c c", [b" a", b" b", b" c"]),
        ("characters", "aabbbbcccd", [b"a", b"b", b"c"]),
    ],
)
def test_a_smaller_vocabulary_keeps_the_most_frequent(
    kind: TokenizerKind, text: str, kept: list[bytes]
) -> None:
    tokenizer = train(kind, 5, text)
    assert sorted(tokenizer.token_bytes(token_id) for token_id in range(2, 5)) == kept


@pytest.mark.parametrize("kind", ["byte_bpe", "words"])
def test_without_a_size_the_text_decides(kind: TokenizerKind, shared_data: Path) -> None:
    plays = (shared_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    sizes: list[int] = []
    for text in ("the same words " * 200, plays[:30_000], plays):
        tokenizer = train_tokenizer(
            [text], kind=kind, vocab_size=None, announce=unexpected, total_bytes=len(text)
        )
        sizes.append(tokenizer.get_vocab_size())
        most = suggested_vocabulary_size(len(text)) * (2 if kind == "words" else 1)
        assert sizes[-1] <= most
    assert sizes == sorted(sizes)
    assert sizes[-1] == (2_048 if kind == "byte_bpe" else 4_096)


def documents_of(num_documents: int) -> Iterator[str]:
    for number in range(num_documents):
        yield f"the {number} of all the things. " * 20


@pytest.mark.parametrize("total_is_known", [True, False])
def test_a_large_text_is_sampled_to_the_limit_and_says_so(total_is_known: bool) -> None:
    total = sum(len(document) for document in documents_of(200))
    taken: list[int] = []
    lines: list[str] = []

    def watched() -> Iterator[str]:
        for document in documents_of(200):
            taken.append(len(document))
            yield document

    tokenizer = train_tokenizer(
        watched(),
        kind="byte_bpe",
        vocab_size=300,
        announce=lines.append,
        total_bytes=total if total_is_known else None,
        max_training_bytes=total // 4,
    )
    assert tokenizer.get_vocab_size() == 300
    assert len(lines) == 1
    assert f"{total // 4:,}" in lines[0]
    # Known, every stretch of the text has its share; unknown, reading stops at the limit.
    assert len(taken) == 200 if total_is_known else len(taken) < 60


def test_suggested_sizes_grow_with_the_text_and_are_supported_by_it(shared_data: Path) -> None:
    sizes = [suggested_vocabulary_size(10**power) for power in range(3, 11)]
    assert sizes == sorted(sizes)
    assert suggested_vocabulary_size(160_000) == 1_024
    assert suggested_vocabulary_size(1_000_000) == 2_048
    assert suggested_vocabulary_size(20_000_000) == 4_096
    assert suggested_vocabulary_size(200_000_000) == 8_192
    plays = (shared_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    for length in (3_000, 20_000, 75_000, 500_000):
        size = suggested_vocabulary_size(length)
        assert train("byte_bpe", size, plays[:length]).vocab_size == size
