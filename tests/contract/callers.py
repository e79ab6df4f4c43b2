"""Four ways to ask a server for a continuation, and one shape for what each of them gives."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import grpc
import httpx2
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from tests.contract.live_server import START_SECONDS, Server

Body: TypeAlias = Mapping[str, object]


@dataclass
class Outcome:
    """What a call gave, in words that both transports share."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list[int])
    finish_reason: str = ""
    usage: dict[str, int] = field(default_factory=dict[str, int])
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    model: str = ""
    num_messages: int = 1
    code: str | None = None
    field: str | None = None
    status: str | int | None = None


Caller: TypeAlias = Callable[[Server, Body], Outcome]


def rest_whole(server: Server, body: Body) -> Outcome:
    """POST /v1/generate, one JSON answer."""
    response = server.post("/v1/generate", body)
    answer = response.json()
    if response.status_code != 200:
        return _rest_error(answer, response.status_code)
    (choice,) = answer["choices"]
    return Outcome(
        text=choice["text"],
        token_ids=choice["token_ids"],
        finish_reason=choice["finish_reason"],
        usage=answer["usage"],
        parameters=answer["parameters"],
        model=f"{answer['model']}@{answer['model_version']}",
    )


def rest_stream(server: Server, body: Body) -> Outcome:
    """POST /v1/generate with stream, put together again."""
    outcome = Outcome(num_messages=0)
    with httpx2.stream(
        "POST", server.rest + "/v1/generate", json={**body, "stream": True}, timeout=START_SECONDS
    ) as response:
        if response.status_code != 200:
            response.read()
            return _rest_error(response.json(), response.status_code)
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    events = [line.removeprefix("data: ") for line in lines]
    if "error" in json.loads(events[-1].replace("[DONE]", "{}")):
        return _rest_error(json.loads(events[-1]), 200)
    assert events.pop() == "[DONE]"
    assert "[DONE]" not in events
    for event in map(json.loads, events):
        outcome.num_messages += 1
        outcome.text += event["text"]
        outcome.token_ids += event["token_ids"]
        if "finish_reason" in event:
            assert outcome.finish_reason == ""
            outcome.finish_reason = event["finish_reason"]
        if "usage" in event:
            outcome.usage, outcome.parameters = event["usage"], event["parameters"]
            outcome.model = f"{event['model']}@{event['model_version']}"
    return outcome


def grpc_whole(server: Server, body: Body) -> Outcome:
    """GenerateText."""
    with grpc.insecure_channel(server.grpc) as channel:
        request = ParseDict(_grpc_body(body), pb.GenerateTextRequest())
        try:
            answer = TextGenerationServiceStub(channel).GenerateText(request, timeout=START_SECONDS)
        except grpc.RpcError as error:
            return _grpc_error(error)
    (choice,) = answer.choices
    return Outcome(
        text=choice.text,
        token_ids=list(choice.token_ids),
        finish_reason=_finish_reason(choice.finish_reason),
        usage=_usage(answer.usage),
        parameters=_parameters(answer.parameters),
        model=f"{answer.model}@{answer.model_version}",
    )


def grpc_stream(server: Server, body: Body) -> Outcome:
    """StreamGenerateText, put together again."""
    outcome = Outcome(num_messages=0)
    with grpc.insecure_channel(server.grpc) as channel:
        request = ParseDict(_grpc_body(body), pb.StreamGenerateTextRequest())
        try:
            for message in TextGenerationServiceStub(channel).StreamGenerateText(
                request, timeout=START_SECONDS
            ):
                outcome.num_messages += 1
                outcome.text += message.text
                outcome.token_ids += message.token_ids
                if message.finish_reason:
                    assert outcome.finish_reason == ""
                    outcome.finish_reason = _finish_reason(message.finish_reason)
                if message.HasField("summary"):
                    summary = message.summary
                    outcome.usage = _usage(summary.usage)
                    outcome.parameters = _parameters(summary.parameters)
                    outcome.model = f"{summary.model}@{summary.model_version}"
        except grpc.RpcError as error:
            return _grpc_error(error)
    return outcome


Callers: TypeAlias = dict[str, Caller]

CALLERS: Callers = {
    "rest_whole": rest_whole,
    "rest_stream": rest_stream,
    "grpc_whole": grpc_whole,
    "grpc_stream": grpc_stream,
}


def _rest_error(answer: dict[str, Any], status: int) -> Outcome:
    error = answer["error"]
    return Outcome(code=error["code"], field=error["param"], status=status)


def _grpc_body(body: Body) -> dict[str, object]:
    """A REST body in the shape of the proto's JSON form."""
    outer = {"model", "prompt", "prompt_ids", "timeout_seconds", "parse_special_tokens"}
    message: dict[str, object] = {name: value for name, value in body.items() if name in outer}
    if "prompt_ids" in message:
        message["prompt_ids"] = {"ids": message["prompt_ids"]}
    message["parameters"] = {name: value for name, value in body.items() if name not in outer}
    return message


def _grpc_error(error: grpc.RpcError) -> Outcome:
    call = cast("grpc.Call", error)
    details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(cast("bytes", details))
    outcome = Outcome(status=call.code().name)
    for packed in status.details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            outcome.code = info.reason.lower()
        bad = error_details_pb2.BadRequest()
        if packed.Unpack(bad):
            outcome.field = bad.field_violations[0].field
    return outcome


def _finish_reason(number: pb.FinishReason.ValueType) -> str:
    return pb.FinishReason.Name(number).removeprefix("FINISH_REASON_").lower()


def _usage(usage: pb.Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _parameters(parameters: pb.SamplingParameters) -> dict[str, Any]:
    """The message as the REST answer writes it: 64-bit numbers as numbers, empty lists shown."""
    values = MessageToDict(
        parameters, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    values["seed"] = int(values["seed"])
    values.setdefault("logprobs", None)
    return values
