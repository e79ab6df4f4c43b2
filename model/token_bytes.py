"""What bytes each token of a vocabulary stands for, derived from a tokenizer.json's decoder.

Knows the two families that causal language models use: byte-level alphabets (GPT-2, Llama 3, Qwen)
and word-boundary marks with byte fallback (SentencePiece, Llama 2), and plain concatenation.
Any other decoder is refused, because guessing would print wrong text.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, cast

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenizerError(ValueError):
    """A tokenizer that cannot be made, loaded or applied; the text names the cause."""


@dataclass(frozen=True, slots=True)
class TokenDecoder:
    """How one token's string becomes bytes.

    Attributes:
        to_bytes: maps a vocabulary string to the bytes it stands for.
        strips_leading_space: whether the first space of a whole text belongs to the notation
            (SentencePiece's dummy prefix) and is dropped when a text is decoded from its start.
    """

    to_bytes: Callable[[str], bytes]
    strips_leading_space: bool


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable notation: one visible character for each of the 256 byte values.

    Printable Latin-1 bytes stand for themselves, the others are numbered from U+0100 on
    (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019).
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [value for value in range(256) if value not in visible]
    return {value: chr(value) for value in visible} | {
        value: chr(256 + index) for index, value in enumerate(hidden)
    }


_BYTE_OF_CHARACTER = {character: value for value, character in byte_alphabet().items()}


def token_decoder(decoder: JsonValue) -> TokenDecoder:
    """The decoder section of a tokenizer.json as a function from token to bytes.

    Raises:
        TokenizerError: the section is missing or of a kind that is not known here.
    """
    steps = _flatten(decoder)
    if not steps:
        raise TokenizerError(
            "tokenizer.json has no decoder, so the text of its tokens is not defined"
        )
    transforms: list[Callable[[str], str | bytes]] = []
    strips = False
    for step in steps:
        match step:
            case {"type": "ByteLevel"}:
                transforms.append(_from_byte_alphabet)
            case {"type": "ByteFallback"}:
                transforms.append(_from_byte_piece)
            case {"type": "Fuse"}:
                pass
            case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)}:
                transforms.append(_replacement(old, new))
            case {"type": "Metaspace", "replacement": str(mark)}:
                transforms.append(_replacement(mark, " "))
                # Files older than "prepend_scheme" say it with a boolean; always is the default.
                scheme = step.get("prepend_scheme", "always")
                strips = scheme != "never" and step.get("add_prefix_space", True) is True
            case {"type": "Strip", "content": " ", "start": 1, "stop": 0}:
                strips = True
            case _:
                raise TokenizerError(f"tokenizer.json: decoder {step.get('type')!r} is not known")

    def to_bytes(token: str) -> bytes:
        value: str | bytes = token
        for transform in transforms:
            if isinstance(value, bytes):
                break
            value = transform(value)
        return value if isinstance(value, bytes) else value.encode("utf-8")

    return TokenDecoder(to_bytes=to_bytes, strips_leading_space=strips)


def _flatten(decoder: JsonValue) -> list[Mapping[str, JsonValue]]:
    match decoder:
        case {"type": "Sequence", "decoders": list(parts)}:
            return [step for part in cast("list[JsonValue]", parts) for step in _flatten(part)]
        case dict():
            return [cast("dict[str, JsonValue]", decoder)]
        case _:
            return []


def _from_byte_alphabet(token: str) -> str | bytes:
    values = [_BYTE_OF_CHARACTER.get(character) for character in token]
    # A token with a character outside the alphabet is kept whole, as the tokenizers library does.
    return token if None in values else bytes(cast("list[int]", values))


def _from_byte_piece(token: str) -> str | bytes:
    found = _BYTE_PIECE.fullmatch(token)
    return bytes([int(found[1], 16)]) if found else token


def _replacement(old: str, new: str) -> Callable[[str], str]:
    return lambda token: token.replace(old, new)
