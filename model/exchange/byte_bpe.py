"""The kinds of byte-level BPE that GGUF knows by a word: how a text is cut before merging.

A ``tokenizer.json`` spells the cutting out; the two are one kind only where every part is equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from model.token_bytes import JsonValue

__all__ = ["KINDS", "ByteBpeKind", "kind_of"]

_GPT2_BYTES: dict[str, JsonValue] = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
_PLAIN_BYTES = _GPT2_BYTES | {"use_regex": False}
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(pattern: str) -> dict[str, JsonValue]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteBpeKind:
    """One way to cut.

    Attributes:
        pre_tokenizers: In order, as a ``tokenizer.json`` has them.
        normalizer: The same of what comes before.
        ignore_merges: Whether a cut that is a token of the vocabulary is taken as it is.
        adds_bos: Whether a text begins with the begin token unless a file says otherwise.
    """

    pre_tokenizers: tuple[dict[str, JsonValue], ...]
    normalizer: dict[str, JsonValue] | None = None
    ignore_merges: bool = False
    adds_bos: bool = False


# By the values of tokenizer.ggml.pre.
KINDS: Mapping[str, ByteBpeKind] = {
    "gpt-2": ByteBpeKind(pre_tokenizers=(_GPT2_BYTES,)),
    "smollm": ByteBpeKind(
        pre_tokenizers=({"type": "Digits", "individual_digits": True}, _GPT2_BYTES)
    ),
    "llama-bpe": ByteBpeKind(
        pre_tokenizers=(_split(_CONTRACTIONS + r"\p{N}{1,3}" + _REST), _PLAIN_BYTES),
        ignore_merges=True,
        adds_bos=True,
    ),
    "qwen2": ByteBpeKind(
        pre_tokenizers=(_split(_CONTRACTIONS + r"\p{N}" + _REST), _PLAIN_BYTES),
        normalizer={"type": "NFC"},
    ),
}


def kind_of(specification: Mapping[str, JsonValue]) -> str | None:
    """GGUF's word for a ``tokenizer.json``, None where it has none."""
    match specification.get("model"):
        case {"type": "BPE", "vocab": dict(), **rest}:
            model = cast("dict[str, JsonValue]", rest)
        case _:
            return None
    # Other parts of a BPE change what merges give.
    if any(
        model.get(key)
        for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    ):
        return None
    normalizers = _steps(specification.get("normalizer"), "normalizers")
    parts = [
        _compared(step) for step in _steps(specification.get("pre_tokenizer"), "pretokenizers")
    ]
    for word, kind in KINDS.items():
        if (
            parts == [_compared(step) for step in kind.pre_tokenizers]
            and normalizers == ([] if kind.normalizer is None else [kind.normalizer])
            and bool(model.get("ignore_merges")) == kind.ignore_merges
        ):
            return word
    return None


def _steps(part: JsonValue, name: str) -> list[dict[str, JsonValue]]:
    match part:
        case {"type": "Sequence"}:
            inner = part.get(name)
            found = inner if isinstance(inner, list) else []
            return [step for one in found for step in _steps(one, name)]
        case dict():
            return [part]
        case _:
            return []


def _compared(step: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A step without what concerns offsets only, and with what a missing key means."""
    compared = {key: value for key, value in step.items() if key != "trim_offsets"}
    if step.get("type") == "ByteLevel":
        compared = {"use_regex": True, "add_prefix_space": True} | compared
    return compared
