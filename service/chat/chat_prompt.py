"""The tokens of a conversation: the template's control tokens are read, everybody else's are text.

Whoever speaks in a conversation must not be able to end a turn or begin another's. So the strings
of control tokens in messages are hidden from the template behind characters that stand for nothing,
and put back as plain text; what the template itself writes is read as control tokens.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice

from model.tokenizer import Tokenizer, TokenizerError
from service.bounded_threads import TEXTS
from service.chat.chat_template import ChatTemplate
from service.chat.messages import ChatMessage
from service.chat.template_renderer import TemplateRenderer
from service.errors import invalid_value
from service.models.served_models import ServedModel
from service.tokenization import INLINE_TEXT_CHARACTERS

__all__ = ["read_chat"]

# Characters that Unicode leaves to private use: two planes of them.
_PRIVATE = (*range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE))


async def read_chat(
    messages: Sequence[ChatMessage], model: ServedModel, renderer: TemplateRenderer
) -> list[int]:
    """The ids of a conversation as the model's template writes it, not counted yet.

    Raises:
        RequestError: The model has no template, or it cannot write this conversation.
    """
    template = model.folder.chat_template
    if template is None:
        raise invalid_value(
            "model",
            f"{model.folder.name} has no chat template, so it holds no conversations; it continues "
            "texts on /v1/completions and /v1/generate",
        )
    tokenizer = model.folder.tokenizer
    hidden = _Hidden(tokenizer, template, messages)
    text = await renderer.render(template, [hidden.hide_in(message) for message in messages])
    try:
        if len(text) <= INLINE_TEXT_CHARACTERS:
            return hidden.encode(text)
        return await TEXTS.run(lambda: hidden.encode(text))
    except TokenizerError as error:
        raise invalid_value("messages", "hold a lone surrogate, which is no character") from error


class _Hidden:
    """The control tokens' strings in one conversation, and what stands in their place."""

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate, messages: Sequence[ChatMessage]
    ) -> None:
        self._tokenizer = tokenizer
        self._pattern = _pattern_of(tuple(sorted(filter(None, tokenizer.control_tokens.values()))))
        texts = [text for each in messages for text in (each.content, each.name or "")]
        found = sorted({match for text in texts for match in self._found_in(text)})
        stand_ins = _unused([*texts, template.source], len(found))
        self._stand_ins = dict(zip(found, stand_ins, strict=True))
        self._strings = {stand_in: text for text, stand_in in self._stand_ins.items()}

    def hide_in(self, message: ChatMessage) -> ChatMessage:
        """The message as the template may see it."""
        if not self._stand_ins:
            return message
        name = None if message.name is None else self._hide(message.name)
        return replace(message, content=self._hide(message.content), name=name)

    def encode(self, text: str) -> list[int]:
        """The ids of what the template wrote.

        Raises:
            TokenizerError: There is a lone surrogate in it.
        """
        encode = self._tokenizer.encode
        if not self._stand_ins or self._pattern is None:
            return encode(text, parse_special_tokens=True)
        ids: list[int] = []
        end = 0
        for control in self._pattern.finditer(text):
            ids += self._encode_plain(text[end : control.start()])
            ids += encode(control[0], parse_special_tokens=True)
            end = control.end()
        return ids + self._encode_plain(text[end:])

    def _encode_plain(self, text: str) -> list[int]:
        shown = "".join(self._strings.get(character, character) for character in text)
        return self._tokenizer.encode(shown) if shown else []

    def _found_in(self, text: str) -> list[str]:
        return [] if self._pattern is None else self._pattern.findall(text)

    def _hide(self, text: str) -> str:
        assert self._pattern is not None
        return self._pattern.sub(lambda match: self._stand_ins[match[0]], text)


@lru_cache(maxsize=16)
def _pattern_of(strings: tuple[str, ...]) -> re.Pattern[str] | None:
    """What finds any of the strings, the longest where several begin; None for none."""
    if not strings:
        return None
    return re.compile("|".join(re.escape(text) for text in sorted(strings, key=len, reverse=True)))


def _unused(texts: Iterable[str], number: int) -> list[str]:
    """Characters that no text has.

    Raises:
        RequestError: The texts leave too few.
    """
    if not number:
        return []
    used = set[str]().union(*texts)
    free = list(islice((chr(code) for code in _PRIVATE if chr(code) not in used), number))
    if len(free) < number:
        raise invalid_value(
            "messages", f"hold {number} different control tokens beside most private characters"
        )
    return free
