"""Which artifacts are served, under which names, and what the front knows of each. Torch-free."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from model.artifact import Artifact, ArtifactError, read_artifact
from model.store import list_names, list_versions, resolve_version
from model.tokenizer import Tokenizer, TokenizerError
from service.parameter_rules import PARAMETER_RULES
from service.parameters import DEFAULT_MAX_TOKENS, ModelDefaults

__all__ = ["ModelFolder", "StoreError", "newest_first", "read_folders", "read_store"]


class StoreError(ValueError):
    """There is nothing that can be served; one line for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """One artifact, read and verified, without its weights.

    Attributes:
        name: What requests call it.
        version: Its version.
        created: When it was published, in seconds since 1970.
        card: Its model card, empty where it has none.
        end_token_ids: Tokens that end a text.
        max_token_bytes: Length of the longest token, which bounds a prompt's tokens from below.
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

    @property
    def vocabulary_size(self) -> int:
        """Token ids that the network knows."""
        return self.artifact.config.vocab_size

    def token_bytes(self, token_id: int) -> bytes:
        """Bytes of a token; none for ids that only round the network's vocabulary up."""
        if token_id >= self.tokenizer.vocab_size:
            return b""
        return self.tokenizer.token_bytes(token_id)


def read_store(root: Path, *, announce: Callable[[str], None]) -> list[ModelFolder]:
    """The version to serve of every name in a store: what its file ``current`` says, else the
    newest valid one.

    Args:
        root: The store.
        announce: Told about what is passed over, and why.

    Raises:
        StoreError: The folder cannot be read, or nothing in it can be served.
    """
    models: list[ModelFolder] = []
    try:
        for name in list_names(root):
            for version in _candidates(root / name, announce):
                try:
                    models.append(_read_folder(None, root / name / version))
                    break
                except StoreError as error:
                    announce(f"{name}@{version} is not served: {error}")
    except ArtifactError as error:
        raise StoreError(str(error)) from None
    if not models:
        raise StoreError(f"{root}: no model that can be served; `make train` makes one")
    return models


def read_folders(folders: Iterable[tuple[str | None, Path]]) -> list[ModelFolder]:
    """Read and verify artifacts.

    Args:
        folders: Name to serve under (None is the artifact's own) and folder.

    Raises:
        StoreError: One cannot be served.
    """
    return [_read_folder(name, directory.resolve()) for name, directory in folders]


def newest_first(models: Iterable[ModelFolder]) -> list[ModelFolder]:
    """The models in the order of their making, so that the newest is the default.

    Raises:
        StoreError: Two have one name.
    """
    ordered = sorted(models, key=lambda model: -model.created)
    names = [model.name for model in ordered]
    for name in names:
        if names.count(name) > 1:
            raise StoreError(
                f"two models are called {name}; give one another name: --model NAME=DIR"
            )
    return ordered


def _candidates(directory: Path, announce: Callable[[str], None]) -> list[str]:
    """Versions of a name to try, in order."""
    if not (directory / "current").exists():
        return list(reversed(list_versions(directory)))
    try:
        return [resolve_version(directory)]
    except ArtifactError as error:
        announce(f"{directory.name} is not served: {error}")
        return []


def _read_folder(name: str | None, directory: Path) -> ModelFolder:
    try:
        artifact = read_artifact(directory)
        tokenizer = Tokenizer.load(directory)
        defaults = _defaults(artifact)
    except (ArtifactError, TokenizerError) as error:
        raise StoreError(str(error)) from None
    card = directory / "README.md"
    return ModelFolder(
        name=name or artifact.name,
        version=artifact.version,
        artifact=artifact,
        tokenizer=tokenizer,
        defaults=defaults,
        created=_created(artifact),
        card=card.read_text("utf-8", "replace") if card.exists() else "",
        end_token_ids=_end_token_ids(artifact, tokenizer),
        max_token_bytes=max(
            len(tokenizer.token_bytes(token_id)) for token_id in range(tokenizer.vocab_size)
        ),
    )


def _end_token_ids(artifact: Artifact, tokenizer: Tokenizer) -> tuple[int, ...]:
    own = tokenizer.end_of_text_id
    return tuple(sorted({*artifact.config.eos_token_ids, *([] if own is None else [own])}))


def _created(artifact: Artifact) -> int:
    stated = (artifact.manifest or {}).get("created")
    if isinstance(stated, str):
        try:
            return int(datetime.fromisoformat(stated).timestamp())
        except ValueError:
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
    return ModelDefaults(
        max_tokens=int(_number(given, "max_new_tokens", DEFAULT_MAX_TOKENS, path, "max_tokens")),
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
    return value
