"""The tokenizer as serving uses it: foreign kinds, spans, control tokens and bad files."""

import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from model.token_bytes import JsonValue, TokenizerError, byte_alphabet, token_decoder
from model.tokenizer import END_OF_TEXT, UNKNOWN, Tokenizer
from tests.model.stories260k import Piece, convert, read_pieces

CONTROL_TOKENS = (END_OF_TEXT, "<|im_start|>")
MARK_TOKENS = ("<think>", "[INST]")  # not flagged as special in their file
PLAIN_TOKENS = ("    ",)


def byte_level_backend() -> Backend:
    vocab = {symbol: index for index, symbol in enumerate(sorted(byte_alphabet().values()))}
    backend = Backend(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(CONTROL_TOKENS))
    backend.add_tokens([AddedToken(content) for content in (*MARK_TOKENS, *PLAIN_TOKENS)])
    return backend


def words_tokenizer() -> Tokenizer:
    vocab = {END_OF_TEXT: 0, UNKNOWN: 1, "the": 2, " cat": 3, "\u00e9": 4}
    backend = Backend(models.WordLevel(vocab=vocab, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([END_OF_TEXT])
    return Tokenizer.from_backend(backend)


BYTE_LEVEL = Tokenizer.from_backend(byte_level_backend())


@pytest.fixture(scope="module")
def stories(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stories260k")
    convert(shared_data, folder)
    return folder


@pytest.mark.parametrize("content", [*CONTROL_TOKENS, *MARK_TOKENS])
def test_every_control_token_in_text_is_ordinary_text_unless_parsing_is_asked_for(
    content: str,
) -> None:
    text = f"say {content} now"
    ids = BYTE_LEVEL.encode(text)
    assert not BYTE_LEVEL.special_ids & set(ids)
    assert BYTE_LEVEL.decode(ids) == text
    parsed = BYTE_LEVEL.encode(text, parse_special_tokens=True)
    (control_id,) = BYTE_LEVEL.special_ids & set(parsed)
    assert BYTE_LEVEL.token_bytes(control_id) == b""
    assert BYTE_LEVEL.decode(parsed) == "say  now"


def test_added_tokens_that_are_plain_vocabulary_stay_in_use() -> None:
    assert len(BYTE_LEVEL.encode("a    b")) == 3
    assert BYTE_LEVEL.decode(BYTE_LEVEL.encode("a    b")) == "a    b"


@given(st.text())
def test_spans_of_a_byte_level_tokenizer_name_exactly_the_bytes_of_each_token(text: str) -> None:
    spans = BYTE_LEVEL.encode_with_spans(text)
    encoded = text.encode("utf-8")
    assert [token_id for token_id, _, _ in spans] == BYTE_LEVEL.encode(text)
    for token_id, start, end in spans:
        assert encoded[start:end] == BYTE_LEVEL.token_bytes(token_id)
    assert [start for _, start, _ in spans] == [0, *(end for _, _, end in spans)][: len(spans)]


def test_spans_of_unknown_words_name_the_words() -> None:
    tokenizer = words_tokenizer()
    assert tokenizer.unknown_id == 1
    assert tokenizer.encode_with_spans("\u00e9 d\u00f6g cat") == [(4, 0, 2), (1, 2, 7), (3, 7, 11)]
    assert tokenizer.decode([2, 3, 1]) == "the cat\ufffd"


def test_a_lone_surrogate_is_refused_by_its_position() -> None:
    for encode in (BYTE_LEVEL.encode, BYTE_LEVEL.encode_with_spans):
        with pytest.raises(TokenizerError, match="character 3"):
            encode("abc\ud800")
    with pytest.raises(TokenizerError):
        BYTE_LEVEL.encode_batch(["fine", "\udfff"])


@pytest.mark.parametrize(
    "text", ["\0", "\ufffe", "\ufeffmark", "\r\n", "\U0001f468\u200d\U0001f469"]
)
def test_odd_characters_are_text(text: str) -> None:
    assert BYTE_LEVEL.decode(BYTE_LEVEL.encode(text)) == text


def test_an_id_outside_the_vocabulary_is_refused() -> None:
    for token_id in (-1, BYTE_LEVEL.vocab_size):
        with pytest.raises(TokenizerError):
            BYTE_LEVEL.token_bytes(token_id)


def test_half_a_character_decodes_to_the_replacement_character() -> None:
    first, *_ = BYTE_LEVEL.encode("\u00e9")
    assert BYTE_LEVEL.token_bytes(first) == b"\xc3"
    assert BYTE_LEVEL.decode([first]) == "\ufffd"


def test_stories260k_gives_the_published_ids_and_text_back(
    stories: Path, shared_data: Path
) -> None:
    tokenizer = Tokenizer.load(stories)
    golden = (shared_data / "stories260K" / "golden.txt").read_text(encoding="utf-8")[:-1]
    assert tokenizer.encode("Once upon a time") == [403, 407, 261, 378]
    ids = tokenizer.encode(golden)
    assert len(ids) == 256
    assert tokenizer.decode(ids) == golden
    assert tokenizer.decode(ids[:2], at_text_start=False) == " Once upon"
    assert tokenizer.prefix_ids == (1,)
    assert tokenizer.end_of_text_id == 2
    assert tokenizer.special_ids == {0, 1, 2}


def reference_ids(text: str, pieces: list[Piece]) -> list[int]:
    """The procedure of format.md: a dummy space, characters or bytes, best-scored merges."""
    id_of = {piece.text: token_id for token_id, piece in enumerate(pieces) if token_id >= 259}
    ids: list[int] = []
    for character in " " + text if text else "":
        known = id_of.get(character)
        ids += [known] if known is not None else [byte + 3 for byte in character.encode()]
    while True:
        candidates: list[tuple[float, int, int]] = []
        for place in range(len(ids) - 1):
            if min(ids[place], ids[place + 1]) >= 259:
                merged = id_of.get(pieces[ids[place]].text + pieces[ids[place + 1]].text)
                if merged is not None:
                    candidates.append((-pieces[merged].score, place, merged))
        if not candidates:
            return ids
        _, place, merged = min(candidates)
        ids[place : place + 2] = [merged]


@given(text=st.text(alphabet="ae tnohsLily.\n\u00e9\U0001f600", max_size=40))
def test_stories260k_encodes_any_text_as_its_procedure_says(
    stories: Path, shared_data: Path, text: str
) -> None:
    pieces = read_pieces(shared_data / "stories260K" / "tok512.bin")
    tokenizer = Tokenizer.load(stories)
    assert tokenizer.encode(text) == reference_ids(text, pieces)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_transformers_reads_the_converted_folder_with_the_same_ids(stories: Path) -> None:
    theirs = cast("PreTrainedTokenizerFast", PreTrainedTokenizerFast.from_pretrained(str(stories)))
    ours = Tokenizer.load(stories)
    for text in (
        "Once upon a time",
        " two  spaces",
        "na\u00efve \U0001f600\n",
        "<s> is text",
        "x</s>",
    ):
        theirs_ids = theirs.encode(text, split_special_tokens=True, add_special_tokens=False)
        assert theirs_ids == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == ours.decode(ours.encode(text))


def test_metaspace_decoders_know_their_dummy_space() -> None:
    for section, strips in (
        ({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}, True),
        ({"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never"}, False),
        ({"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": False}, False),
    ):
        decoder = token_decoder(cast("JsonValue", section))
        assert decoder.to_bytes("\u2581a\u2581") == b" a "
        assert decoder.strips_leading_space is strips


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "decoder": null}',
        '{"model": {"type": "Nonsense"}, "decoder": {"type": "Fuse"}}',
        '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "decoder": {"type": "WordPiece"}}',
        '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "decoder": {"type": "Fuse"}}',
        '{"added_tokens": 5, "model": {}, "decoder": {"type": "Fuse"}}',
        '{"added_tokens": [{"id": "x"}], "model": {}, "decoder": {"type": "Fuse"}}',
    ],
)
def test_a_file_that_is_no_usable_tokenizer_is_one_line_that_names_the_folder(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError):
        Tokenizer.load(tmp_path)


def test_truncation_and_padding_in_a_foreign_file_are_switched_off(tmp_path: Path) -> None:
    specification = json.loads(byte_level_backend().to_str())
    specification["truncation"] = {
        "direction": "Right",
        "max_length": 3,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(specification), encoding="utf-8")
    assert len(Tokenizer.load(tmp_path).encode("long text")) == 9


def test_importing_the_tokenizer_imports_no_torch() -> None:
    program = "import sys, model.tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
