"""Tokenizers between a GGUF file and a folder: byte-level BPE, the vocabulary id by id.

Other kinds are refused: a vocabulary that cuts one text differently is another model.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from model.artifact_error import ArtifactError
from model.exchange.byte_bpe import KINDS, kind_of
from model.exchange.gguf_file import GgufFile
from model.token_bytes import JsonValue

__all__ = ["GgufVocabulary", "ImportedTokenizer", "read_tokenizer", "vocabulary_of"]

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_ROLES = ("bos", "eos", "unknown", "padding")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTokenizer:
    """A tokenizer read from a file.

    Attributes:
        kind: GGUF's word for how it cuts.
        specification: Content of ``tokenizer.json``.
        settings: Content of ``tokenizer_config.json``.
        bos_token_id: Token that begins a text, None where there is none.
        eos_token_ids: Tokens that end a text or a turn.
    """

    kind: str
    specification: dict[str, JsonValue]
    settings: dict[str, JsonValue]
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufVocabulary:
    """A folder's tokenizer in GGUF's words.

    Attributes:
        kind: GGUF's word for how it cuts.
        tokens: Strings by id, as many as the embedding has rows.
        types: What each is.
        merges: Pairs, the first first, with a space between.
        adds_bos: Whether a text begins with the begin token.
    """

    kind: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    adds_bos: bool


def read_tokenizer(file: GgufFile, *, vocab_size: int, context_tokens: int) -> ImportedTokenizer:
    """The tokenizer of a file.

    Raises:
        ArtifactError: It is of another kind, or its parts contradict each other.
    """
    if file.text("tokenizer.ggml.model") != "gpt2":
        raise file.refusal("tokenizer.ggml.model", "is not supported, only gpt2 (byte BPE) is")
    kind = file.text("tokenizer.ggml.pre") or ""
    if kind not in KINDS:
        raise file.refusal("tokenizer.ggml.pre", f"is not supported, only {', '.join(KINDS)} are")
    tokens = file.texts("tokenizer.ggml.tokens") or []
    types = file.integers("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    if len(tokens) != vocab_size or len(types) != vocab_size:
        raise ArtifactError(
            f"{file.path}: tokenizer.ggml.tokens and token_type must have an entry for each of "
            f"the {vocab_size} rows of the embedding, got {len(tokens)} and {len(types)}"
        )
    ids = {token: number for number, token in enumerate(tokens) if types[number] != _UNUSED}
    if len(ids) != sum(kind != _UNUSED for kind in types):
        raise ArtifactError(f"{file.path}: tokenizer.ggml.tokens holds a token twice")
    pairs = [merge.split(" ") for merge in file.texts("tokenizer.ggml.merges") or []]
    for pair in pairs:
        if len(pair) != 2 or not {*pair, "".join(pair)} <= ids.keys():
            raise ArtifactError(
                f"{file.path}: tokenizer.ggml.merges: {' '.join(pair)[:60]!a} is no pair of tokens"
            )
    chosen = {role: _token_id(file, f"tokenizer.ggml.{role}_token_id") for role in _ROLES}
    bos, eos = chosen["bos"], chosen["eos"]
    cut = KINDS[kind]
    adds_bos = file.flag("tokenizer.ggml.add_bos_token")
    adds_bos = (cut.adds_bos if adds_bos is None else adds_bos) and bos is not None
    steps: list[JsonValue] = list(cut.pre_tokenizers)
    specification: dict[str, JsonValue] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(number, token, is_special=types[number] != _USER_DEFINED)
            for number, token in enumerate(tokens)
            if types[number] in (_UNKNOWN, _CONTROL, _USER_DEFINED)
        ],
        "normalizer": cut.normalizer,
        "pre_tokenizer": steps[0] if len(steps) == 1 else _sequence("pretokenizers", steps),
        "post_processor": _begins_with(tokens[bos], bos) if adds_bos and bos is not None else None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": cut.ignore_merges,
            "vocab": dict[str, JsonValue](ids),
            "merges": [list[JsonValue](pair) for pair in pairs],
        },
    }
    settings: dict[str, JsonValue] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_tokens,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    for role, word in zip(_ROLES, ("bos", "eos", "unk", "pad"), strict=True):
        number = chosen[role]
        settings[f"{word}_token"] = None if number is None else tokens[number]
    template = file.text("tokenizer.chat_template")
    if template is not None:
        settings["chat_template"] = template
    ends = [eos, *(_token_id(file, f"tokenizer.ggml.{word}_token_id") for word in ("eot", "eom"))]
    return ImportedTokenizer(
        kind=kind,
        specification=specification,
        settings=settings,
        bos_token_id=bos,
        eos_token_ids=tuple(dict.fromkeys(number for number in ends if number is not None)),
    )


def vocabulary_of(directory: Path, *, vocab_size: int) -> GgufVocabulary:
    """The tokenizer of a folder in GGUF's words.

    Raises:
        ArtifactError: GGUF has no word for its kind.
    """
    path = directory / "tokenizer.json"
    try:
        specification: dict[str, JsonValue] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read") from error
    kind = kind_of(specification)
    match specification.get("model"):
        case {"vocab": dict(vocabulary), "merges": list(merges)} if kind is not None:
            pass
        case _:
            raise ArtifactError(
                f"{path}: only byte-level BPE that cuts as {', '.join(KINDS)} do can be exported: "
                "GGUF has no word for another kind"
            )
    tokens = [f"[PAD{number}]" for number in range(vocab_size)]
    types = [_UNUSED] * vocab_size
    for token, number in vocabulary.items():
        assert isinstance(number, int), "read_artifact has looked at every id"
        tokens[number], types[number] = token, _NORMAL
    added = specification.get("added_tokens")
    for entry in added if isinstance(added, list) else []:
        match entry:
            case {"id": int(number), "content": str(token)}:
                tokens[number] = token
                types[number] = _CONTROL if entry.get("special") is True else _USER_DEFINED
            case _:
                raise ArtifactError(f"{path}: an added token has no id or no content")
    return GgufVocabulary(
        kind=kind,
        tokens=tokens,
        types=types,
        merges=[_merge(merge, path) for merge in merges],
        adds_bos=_adds_bos(specification.get("post_processor")),
    )


def _token_id(file: GgufFile, key: str) -> int | None:
    number = file.integer(key)
    if number is not None and not 0 <= number < len(file.texts("tokenizer.ggml.tokens") or []):
        raise file.refusal(key, "is no token")
    return number


def _added(number: int, token: str, *, is_special: bool) -> dict[str, JsonValue]:
    return {
        "id": number,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": is_special,
    }


def _sequence(name: str, steps: list[JsonValue]) -> dict[str, JsonValue]:
    return {"type": "Sequence", name: steps}


def _begins_with(token: str, number: int) -> dict[str, JsonValue]:
    """The part of a ``tokenizer.json`` that puts one token before every text."""
    begin: JsonValue = {"SpecialToken": {"id": token, "type_id": 0}}
    first: JsonValue = {"Sequence": {"id": "A", "type_id": 0}}
    second: JsonValue = {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, begin, second],
        "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}},
    }


def _adds_bos(processor: JsonValue) -> bool:
    match processor:
        case {"type": "TemplateProcessing", "single": [{"SpecialToken": _}, *_]}:
            return True
        case {"type": "Sequence", "processors": list(steps)}:
            return any(_adds_bos(step) for step in steps)
        case _:
            return False


def _merge(merge: JsonValue, path: Path) -> str:
    """Older files hold a text, newer ones a pair."""
    match merge:
        case str():
            return merge
        case [str(left), str(right)]:
            return f"{left} {right}"
        case _:
            raise ArtifactError(f"{path}: a merge is no pair of tokens")
