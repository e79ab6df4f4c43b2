"""Texts to tokens and back for clients, without any model at work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from model.tokenizer import TokenizerError
from service.bounded_threads import TEXTS
from service.errors import invalid_value
from service.models.model_store import ModelFolder
from service.models.served_models import ServedModel
from service.parameters import check_token_ids

__all__ = ["INLINE_TEXT_CHARACTERS", "TextToken", "detokenize", "tokenize"]

# Shorter texts are tokenized, and as many ids read, in less time than others' long texts may keep
# them waiting.
INLINE_TEXT_CHARACTERS = 2048

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class TextToken:
    """One token and the bytes of the text that it stands for, from start to before end."""

    id: int
    text: str
    start: int
    end: int


async def tokenize(
    model: ServedModel, text: str, write: Callable[[list[TextToken]], AnswerT]
) -> AnswerT:
    """The tokens of a text as an answer, computed beside the event loop when it is long.

    A text of a megabyte may have a million tokens, many times its size. They live within one job,
    so that only as many such lists exist as there are jobs at a time, however many texts wait.

    Args:
        model: Whose tokens.
        text: What to tokenize.
        write: Makes the answer of the tokens, possibly in another thread.

    Raises:
        RequestError: The text holds a lone surrogate.
    """
    if len(text) <= INLINE_TEXT_CHARACTERS:
        return write(_tokenize(model, text))
    return await TEXTS.run(lambda: write(_tokenize(model, text)))


async def detokenize(model: ServedModel, ids: Sequence[int]) -> str:
    """The text of token ids.

    Raises:
        RequestError: An id is not in the vocabulary.
    """
    if len(ids) <= INLINE_TEXT_CHARACTERS:
        return _detokenize(model.folder, ids)
    return await TEXTS.run(lambda: _detokenize(model.folder, ids))


def _detokenize(folder: ModelFolder, ids: Sequence[int]) -> str:
    check_token_ids("ids", ids, vocabulary_size=folder.vocabulary_size)
    data = b"".join(folder.token_bytes[token_id] for token_id in ids)
    if folder.tokenizer.strips_leading_space:
        data = data.removeprefix(b" ")
    return data.decode("utf-8", "replace")


def _tokenize(model: ServedModel, text: str) -> list[TextToken]:
    tokenizer = model.folder.tokenizer
    try:
        spans = tokenizer.encode_with_spans(text)
    except TokenizerError as error:
        raise invalid_value("text", "holds a lone surrogate, which is no character") from error
    data = text.encode("utf-8")
    return [
        TextToken(token_id, data[start:end].decode("utf-8", "replace"), start, end)
        for token_id, start, end in spans
    ]
