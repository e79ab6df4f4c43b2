"""Conversations to and from the JSON of OpenAI's route for them."""

from dataclasses import asdict

from nextword.answers import Usage
from nextword.chat import ChatPiece, ChatRequest
from nextword.json_fields import read_json_object
from nextword.parameter_fields import parameter_body
from nextword.rest_messages import raise_error_event

__all__ = ["chat_body", "read_chat_piece"]


def chat_body(request: ChatRequest) -> dict[str, object]:
    """The body of /v1/chat/completions.

    Raises:
        InvalidRequestError: A number is none that JSON has.
    """
    body = parameter_body(request.parameters)
    body |= {
        "messages": [asdict(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        "timeout_seconds": request.timeout_seconds,
    }
    return body if request.model is None else body | {"model": request.model}


def read_chat_piece(payload: bytes) -> ChatPiece:
    """One event of a stream.

    Raises:
        StatusError: The event is the error that ends the stream.
        ProtocolError: It is no event of OpenAI's.
    """
    event = read_json_object(payload)
    raise_error_event(event)
    text, finish_reason, usage = "", None, None
    for choice in event.objects("choices"):
        text += choice.object("delta").optional_text("content") or ""
        finish_reason = choice.optional_text("finish_reason")
    if event.has("usage"):
        counts = event.object("usage")
        usage = Usage(
            prompt_tokens=counts.integer("prompt_tokens"),
            completion_tokens=counts.integer("completion_tokens"),
            total_tokens=counts.integer("total_tokens"),
        )
    return ChatPiece(text, finish_reason, usage)
