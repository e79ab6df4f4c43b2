"""The glass box over gRPC: bodies as REST has them to messages, and messages to such fields."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import cast

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from nextword.errors import ErrorFacts, InvalidRequestError
from nextword.glass_box import GlassBoxCall
from nextword.json_fields import JsonFields
from nextword.request import SamplingParameters
from nextword.v1 import glass_box_pb2 as pb
from nextword.v1.glass_box_pb2_grpc import GlassBoxServiceStub

__all__ = ["GrpcCalls", "message_fields"]

_REQUESTS: dict[str, type[Message]] = {
    "InspectText": pb.InspectTextRequest,
    "Resample": pb.ResampleRequest,
    "GetAttention": pb.GetAttentionRequest,
    "GetTokenEmbedding": pb.GetTokenEmbeddingRequest,
    "EmbedText": pb.EmbedTextRequest,
    "ScoreText": pb.ScoreTextRequest,
}
_PARAMETERS = frozenset(field.name for field in fields(SamplingParameters))
_INVALID = ErrorFacts(code="invalid_value", status=400)


class GrpcCalls:
    """The calls of GlassBoxService on a channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = GlassBoxServiceStub(channel)

    def method(self, call: GlassBoxCall) -> "grpc.UnaryUnaryMultiCallable[Message, Message]":
        """The library's handle of a call."""
        handle = cast("object", getattr(self._stub, call.method))
        return cast("grpc.UnaryUnaryMultiCallable[Message, Message]", handle)

    def request(self, call: GlassBoxCall, body: Mapping[str, object]) -> Message:
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
        try:
            return ParseDict(values, _REQUESTS[call.method]())
        except (ParseError, ValueError):
            raise InvalidRequestError(
                "a value does not fit into its field: ids and counts are 32-bit integers, texts "
                "have no lone surrogates",
                facts=_INVALID,
            ) from None


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
