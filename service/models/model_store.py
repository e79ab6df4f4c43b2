"""What the front knows of one artifact that it serves: all but its weights. Torch-free."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from model.artifact import Artifact, ArtifactError, read_artifact
from model.ngram_description import (
    DESCRIPTION_NAME,
    FOLDER_NAME,
    NgramDescription,
    NgramError,
    read_description,
)
from model.tokenizer import Tokenizer, TokenizerError
from service.chat.chat_template import ChatTemplate, ChatTemplateError, read_chat_template
from service.parameter_rules import PARAMETER_RULES
from service.parameters import DEFAULT_MAX_TOKENS, ModelDefaults

__all__ = ["ModelFolder", "StoreError", "read_folder"]


class StoreError(ValueError):
    """Something cannot be served; one line for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """One artifact, read and verified, without its weights.

    Attributes:
        name: What requests call it.
        version: Its version.
        created: When it was published, in seconds since 1970.
        card: Its model card, empty where it has none.
        end_token_ids: Tokens that end a text.
        vocabulary_size: Token ids that the model knows.
        ngram: The n-gram model beside the network, None where there is none.
        chat_template: How it wants conversations written, None where it does not say.
        max_token_bytes: Length of the longest token, which bounds a prompt's tokens from below.
        token_bytes: Bytes of each token by its id; none for ids that only round the network's
            vocabulary up.
    """

    name: str
    version: str
    artifact: Artifact
    tokenizer: Tokenizer
    defaults: ModelDefaults
    created: int
    card: str
    end_token_ids: tuple[int, ...]
    max_token_bytes: int
    vocabulary_size: int
    ngram: NgramDescription | None
    chat_template: ChatTemplate | None
    token_bytes: Sequence[bytes]


def read_folder(directory: Path, *, name: str | None = None, verify: bool = True) -> ModelFolder:
    """Read an artifact and check that it can be served.

    Args:
        directory: The artifact.
        name: Name to serve it under; None is its own.
        verify: Hash every file and compare with the manifest, where there is one.

    Raises:
        StoreError: It cannot be served.
    """
    try:
        artifact = read_artifact(directory, verify=verify)
        tokenizer = Tokenizer.load(directory)
        defaults = _defaults(artifact)
        card = _card(directory)
        created = _created(artifact)
        ngram = _ngram(directory, tokenizer)
        chat_template = read_chat_template(directory)
    except (ArtifactError, ChatTemplateError, NgramError, TokenizerError) as error:
        raise StoreError(str(error)) from None
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror or 'cannot be read'}") from None
    token_bytes = list(map(tokenizer.token_bytes, range(tokenizer.vocab_size)))
    token_bytes += [b""] * (artifact.config.vocab_size - len(token_bytes))
    return ModelFolder(
        name=name or artifact.name,
        version=artifact.version,
        artifact=artifact,
        tokenizer=tokenizer,
        defaults=defaults,
        created=created,
        card=card,
        end_token_ids=_end_token_ids(artifact, tokenizer),
        max_token_bytes=max(map(len, token_bytes)),
        vocabulary_size=artifact.config.vocab_size,
        ngram=ngram,
        chat_template=chat_template,
        token_bytes=token_bytes,
    )


def _card(directory: Path) -> str:
    path = directory / "README.md"
    return path.read_text("utf-8", "replace") if path.exists() else ""


def _ngram(directory: Path, tokenizer: Tokenizer) -> NgramDescription | None:
    path = directory / FOLDER_NAME / DESCRIPTION_NAME
    if not path.exists():
        return None
    description = read_description(directory)
    theirs = (description.vocab_size, description.end_of_text_id)
    ours = (tokenizer.vocab_size, tokenizer.end_of_text_id)
    if theirs != ours:
        raise StoreError(
            f"{path}: vocab_size and end_of_text_id must be the tokenizer's, {ours[0]} and "
            f"{ours[1]}, got {theirs[0]} and {theirs[1]}"
        )
    return description


def _end_token_ids(artifact: Artifact, tokenizer: Tokenizer) -> tuple[int, ...]:
    own = tokenizer.end_of_text_id
    return tuple(sorted({*artifact.end_token_ids, *([] if own is None else [own])}))


def _created(artifact: Artifact) -> int:
    stated = (artifact.manifest or {}).get("created")
    if isinstance(stated, str):
        try:
            return int(datetime.fromisoformat(stated).timestamp())
        except (ValueError, OverflowError):
            raise StoreError(
                f"{artifact.directory / 'manifest.json'}: created is no time: {stated!r}"
            ) from None
    return int((artifact.directory / "config.json").stat().st_mtime)


def _defaults(artifact: Artifact) -> ModelDefaults:
    """What generation_config.json says, in our words; what it does not say stays ours."""
    given = artifact.generation_defaults
    path = artifact.directory / "generation_config.json"
    temperature = _number(given, "temperature", 1.0, path)
    # Hugging Face's word for "take the likeliest token".
    if given.get("do_sample") is False:
        temperature = 0.0
    max_tokens = int(_number(given, "max_new_tokens", DEFAULT_MAX_TOKENS, path, "max_tokens"))
    if max_tokens < 1:
        # A request may ask for nothing but its prompt back; as a default it would refuse the rest.
        raise StoreError(f"{path}: max_new_tokens must be at least 1, got {max_tokens}")
    return ModelDefaults(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=int(_number(given, "top_k", 0, path)),
        top_p=_number(given, "top_p", 1.0, path),
        min_p=_number(given, "min_p", 0.0, path),
        repetition_penalty=_number(given, "repetition_penalty", 1.0, path),
    )


def _number(
    given: Mapping[str, object], key: str, default: float, path: Path, rule: str | None = None
) -> float:
    value = given.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise StoreError(f"{path}: {key} must be a number, got {json.dumps(value)[:80]}")
    limits = PARAMETER_RULES[rule or key]
    if not limits.accepts(value):
        raise StoreError(f"{path}: {key} must be {limits.range_text}, got {value}")
    if limits.kind == "integer" and value != int(value):
        raise StoreError(f"{path}: {key} must be a whole number, got {value}")
    return value
