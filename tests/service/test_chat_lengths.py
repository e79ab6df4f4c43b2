"""Conversations that cannot fit are refused before a template or a tokenizer looks at them."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from service.chat.messages import ChatMessage
from service.chat.template_renderer import TemplateRenderer
from service.errors import ErrorKind, RequestError
from service.models.served_models import ServedModel
from service.prompts import read_conversation


@pytest.mark.parametrize(
    "message",
    [
        ChatMessage(role="user", content="a" * 1000),
        ChatMessage(role="user", content="", name="a" * 1000),
    ],
    ids=["content", "name"],
)
def test_a_conversation_too_long_to_fit_is_refused_unread(message: ChatMessage) -> None:
    # It has neither template nor tokenizer: whoever looked for them would fail otherwise.
    folder = SimpleNamespace(max_token_bytes=4)
    model = cast("ServedModel", SimpleNamespace(folder=folder, context_tokens=64))
    with pytest.raises(RequestError) as refused:
        asyncio.run(read_conversation([message], model, TemplateRenderer()))
    assert refused.value.kind is ErrorKind.CONTEXT_LENGTH_EXCEEDED
    assert "at least 250" in refused.value.message
