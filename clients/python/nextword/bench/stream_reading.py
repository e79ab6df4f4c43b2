"""From the bytes of a stream to what its record tells: tokens and their times, usage, its end.

Done when the level is over, or when a request has ended and too many bytes wait: while others
run, a stream costs no more than keeping its bytes.
"""

from collections.abc import Callable, Generator

from google.protobuf.message import DecodeError

from nextword.bench.records import RequestRecord, error_code_of, verify
from nextword.errors import NextwordError, ProtocolError
from nextword.event_stream import EventReader
from nextword.grpc_messages import read_finish_reason
from nextword.json_fields import JsonFields, read_json_object
from nextword.rest_messages import raise_error_event
from nextword.v1 import text_generation_pb2 as pb

__all__ = ["StreamReader", "digest", "read_messages", "read_native_events", "read_openai_events"]

# Reads what one kind of server has sent; raises a NextwordError that it tells, or is.
StreamReader = Callable[[RequestRecord], None]


def digest(record: RequestRecord, read: StreamReader) -> None:
    """Read what came of a request, whether it failed or not, and judge it; only once."""
    if record.is_read:
        return
    record.is_read = True
    try:
        read(record)
    except NextwordError as error:
        record.fail(error_code_of(error), str(error))
    # They would be most of what a long test keeps.
    record.pieces.clear()
    if record.ended_at is not None:
        verify(record)


def read_native_events(record: RequestRecord) -> None:
    """Events of /v1/generate: each has its token ids."""
    record.num_tokens = 0
    for at, payload in _payloads(record):
        event = read_json_object(payload)
        raise_error_event(event)
        if event.has("token_ids"):
            count = len(event.integers("token_ids"))
            record.note_tokens(at, count)
            record.num_tokens += count
        _note_end(record, event)


def read_openai_events(record: RequestRecord) -> None:
    """Events of /v1/completions and /v1/chat/completions: each with a part of a choice counts as
    one, unless its own usage says how many tokens there are by then."""
    num_told, ended_at = 0, None
    for at, payload in _payloads(record):
        event = read_json_object(payload)
        raise_error_event(event)
        choices = event.objects("choices") if event.has("choices") else []
        for choice in choices:
            _note_end(record, choice)
            ended_at = at if choice.has("finish_reason") else ended_at
            if event.has("usage") and not choice.has("finish_reason"):
                num_now = event.object("usage").integer("completion_tokens")
                record.note_tokens(at, num_now - num_told)
                num_told = num_now
            elif _has_tokens(choice):
                record.note_tokens(at, 1)
        _note_end(record, event)
    if not record.arrivals and ended_at is not None:
        # Tokens of half a character each may bring no event but the last.
        record.note_tokens(ended_at, 1)


def read_messages(record: RequestRecord) -> None:
    """Messages of StreamGenerateText: each has its token ids."""
    record.num_tokens = 0
    message = pb.StreamGenerateTextResponse()
    for at, data in record.pieces:
        try:
            message.ParseFromString(data)
        except DecodeError:
            raise ProtocolError("the server's message is not what the API's has") from None
        count = len(message.token_ids)
        record.note_tokens(at, count)
        record.num_tokens += count
        if message.finish_reason:
            record.finish_reason = read_finish_reason(message.finish_reason)
        if message.HasField("summary"):
            usage = message.summary.usage
            record.num_prompt_tokens = usage.prompt_tokens
            record.num_used_tokens = usage.completion_tokens


def _payloads(record: RequestRecord) -> Generator[tuple[float, bytes], None, None]:
    reader = EventReader()
    for at, data in record.pieces:
        for payload in reader.feed(data):
            if payload != b"[DONE]":
                yield at, payload


def _has_tokens(choice: JsonFields) -> bool:
    """Whether an event brings at least one token.

    A token may have no text of its own, such as half a character; the last event, which has the
    reason of the end, may come without a token, and so does the first of a chat, with the role.
    """
    if choice.has("delta"):
        delta = choice.object("delta")
        return bool(
            (delta.optional_text("content") or "")
            or not (delta.has("role") or choice.has("finish_reason"))
        )
    text = choice.optional_text("text") or ""
    return bool(text) or not choice.has("finish_reason")


def _note_end(record: RequestRecord, fields: JsonFields) -> None:
    """What only the last events have: the reason of the end, and the usage."""
    record.finish_reason = fields.optional_text("finish_reason") or record.finish_reason
    if fields.has("usage"):
        usage = fields.object("usage")
        record.num_prompt_tokens = usage.integer("prompt_tokens")
        record.num_used_tokens = usage.integer("completion_tokens")
