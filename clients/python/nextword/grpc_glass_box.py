"""The glass box over gRPC: bodies as REST has them to messages, and messages to such fields."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from nextword.calls import GlassBoxCall
from nextword.errors import ErrorFacts, InvalidRequestError
from nextword.json_fields import JsonFields
from nextword.request import SamplingParameters
from nextword.v1 import glass_box_pb2 as pb

__all__ = ["answer_type", "message_fields", "question_message"]

# The messages of each call: the question's and the answer's.
_MESSAGES: dict[str, tuple[type[Message], type[Message]]] = {
    "InspectText": (pb.InspectTextRequest, pb.InspectTextResponse),
    "Resample": (pb.ResampleRequest, pb.ResampleResponse),
    "GetAttention": (pb.GetAttentionRequest, pb.GetAttentionResponse),
    "GetTokenEmbedding": (pb.GetTokenEmbeddingRequest, pb.GetTokenEmbeddingResponse),
    "EmbedText": (pb.EmbedTextRequest, pb.EmbedTextResponse),
    "ScoreText": (pb.ScoreTextRequest, pb.ScoreTextResponse),
}
_PARAMETERS = frozenset(field.name for field in fields(SamplingParameters))
_INVALID = ErrorFacts(code="invalid_value", status=400)


def question_message(call: GlassBoxCall, body: Mapping[str, object]) -> Message:
    """The message of a body.

    Raises:
        InvalidRequestError: A value does not fit into its field.
    """
    values = dict(body)
    if "ids" in values:
        values["ids"] = {"ids": values["ids"]}
    if call.method == "InspectText":
        given = {name: values.pop(name) for name in list(values) if name in _PARAMETERS}
        values["parameters"] = given
    kind, _ = _MESSAGES[call.method]
    try:
        return ParseDict(values, kind())
    except (ParseError, ValueError):
        raise InvalidRequestError(
            "a value does not fit into its field: ids and counts are 32-bit integers, texts "
            "have no lone surrogates",
            facts=_INVALID,
        ) from None


def answer_type(call: GlassBoxCall) -> type[Message]:
    """The message that answers a call."""
    return _MESSAGES[call.method][1]


def message_fields(message: Message) -> JsonFields:
    """A message as the fields that REST would have: words for enums, numbers for bytes."""
    return JsonFields(_values(message))


def _values(message: Message) -> dict[str, object]:
    if isinstance(message, pb.AttentionMap):
        # Rows are lists of numbers, not objects that hold one.
        rows = [list(row.weights) for row in message.rows]
        return {"layer": message.layer, "head": message.head, "rows": rows}
    # The stubs do not know that both kinds of descriptors are alike.
    described = cast("Iterable[FieldDescriptor]", message.DESCRIPTOR.fields)
    return {
        field.name: _value(field, cast("object", getattr(message, field.name)))
        for field in described
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: FieldDescriptor, value: object) -> object:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {str(key): each for key, each in cast("Mapping[int, float]", value).items()}
    if field.is_repeated:
        return [_single(field, each) for each in cast("Iterable[object]", value)]
    return _single(field, value)


def _single(field: FieldDescriptor, value: object) -> object:
    if isinstance(value, Message):
        return _values(value)
    if isinstance(value, bytes):
        # REST writes what is long as base64.
        is_long = field.name == "logits"
        return base64.b64encode(value).decode("ascii") if is_long else list(value)
    if field.enum_type is not None:
        return _word(field, cast("int", value))
    return value


def _word(field: FieldDescriptor, number: int) -> str | None:
    """An enum's value as REST names it: SAMPLING_STAGE_TOP_K of SamplingStage is top_k."""
    assert field.enum_type is not None
    found = field.enum_type.values_by_number.get(number)
    if found is None:
        return f"{field.name}_{number}"  # of a later server
    num_words = sum(letter.isupper() for letter in field.enum_type.name)
    word = "_".join(found.name.split("_")[num_words:]).lower()
    return None if word == "unspecified" else word
