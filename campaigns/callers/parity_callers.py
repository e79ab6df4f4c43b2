"""One request in four ways over the network, and one shape for what each way gives.

REST and gRPC are asked whole and streamed; `engine_in_process.py` is the fifth way.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio
import httpx2
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import text_generation_pb2 as pb

from campaigns.cases.random_requests import DrawnRequest
from service.errors import ErrorKind
from service.parameter_rules import PARAMETER_RULES

__all__ = ["Callers", "Choice", "Outcome", "grpc_message"]

SECONDS = 120
_SERVICE = "/nextword.v1.TextGenerationService"
_KINDS = {kind.code: kind for kind in ErrorKind}

Message: TypeAlias = pb.GenerateTextRequest | pb.StreamGenerateTextRequest
Logprobs: TypeAlias = list[tuple[object, ...]]


@dataclass
class Choice:
    """One continuation, put together again."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list[int])
    finish_reason: str = ""
    logprobs: Logprobs = field(default_factory=list[tuple[object, ...]])


@dataclass
class Outcome:
    """What a way gave: an error, or choices with what was used.

    Attributes:
        status: The name of the gRPC status, which the table pairs with an HTTP status; "OK" without
            an error.
        code: The error's code, empty where there is none.
        field_name: The field at fault, empty where there is none.
    """

    status: str = "OK"
    code: str = ""
    field_name: str = ""
    choices: dict[int, Choice] = field(default_factory=dict[int, Choice])
    usage: tuple[int, ...] = ()
    parameters: dict[str, object] = field(default_factory=dict[str, object])
    model: str = ""

    def choice(self, index: int) -> Choice:
        """A choice, made when it is first seen."""
        return self.choices.setdefault(index, Choice())


class Callers:
    """The four ways over the network.

    Args:
        rest: The server's REST address.
        grpc_address: Its gRPC address.
    """

    def __init__(self, rest: str, grpc_address: str) -> None:
        limits = httpx2.Limits(max_connections=64)
        self._http = httpx2.AsyncClient(base_url=rest, timeout=SECONDS, limits=limits)
        self._channel = grpc.aio.insecure_channel(grpc_address)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        await self._channel.close()

    async def rest_whole(self, request: DrawnRequest) -> Outcome:
        """POST /v1/generate, one JSON answer."""
        answer = await self._http.post("/v1/generate", **_rest_call(request, is_streamed=False))
        if answer.status_code != 200:
            return _rest_error(answer.json(), answer.status_code)
        body = answer.json()
        outcome = Outcome()
        for choice in body["choices"]:
            _add_json(outcome, choice)
        _sum_up_json(outcome, body)
        return outcome

    async def rest_stream(self, request: DrawnRequest) -> Outcome:
        """POST /v1/generate with stream, put together again."""
        call = _rest_call(request, is_streamed=True)
        async with self._http.stream("POST", "/v1/generate", **call) as answer:
            if answer.status_code != 200:
                return _rest_error(json.loads(await answer.aread()), answer.status_code)
            lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
        events = [line.removeprefix("data: ") for line in lines]
        assert events.count("[DONE]") == 1
        assert events.pop() == "[DONE]"
        outcome = Outcome()
        for event in map(json.loads, events):
            _add_json(outcome, event)
            if "usage" in event:
                assert not outcome.usage, "two summaries"
                _sum_up_json(outcome, event)
        return outcome

    async def grpc_whole(self, request: DrawnRequest) -> Outcome:
        """GenerateText."""
        message = request.grpc_bytes or _serialize(request, pb.GenerateTextRequest())
        call = self._channel.unary_unary(
            f"{_SERVICE}/GenerateText",
            request_serializer=_as_it_is,
            response_deserializer=pb.GenerateTextResponse.FromString,
        )
        try:
            answer = await call(message, timeout=SECONDS, metadata=_metadata(request))
        except grpc.aio.AioRpcError as error:
            return _grpc_error(error)
        outcome = Outcome()
        for choice in answer.choices:
            _add_message(outcome, choice)
        _sum_up_message(outcome, answer)
        return outcome

    async def grpc_stream(self, request: DrawnRequest) -> Outcome:
        """StreamGenerateText, put together again."""
        message = request.grpc_bytes or _serialize(request, pb.StreamGenerateTextRequest())
        call = self._channel.unary_stream(
            f"{_SERVICE}/StreamGenerateText",
            request_serializer=_as_it_is,
            response_deserializer=pb.StreamGenerateTextResponse.FromString,
        )
        outcome = Outcome()
        try:
            async for part in call(message, timeout=SECONDS, metadata=_metadata(request)):
                _add_message(outcome, part)
                if part.HasField("summary"):
                    assert not outcome.usage, "two summaries"
                    _sum_up_message(outcome, part.summary)
        except grpc.aio.AioRpcError as error:
            return _grpc_error(error)
        return outcome


def _as_it_is(data: bytes) -> bytes:
    return data


def _metadata(request: DrawnRequest) -> list[tuple[str, str]]:
    return [] if request.request_id is None else [("x-request-id", request.request_id)]


