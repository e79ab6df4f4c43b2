"""The ways to ask over gRPC, with the parameters that the proto's descriptors declare for each."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import text_generation_pb2 as pb

from campaigns.callers.surfaces import SECONDS, Answer, Body, Surface

__all__ = ["grpc_surfaces"]

_SERVICE = pb.DESCRIPTOR.services_by_name["TextGenerationService"]
_FINISH_REASON = "FINISH_REASON_"
# Fields that hold other fields, or ids alone: the words of REST are flat.
_GROUP, _IDS = "parameters", "prompt_ids"


def grpc_surfaces(channel: grpc.Channel) -> Iterator[Surface]:
    """All methods that take anything."""
    for method in _SERVICE.methods:
        if names := frozenset(_names(method.input_type)):
            yield Surface(f"gRPC {method.name}", names, _caller(channel, method))


def _names(message: Descriptor) -> Iterator[str]:
    for each in message.fields:
        if each.name == _GROUP:
            yield from _names(cast("Descriptor", each.message_type))
        else:
            yield each.name


def _caller(channel: grpc.Channel, method: MethodDescriptor) -> Callable[[Body], Answer]:
    is_streamed = method.server_streaming
    request_type = cast("type[Message]", getattr(pb, method.input_type.name))
    answer_type = cast("type[Message]", getattr(pb, method.output_type.name))
    path = f"/{_SERVICE.full_name}/{method.name}"

    def parts(request: Message) -> Iterator[Message]:
        if is_streamed:
            yield from channel.unary_stream(path, _serialize, answer_type.FromString)(
                request, timeout=SECONDS
            )
        else:
            yield channel.unary_unary(path, _serialize, answer_type.FromString)(
                request, timeout=SECONDS
            )

    def ask(body: Body) -> Answer:
        answer = Answer(is_streamed=is_streamed)
        own = {each.name for each in method.input_type.fields}
        try:
            for part in parts(ParseDict(_words(body, own), request_type())):
                _add(answer, part)
        except grpc.RpcError as error:
            _read_error(answer, cast("grpc.Call", error))
        return answer

    return ask


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _words(body: Body, own: set[str]) -> dict[str, object]:
    """A body in the proto's JSON form, for a message with these fields."""
    values: dict[str, object] = {name: value for name, value in body.items() if name in own}
    if _IDS in values:
        values[_IDS] = {"ids": values[_IDS]}
    if _GROUP in own:
        values[_GROUP] = {
            # A single stop string is a list of one here.
            name: [value] if name == "stop" and isinstance(value, str) else value
            for name, value in body.items()
            if name not in own
        }
    return values


def _add(answer: Answer, message: Message) -> None:
    part: Mapping[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    match part:
        case {"model": {"id": name}}:
            answer.model = name
        case {"tokens": tokens}:
            answer.texts[0] = "".join(token["text"] for token in tokens)
            answer.num_prompt_tokens = part["count"]
        case _:
            for choice in part.get("choices", [part]):
                reason = choice.get("finish_reason", "").removeprefix(_FINISH_REASON).lower()
                tops = [{"top": report.get("top", ())} for report in choice.get("logprobs", ())]
                answer.add_choice({**choice, "finish_reason": reason, "logprobs": tops})
            summary = part.get("summary", part)
            answer.model = summary.get("model", answer.model)
            if usage := summary.get("usage"):
                answer.num_prompt_tokens = usage.get("prompt_tokens", 0)
                answer.num_tokens = usage.get("completion_tokens", 0)


def _read_error(answer: Answer, call: grpc.Call) -> None:
    trailers = dict(call.trailing_metadata() or ())
    details = cast("bytes", trailers.get("grpc-status-details-bin", b""))
    for packed in status_pb2.Status.FromString(details).details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if packed.Unpack(info):
            answer.code = info.reason.lower()
        elif packed.Unpack(bad):
            answer.fault = bad.field_violations[0].field
    answer.code = answer.code or call.code().name.lower()
