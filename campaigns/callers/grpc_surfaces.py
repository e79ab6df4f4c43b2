"""The ways to ask over gRPC, with the parameters that the proto's descriptors declare for each."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import grpc
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import glass_box_pb2
from nextword.v1 import text_generation_pb2 as pb

from campaigns.callers.surfaces import GLASS_BOX, SECONDS, Answer, Body, Surface

__all__ = ["grpc_surfaces"]

_SERVICES = tuple(
    service for file in (pb, glass_box_pb2) for service in file.DESCRIPTOR.services_by_name.values()
)
_FAMILIES = {method: family for family, (_, method) in GLASS_BOX.items()}
_FINISH_REASON = "FINISH_REASON_"
# Fields that hold other fields, or ids alone: the words of REST are flat.
_GROUP, _INSPECT = "parameters", "inspect"


def grpc_surfaces(channel: grpc.Channel) -> Iterator[Surface]:
    """All methods that take anything."""
    for service in _SERVICES:
        for method in service.methods:
            if names := frozenset(_names(method.input_type)):
                family = _FAMILIES.get(method.name, "")
                ask = _caller(channel, method)
                yield Surface(f"gRPC {method.name}", names, ask, family=family)


def _names(message: Descriptor) -> Iterator[str]:
    for each in message.fields:
        if each.name == _GROUP and not each.is_repeated:
            yield from _names(cast("Descriptor", each.message_type))
        elif each.name == _INSPECT:
            inner = _names(cast("Descriptor", each.message_type))
            yield from (f"{_INSPECT}.{name}" for name in inner)
        else:
            yield each.name


def _caller(channel: grpc.Channel, method: MethodDescriptor) -> Callable[[Body], Answer]:
    is_streamed = method.server_streaming
    request_type = GetMessageClass(method.input_type)
    answer_type = GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    # Ids that a message of their own holds; those of detokenizing are a list.
    held = {
        each.name
        for each in method.input_type.fields
        if each.message_type is not None and each.message_type.name == "TokenIds"
    }
    has_group = any(
        each.name == _GROUP and not each.is_repeated for each in method.input_type.fields
    )

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
        own = {
            each.name for each in method.input_type.fields if not has_group or each.name != _GROUP
        }
        try:
            for part in parts(
                ParseDict(_words(body, own, held=held, has_group=has_group), request_type())
            ):
                _add(answer, part)
        except grpc.RpcError as error:
            _read_error(answer, cast("grpc.Call", error))
        return answer

    return ask


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _words(body: Body, own: set[str], *, held: set[str], has_group: bool) -> dict[str, object]:
    """A body in the proto's JSON form, for a message with these fields beside a group.

    Args:
        body: In the words of REST.
        own: Fields of the message.
        held: Those of them that hold ids in a message of their own.
        has_group: Whether all others are the sampling parameters, in one field.
    """
    values: dict[str, object] = {name: value for name, value in body.items() if name in own}
    for name in held & values.keys():
        values[name] = {"ids": values[name]}
    prefix = f"{_INSPECT}."
    inspect = {name: value for name, value in body.items() if name.startswith(prefix)}
    if inspect:
        values[_INSPECT] = {name.removeprefix(prefix): each for name, each in inspect.items()}
    if has_group:
        values[_GROUP] = {
            # A single stop string is a list of one here.
            name: [value] if name == "stop" and isinstance(value, str) else value
            for name, value in body.items()
            if name not in own and name not in inspect
        }
    return values


def _add(answer: Answer, message: Message) -> None:
    part: Mapping[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    answer.whole = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    match part:
        case {"model": {"id": name}}:
            answer.model = name
        case {"tokens": tokens, "count": count}:
            answer.texts[0] = "".join(token["text"] for token in tokens)
            answer.num_prompt_tokens = count
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