def _rest_call(request: DrawnRequest, *, is_streamed: bool) -> dict[str, Any]:
    content = request.rest_bytes
    if content is None:
        body = {**(request.body or {}), "stream": is_streamed}
        content = json.dumps(body).encode()
    headers = {"content-type": "application/json", **dict(request.rest_headers)}
    if request.request_id is not None:
        headers["x-request-id"] = request.request_id
    return {"content": content, "headers": headers}


def _rest_error(body: Mapping[str, Any], status: int) -> Outcome:
    error = body["error"]
    kind = _KINDS[error["code"]]
    assert status == kind.http_status, f"{error['code']} came with status {status}"
    return Outcome(status=kind.grpc_status, code=kind.code, field_name=error["param"] or "")


def _add_json(outcome: Outcome, part: Mapping[str, Any]) -> None:
    choice = outcome.choice(part["index"])
    choice.text += part["text"]
    choice.token_ids += part["token_ids"]
    for entry in part.get("logprobs", ()):
        top = tuple((each["id"], bytes(each["bytes"]), each["logprob"]) for each in entry["top"])
        data = bytes(entry["bytes"])
        choice.logprobs.append((entry["id"], data, entry["logprob"], entry["rank"], top))
    if part.get("finish_reason"):
        assert not choice.finish_reason, "a choice ended twice"
        choice.finish_reason = part["finish_reason"]


def _sum_up_json(outcome: Outcome, values: Mapping[str, Any]) -> None:
    outcome.usage = tuple(
        values["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    outcome.parameters = values["parameters"]
    outcome.model = f"{values['model']}@{values['model_version']} {values['system_fingerprint']}"


def _add_message(outcome: Outcome, part: pb.Choice | pb.StreamGenerateTextResponse) -> None:
    choice = outcome.choice(part.index)
    choice.text += part.text
    choice.token_ids += part.token_ids
    for entry in part.logprobs:
        top = tuple((each.id, each.bytes, each.logprob) for each in entry.top)
        logprob = entry.logprob if entry.HasField("logprob") else None
        rank = entry.rank if entry.HasField("rank") else None
        choice.logprobs.append((entry.id, entry.bytes, logprob, rank, top))
    if part.finish_reason:
        assert not choice.finish_reason, "a choice ended twice"
        name = pb.FinishReason.Name(part.finish_reason)
        choice.finish_reason = name.removeprefix("FINISH_REASON_").lower()


def _sum_up_message(outcome: Outcome, values: pb.GenerateTextResponse | pb.StreamSummary) -> None:
    usage = values.usage
    outcome.usage = (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    parameters = MessageToDict(
        values.parameters,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    # The JSON form writes 64 bits as a string, and leaves out what is not set.
    outcome.parameters = {"logprobs": None, **parameters, "seed": int(parameters["seed"])}
    outcome.model = f"{values.model}@{values.model_version} {values.system_fingerprint}"


def _grpc_error(error: grpc.aio.AioRpcError) -> Outcome:
    outcome = Outcome(status=error.code().name)
    trailers = dict(error.trailing_metadata() or ())
    details = cast("bytes", trailers.get("grpc-status-details-bin", b""))
    for packed in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            outcome.code = info.reason.lower()
        bad = error_details_pb2.BadRequest()
        if packed.Unpack(bad):
            outcome.field_name = bad.field_violations[0].field
    return outcome


def grpc_message(body: Mapping[str, object], message: Message) -> Message | None:
    """A JSON body in an empty message; None where gRPC's types cannot say it."""
    try:
        for name, value in body.items():
            if value is not None:
                _set(message, name, value)
    except (TypeError, ValueError, AttributeError):
        return None
    return message


def _set(message: Message, name: str, value: object) -> None:
    match name, value:
        case "prompt_ids", list():
            message.prompt_ids.SetInParent()
            message.prompt_ids.ids.extend(cast("list[int]", value))
        case (("prompt" | "model" | "timeout_seconds" | "parse_special_tokens"), _):
            setattr(message, name, value)
        case _:
            rule = PARAMETER_RULES.get(name)
            if rule is None:
                raise AttributeError(name)
            _set_parameter(message.parameters, name, rule.kind, value)


def _set_parameter(parameters: pb.SamplingParameters, name: str, kind: str, value: object) -> None:
    match kind, value:
        case "bias", dict():
            for key, bias in cast("dict[str, float]", value).items():
                parameters.logit_bias[int(key)] = bias
        case (("strings" | "integers"), list()):
            getattr(parameters, name).extend(value)
        case ("integer", int()) | ("number", int() | float()):
            # The library would take true for 1.
            if isinstance(value, bool):
                raise TypeError(name)
            setattr(parameters, name, value)
        case "boolean", bool():
            setattr(parameters, name, value)
        case _:
            raise TypeError(name)


def _serialize(request: DrawnRequest, message: Message) -> bytes:
    assert request.body is not None
    filled = grpc_message(request.body, message)
    assert filled is not None, "gRPC cannot say this"
    return filled.SerializeToString()
