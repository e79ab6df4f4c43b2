"""The tokens of a conversation: the template's control tokens are read, everybody else's are text.

Whoever speaks in a conversation must not be able to end a turn or begin another's. So what could
make a control token is hidden from the template behind characters that stand for nothing, and put
back as plain text; what the template itself writes is read as control tokens.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from model.tokenizer import Tokenizer, TokenizerError
from service.bounded_threads import TEXTS
from service.chat.chat_template import ChatTemplate
from service.chat.control_strings import (
    ControlStrings,
    control_strings,
    known_control_strings,
)
from service.chat.messages import ChatMessage
from service.chat.template_renderer import TemplateRenderer
from service.errors import invalid_value
from service.models.served_models import ServedModel
from service.tokenization import INLINE_TEXT_CHARACTERS

__all__ = ["read_chat"]

# Characters that Unicode leaves to private use: two planes of them.
_PRIVATE = (*range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE))
# What looking at a message costs beside its text, in characters.
_MESSAGE_CHARACTERS = 64

ResultT = TypeVar("ResultT")


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
    strings = known_control_strings(tokenizer)
    if strings is None:
        strings = await TEXTS.run(lambda: control_strings(tokenizer))
    known = strings
    size = sum(len(each.content) + len(each.name or "") + _MESSAGE_CHARACTERS for each in messages)
    hidden = await _beside_the_loop(size, lambda: _Hidden(known, template, messages))
    text = await renderer.render(template, hidden.messages)
    try:
        return await _beside_the_loop(len(text), lambda: hidden.encode(text, tokenizer))
    except TokenizerError as error:
        raise invalid_value("messages", "hold a lone surrogate, which is no character") from error


async def _beside_the_loop(size: int, job: Callable[[], ResultT]) -> ResultT:
    """What a job on a text gives; a short one is done at once."""
    return job() if size <= INLINE_TEXT_CHARACTERS else await TEXTS.run(job)


class _Hidden:
    """One conversation as its template may see it.

    Attributes:
        messages: With a private character in place of each that could be of a control token.
    """

    def __init__(
        self, strings: ControlStrings, template: ChatTemplate, messages: Sequence[ChatMessage]
    ) -> None:
        self._strings = strings
        texts = {text for each in messages for text in (each.content, each.name or "")}
        # Spaces stay, so that a template can trim them.
        places = {
            text: [
                at
                for start, end in strings.spoken(text)
                for at in range(start, end)
                if not text[at].isspace()
            ]
            for text in texts
        }
        found = sorted({text[at] for text, hidden in places.items() for at in hidden})
        stand_ins = dict(zip(found, _unused([*texts, template.source], len(found)), strict=True))
        self._shown = {ord(stand_in): character for character, stand_in in stand_ins.items()}
        hidden_texts = {text: _replaced(text, at, stand_ins) for text, at in places.items()}
        self.messages = [
            replace(
                each,
                content=hidden_texts[each.content],
                name=None if each.name is None else hidden_texts[each.name],
            )
            for each in messages
        ]

    def encode(self, text: str, tokenizer: Tokenizer) -> list[int]:
        """The ids of what the template wrote.

        Raises:
            TokenizerError: There is a lone surrogate in it.
        """
        written = self._strings.written(text)
        ids = tokenizer.encode(text.translate(self._shown), parse_special_tokens=True)
        control = tokenizer.special_ids
        if [each for each in ids if each in control] == [each for _, _, each in written]:
            return ids
        # What people said would be read as the template's: the pieces between its tokens apart.
        apart: list[int] = []
        end = 0
        for start, after, token_id in written:
            apart += self._encode_plain(text[end:start], tokenizer)
            apart.append(token_id)
            end = after
        return apart + self._encode_plain(text[end:], tokenizer)

    def _encode_plain(self, text: str, tokenizer: Tokenizer) -> list[int]:
        return tokenizer.encode(text.translate(self._shown)) if text else []


def _replaced(text: str, places: Sequence[int], stand_ins: dict[str, str]) -> str:
    if not places:
        return text
    characters = list(text)
    for at in places:
        characters[at] = stand_ins[text[at]]
    return "".join(characters)


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
            "messages", f"hold {number} characters of control tokens beside most private characters"
        )
    return free
