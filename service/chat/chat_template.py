"""The chat template of a model folder, as its tokenizer's files have it. Torch-free.

Read but not run here: what is in it is for `render_process.py`, which trusts it with nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

__all__ = ["ChatTemplate", "ChatTemplateError", "read_chat_template"]

TEMPLATE_NAME = "chat_template.jinja"
CONFIG_NAME = "tokenizer_config.json"
# Of several templates in one folder, the one for conversations.
DEFAULT_NAME = "default"
# The largest that people publish have some tens of kilobytes.
MAX_TEMPLATE_BYTES = 512 * 1024
# What templates call the tokens that transformers names in its configuration.
_TOKEN_NAMES = (
    *("bos_token", "eos_token", "unk_token", "sep_token"),
    *("pad_token", "cls_token", "mask_token"),
)


class ChatTemplateError(ValueError):
    """A folder's chat template cannot be read; one line for the operator."""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """How a model wants its conversations written.

    Attributes:
        source: The template, in Jinja.
        variables: What it may name beside the messages: the strings of special tokens.
    """

    source: str
    variables: Mapping[str, str]


def read_chat_template(directory: Path) -> ChatTemplate | None:
    """The template of a folder; None where it has none.

    A file of its own goes before what the configuration of the tokenizer holds, as in transformers.

    Raises:
        ChatTemplateError: It is there and cannot be used.
    """
    path = directory / CONFIG_NAME
    config: dict[str, object] = {}
    if path.exists():
        try:
            content: object = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            raise ChatTemplateError(f"{path} is not readable JSON") from None
        if isinstance(content, dict):
            config = cast("dict[str, object]", content)
    own = directory / TEMPLATE_NAME
    if own.exists():
        try:
            source = own.read_text("utf-8")
        except (OSError, ValueError):
            raise ChatTemplateError(f"{own} is not readable as UTF-8") from None
        return _checked(source, config, own)
    source = _source_in(config.get("chat_template"), path)
    return None if source is None else _checked(source, config, path)


def _source_in(value: object, path: Path) -> str | None:
    """The template in a configuration: a string, or a list of named ones."""
    match value:
        case None:
            return None
        case str():
            return value
        case list():
            for entry in cast("list[object]", value):
                match entry:
                    case {"name": "default", "template": str(source)}:
                        return source
                    case _:
                        pass
            raise ChatTemplateError(
                f"{path}: chat_template names no template of its list {DEFAULT_NAME!r}"
            )
        case _:
            raise ChatTemplateError(f"{path}: chat_template must be a string or a list")


def _checked(source: str, config: Mapping[str, object], path: Path) -> ChatTemplate:
    size = len(source.encode("utf-8", "replace"))
    if size > MAX_TEMPLATE_BYTES:
        raise ChatTemplateError(
            f"{path}: the chat template must be at most {MAX_TEMPLATE_BYTES} bytes, got {size}"
        )
    variables: dict[str, str] = {}
    for name in _TOKEN_NAMES:
        match config.get(name):
            case str(content) | {"content": str(content)}:
                variables[name] = content
            case _:
                pass
    return ChatTemplate(source, variables)
