"""What a request asks to continue, as token ids that fit the model."""

from collections.abc import Sequence

from model.tokenizer import TokenizerError
from service.bounded_threads import TEXTS
from service.chat.chat_prompt import read_chat
from service.chat.messages import ChatMessage
from service.chat.template_renderer import TemplateRenderer
from service.errors import ErrorKind, RequestError, invalid_value
from service.generation import GenerationRequest
from service.models.served_models import ServedModel
from service.parameters import check_token_ids
from service.tokenization import INLINE_TEXT_CHARACTERS

__all__ = ["read_conversation", "read_prompt", "read_text_ids"]


async def read_conversation(
    messages: Sequence[ChatMessage], model: ServedModel, renderer: TemplateRenderer
) -> list[int]:
    """The ids of a conversation in the model's chat template, at least one, at most the context.

    Raises:
        RequestError: The model has no template, or the conversation does not fit it or the context.
    """
    # As for a text: what is too long anyway is not looked at closely.
    num_characters = sum(len(each.content) + len(each.name or "") for each in messages)
    least = num_characters // model.folder.max_token_bytes
    _check_length("messages", least, model, max_tokens=None, how_exact="at least ")
    ids = await read_chat(messages, model, renderer)
    return await read_text_ids(model, text=None, ids=ids, names=("messages", "messages"))


async def read_prompt(request: GenerationRequest, model: ServedModel) -> list[int]:
    """The ids of a prompt, at least one and at most the context.

    Raises:
        RequestError: There is none, there are two, it is too long or holds what cannot be.
    """
    return await read_text_ids(
        model,
        text=request.prompt,
        ids=request.prompt_ids,
        parse_special_tokens=request.parse_special_tokens,
        names=("prompt", "prompt_ids"),
    )


async def read_text_ids(
    model: ServedModel,
    *,
    text: str | None,
    ids: Sequence[int] | None,
    parse_special_tokens: bool = False,
    names: tuple[str, str] = ("text", "ids"),
    with_prefix: bool = True,
    max_tokens: int | None = None,
) -> list[int]:
    """The ids of a text that is given as such or as ids, at least one and at most the context.

    Args:
        model: Which reads it.
        text: The text; exactly one of the two is to be given.
        ids: Its ids, taken as they are.
        parse_special_tokens: Whether control tokens' strings in the text are those tokens.
        names: What errors call the two fields.
        with_prefix: Whether the tokens that begin every text of the model stand before a text.
        max_tokens: The most ids, where that is not the context.

    Raises:
        RequestError: There is none, there are two, it is too long or holds what cannot be.
    """
    if (text is None) == (ids is None):
        raise invalid_value(names[0], f"or {names[1]} must be given, and not both")
    if ids is not None:
        field = names[1]
        if not ids:
            raise invalid_value(field, "must hold at least one id")
        # Counted before anything looks at each of them.
        _check_length(field, len(ids), model, max_tokens=max_tokens)
        check_token_ids(field, ids, vocabulary_size=model.folder.vocabulary_size)
        return list(ids)
    assert text is not None
    field = names[0]
    if not text:
        raise invalid_value(field, "must not be empty")
    # No token is longer, so a text of more bytes cannot fit; counting its tokens exactly would
    # only cost time.
    least = len(text) // model.folder.max_token_bytes
    _check_length(field, least, model, max_tokens=max_tokens, how_exact="at least ")
    token_ids = [
        *(model.folder.tokenizer.prefix_ids if with_prefix else ()),
        *await _encode(text, model, field=field, parse_special_tokens=parse_special_tokens),
    ]
    if not token_ids:
        raise invalid_value(field, "gives no tokens")
    _check_length(field, len(token_ids), model, max_tokens=max_tokens)
    return token_ids


async def _encode(
    text: str, model: ServedModel, *, field: str, parse_special_tokens: bool
) -> list[int]:
    """The ids of a text, computed beside the event loop when it is long."""
    encode = model.folder.tokenizer.encode
    try:
        if len(text) <= INLINE_TEXT_CHARACTERS:
            return encode(text, parse_special_tokens=parse_special_tokens)
        return await TEXTS.run(lambda: encode(text, parse_special_tokens=parse_special_tokens))
    except TokenizerError as error:
        raise invalid_value(field, "holds a lone surrogate, which is no character") from error


def _check_length(
    field: str,
    num_tokens: int,
    model: ServedModel,
    *,
    max_tokens: int | None,
    how_exact: str = "",
) -> None:
    if max_tokens is not None:
        if num_tokens > max_tokens:
            raise invalid_value(
                field, f"must be at most {max_tokens} tokens, got {how_exact}{num_tokens}"
            )
    elif num_tokens > model.context_tokens:
        raise RequestError(
            ErrorKind.CONTEXT_LENGTH_EXCEEDED,
            f"{field} must be at most {model.context_tokens} tokens, the model's context; got "
            f"{how_exact}{num_tokens}",
            field=field,
            metadata={"n_prompt": str(num_tokens), "n_ctx": str(model.context_tokens)},
        )
