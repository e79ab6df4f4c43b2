"""Text to token ids and back, for tokenizers trained here and for other people's tokenizer.json.

Torch-free, and without any idea of a model: ids, bytes and text only. Text is never scanned for
control tokens unless the caller asks, so user text cannot forge an end of text.
"""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Self, cast

import tokenizers

from model.token_bytes import JsonValue, TokenizerError, token_decoder

__all__ = ["END_OF_TEXT", "UNKNOWN", "Tokenizer", "TokenizerError"]

END_OF_TEXT = "<|endoftext|>"
# What a words or characters tokenizer gives for text outside its vocabulary. It is U+FFFD itself,
# an ordinary entry and not a control token, so that the loss is visible in decoded text.
UNKNOWN = "\ufffd"

# Added tokens that are not flagged as special but are written like marks (<think>, [INST]) steer
# a model as the flagged ones do; added runs of spaces or words are plain vocabulary.
_MARK = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")


class Tokenizer:
    """One vocabulary with its two directions; immutable and safe to share between threads.

    Args:
        specification: the parsed content of a tokenizer.json.
        end_of_text: the string of the token that ends a document, None if there is none.

    Raises:
        TokenizerError: the specification cannot be used.
    """

    def __init__(self, specification: dict[str, JsonValue], *, end_of_text: str | None) -> None:
        decoder = token_decoder(specification.get("decoder"))
        control, plain_added = _split_added_tokens(specification)
        self._plain = _backend(specification)
        vocabulary = self._plain.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise TokenizerError("tokenizer.json: the vocabulary is empty")
        self._bytes = [b""] * (max(vocabulary.values()) + 1)
        for token, token_id in vocabulary.items():
            if token_id in plain_added:
                self._bytes[token_id] = token.encode("utf-8")
            elif token_id not in control:
                self._bytes[token_id] = decoder.to_bytes(token)
        self._special_ids = frozenset(control)
        self._strips_leading_space = decoder.strips_leading_space
        self._end_of_text_id = None if end_of_text is None else vocabulary.get(end_of_text)
        self._unknown_id = vocabulary.get(UNKNOWN)
        self._prefix_ids = tuple(self._plain.encode("", add_special_tokens=True).ids)

    @cached_property
    def _parsing_backend(self) -> tokenizers.Tokenizer:
        """The same backend, reading control tokens in texts; made when first asked for."""
        backend = tokenizers.Tokenizer.from_str(self._plain.to_str())
        backend.encode_special_tokens = False
        return backend

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The tokenizer of an artifact folder (tokenizer.json, tokenizer_config.json).

        Raises:
            TokenizerError: a file is missing, unreadable or of a kind that is not known.
        """
        specification = _read_object(directory / "tokenizer.json")
        config_path = directory / "tokenizer_config.json"
        config = _read_object(config_path) if config_path.exists() else {}
        match config.get("eos_token"):
            case str(content) | {"content": str(content)}:
                end_of_text = content
            case _:
                end_of_text = END_OF_TEXT
        try:
            return cls(specification, end_of_text=end_of_text)
        except TokenizerError as error:
            raise TokenizerError(f"{directory}: {error}") from None

    @classmethod
    def from_backend(cls, backend: tokenizers.Tokenizer) -> Self:
        """The same tokenizer as an object of the tokenizers library, END_OF_TEXT ending texts."""
        specification = cast("dict[str, JsonValue]", json.loads(backend.to_str()))
        return cls(specification, end_of_text=END_OF_TEXT)

    @property
    def vocab_size(self) -> int:
        """Number of ids, control tokens included: every id is below it."""
        return len(self._bytes)

    @property
    def end_of_text_id(self) -> int | None:
        """The id that ends a document, None if the tokenizer has none."""
        return self._end_of_text_id

    @property
    def unknown_id(self) -> int | None:
        """The id of text outside the vocabulary (words and characters kinds), else None."""
        return self._unknown_id

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of control tokens: they stand for no text."""
        return self._special_ids

    @cached_property
    def control_tokens(self) -> dict[int, str]:
        """The strings of control tokens by id, as they are written in the vocabulary."""
        return {token_id: self._plain.id_to_token(token_id) or "" for token_id in self._special_ids}

    @property
    def prefix_ids(self) -> tuple[int, ...]:
        """What the tokenizer's own template puts before a text (Llama's begin of text)."""
        return self._prefix_ids

    @property
    def strips_leading_space(self) -> bool:
        """Whether the first space of a text decoded from its start is notation, not text."""
        return self._strips_leading_space

    def encode(self, text: str, *, parse_special_tokens: bool = False) -> list[int]:
        """The ids of a text, without any prefix.

        Args:
            text: any text; an empty one gives no ids (or the lone dummy prefix of some kinds).
            parse_special_tokens: read control-token strings in the text as control tokens.

        Raises:
            TokenizerError: the text holds a lone surrogate, which no UTF-8 text can.
        """
        _check_text(text)
        backend = self._parsing_backend if parse_special_tokens else self._plain
        # Other threads run meanwhile; the library's `encode` keeps them waiting for its whole time.
        return backend.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text as `encode` gives them, computed on all cores."""
        for text in texts:
            _check_text(text)
        encodings = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_with_spans(self, text: str) -> list[tuple[int, int, int]]:
        """Each id with the range of the text's UTF-8 bytes it stands for: (id, start, end).

        Ranges of neighbours overlap where a kind cannot say more exactly: several byte pieces of
        one character all name the whole character.
        """
        ids = self.encode(text)
        ends = list(accumulate(len(self._bytes[token_id]) for token_id in ids))
        if b"".join(self._bytes[token_id] for token_id in ids) == text.encode("utf-8"):
            return list(zip(ids, [0, *ends[:-1]], ends, strict=True)) if ids else []
        (encoding,) = self._plain.encode_batch([text], add_special_tokens=False)
        byte_of_character = [0, *accumulate(len(character.encode()) for character in text)]
        return [
            (token_id, byte_of_character[start], byte_of_character[end])
            for token_id, (start, end) in zip(ids, encoding.offsets, strict=True)
        ]

    def token_bytes(self, token_id: int) -> bytes:
        """The raw bytes of one token, possibly a part of a character; empty for control tokens.

        Raises:
            TokenizerError: the id is not in the vocabulary's range.
        """
        if not 0 <= token_id < len(self._bytes):
            raise TokenizerError(
                f"token id {token_id} is out of range: the vocabulary has ids 0 to "
                f"{len(self._bytes) - 1}"
            )
        return self._bytes[token_id]

    def decode(self, ids: Sequence[int], *, at_text_start: bool = True) -> str:
        """The text of the ids; bytes that are no UTF-8 become U+FFFD.

        Args:
            ids: token ids; control tokens stand for nothing.
            at_text_start: whether the ids begin a text, so that a dummy space in front (see
                `strips_leading_space`) is dropped; False for the continuation of a prompt.
        """
        joined = b"".join(self.token_bytes(token_id) for token_id in ids)
        if at_text_start and self._strips_leading_space:
            joined = joined.removeprefix(b" ")
        return joined.decode("utf-8", errors="replace")


def _backend(specification: dict[str, JsonValue]) -> tokenizers.Tokenizer:
    """The library's tokenizer, set so that it never reads a control token in a text."""
    added: list[JsonValue] = [
        entry | {"special": True} if _is_control(entry) else dict(entry)
        for entry in _added_tokens(specification)
    ]
    try:
        backend = tokenizers.Tokenizer.from_str(json.dumps(specification | {"added_tokens": added}))
    except Exception as error:
        # The library raises bare Exception for every fault in the file.
        raise TokenizerError(f"tokenizer.json cannot be used: {error}") from None
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _split_added_tokens(specification: dict[str, JsonValue]) -> tuple[set[int], set[int]]:
    """Ids of the added tokens that control a model, and of those that are plain vocabulary."""
    control: set[int] = set()
    plain: set[int] = set()
    for entry in _added_tokens(specification):
        match entry:
            case {"id": int(token_id), "content": str()}:
                (control if _is_control(entry) else plain).add(token_id)
            case _:
                raise TokenizerError("tokenizer.json: an added token has no id or no content")
    return control, plain


def _added_tokens(specification: dict[str, JsonValue]) -> list[dict[str, JsonValue]]:
    entries = specification.get("added_tokens") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TokenizerError("tokenizer.json: added_tokens is not a list of objects")
    return cast("list[dict[str, JsonValue]]", entries)


def _is_control(entry: dict[str, JsonValue]) -> bool:
    return entry.get("special") is True or _MARK.fullmatch(str(entry.get("content"))) is not None


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text has a lone surrogate at character {error.start}, which is not valid Unicode"
        ) from None


def _read_object(path: Path) -> dict[str, JsonValue]:
    try:
        content: JsonValue = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TokenizerError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise TokenizerError(f"{path} is not a JSON object")
    return content
