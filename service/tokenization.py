"""Texts to tokens and back for clients, without any model at work."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from model.tokenizer import TokenizerError
from service.errors import invalid_value
from service.model_store import ModelFolder
from service.parameters import check_token_ids
from service.served_models import ServedModel

__all__ = ["TextToken", "detokenize", "tokenize"]


@dataclass(frozen=True, slots=True)
class TextToken:
    """One token and the bytes of the text that it stands for, from start to before end."""

    id: int
    text: str
    start: int
    end: int


async def tokenize(model: ServedModel, text: str) -> list[TextToken]:
    """The tokens of a text, computed beside the event loop.

    Raises:
        RequestError: The text holds a lone surrogate.
    """
    return await asyncio.to_thread(_tokenize, model, text)


async def detokenize(model: ServedModel, ids: Sequence[int]) -> str:
    """The text of token ids.

    Raises:
        RequestError: An id is not in the vocabulary.
    """
    folder = model.folder
    check_token_ids("ids", ids, vocabulary_size=folder.vocabulary_size)
    return await asyncio.to_thread(_detokenize, folder, ids)


def _detokenize(folder: ModelFolder, ids: Sequence[int]) -> str:
    data = b"".join(folder.token_bytes(token_id) for token_id in ids)
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
