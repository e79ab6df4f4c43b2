"""The glass box's calls over both protocols, and one shape for what each of them gives."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import glass_box_pb2 as pb
from nextword.v1.glass_box_pb2_grpc import GlassBoxServiceStub

from tests.contract.live_server import START_SECONDS, Server

Body: TypeAlias = Mapping[str, Any]

# What REST has at the top of a body and gRPC in a message of its own.
_PARAMETERS = frozenset(
    (
        *("max_tokens", "min_tokens", "temperature", "top_k", "top_p", "min_p", "stop", "n"),
        *("repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "logprobs"),
        *("stop_token_ids", "logit_bias", "ignore_eos", "echo"),
    )
)


@dataclass(frozen=True)
class Call:
    """One of the calls."""

    path: str
    method: str
    request: type[Message]


CALLS = {
    "inspect": Call("/v1/inspect", "InspectText", pb.InspectTextRequest),
    "resample": Call("/v1/resample", "Resample", pb.ResampleRequest),
    "attention": Call("/v1/attention", "GetAttention", pb.GetAttentionRequest),
    "embedding": Call("/v1/embedding", "GetTokenEmbedding", pb.GetTokenEmbeddingRequest),
    "embed_text": Call("/v1/embed-text", "EmbedText", pb.EmbedTextRequest),
    "score": Call("/v1/score", "ScoreText", pb.ScoreTextRequest),
}


@dataclass(frozen=True)
class Refusal:
    """An error, in words that both transports share."""

    code: str
    field: str | None
    message: str


def ask_rest(server: Server, name: str, body: Body) -> dict[str, Any] | Refusal:
    """What REST answers."""
    response = server.post(CALLS[name].path, body)
    answer = response.json()
    if response.status_code == 200:
        return answer
    error = answer["error"]
    return Refusal(error["code"], error["param"], error["message"])


def ask_grpc(server: Server, name: str, body: Body) -> dict[str, Any] | Refusal:
    """What gRPC answers, as REST writes it."""
    call = CALLS[name]
    message = ParseDict(_grpc_body(name, body), call.request())
    with grpc.insecure_channel(server.grpc) as channel:
        try:
            answer = getattr(GlassBoxServiceStub(channel), call.method)(
                message, timeout=START_SECONDS
            )
        except grpc.RpcError as error:
            return _refusal(error)
    return plain(answer)


def plain(message: Message) -> dict[str, Any]:
    """A message as REST writes it: every field, enums as words, bytes as numbers or base64."""
    if message.DESCRIPTOR.name == "SamplingParameters":
        return _given_parameters(message)
    if message.DESCRIPTOR.name == "AttentionMap":
        assert isinstance(message, pb.AttentionMap)
        rows = [list(row.weights) for row in message.rows]
        return {"layer": message.layer, "head": message.head, "rows": rows}
    return {field.name: _plain_field(message, field) for field in message.DESCRIPTOR.fields}


def _plain_field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_plain_value(field, each) for each in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _plain_value(field, value)


def _plain_value(field: Any, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return plain(value)
    if field.type == FieldDescriptor.TYPE_ENUM:
        words = {each.number: each.name for each in field.enum_type.values}
        # SAMPLING_STAGE_TOP_K of SamplingStage is top_k.
        num_words = sum(letter.isupper() for letter in field.enum_type.name)
        word = "_".join(words[value].split("_")[num_words:]).lower()
        return None if word == "unspecified" else word
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode() if field.name == "logits" else list(value)
    return value


def _given_parameters(message: Message) -> dict[str, Any]:
    """What is set; of lists those that choose a token."""
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name == "logit_bias":
            values[field.name] = {str(key): each for key, each in value.items()}
        elif field.name == "stop_token_ids":
            values[field.name] = list(value)
        elif not field.is_repeated and message.HasField(field.name):
            values[field.name] = value
    return values


def _grpc_body(name: str, body: Body) -> dict[str, Any]:
    message = {key: value for key, value in body.items() if key not in _PARAMETERS}
    if "ids" in message:
        message["ids"] = {"ids": message["ids"]}
    if name == "inspect":
        message["parameters"] = {key: body[key] for key in body if key in _PARAMETERS}
    return message


def _refusal(error: grpc.RpcError) -> Refusal:
    call = cast("grpc.Call", error)
    details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    code, field = "", None
    for packed in status_pb2.Status.FromString(cast("bytes", details)).details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if packed.Unpack(info):
            code = info.reason.lower()
        if packed.Unpack(bad):
            field = bad.field_violations[0].field
    return Refusal(code, field, call.details() or "")
