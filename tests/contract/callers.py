"""Four ways to ask a server for a continuation, and one shape for what each of them gives."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from campaigns.live.server_process import HTTP
from tests.contract.glass_box_callers import plain
from tests.contract.live_server import START_SECONDS, Server

Body: TypeAlias = Mapping[str, object]


@dataclass
class ChoiceOutcome:
    """One continuation.

    Attributes:
        num_echoed: How many of the ids came marked as the prompt, in a stream.
    """

    text: str = ""
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    inspections: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    finish_reason: str = ""
    num_echoed: int = 0

    def add(self, piece: "ChoiceOutcome", *, is_prompt: bool) -> None:
        """Take in one piece of a stream; nothing follows the last one, and the prompt is first."""
        assert self.finish_reason == ""
        if is_prompt:
            assert self.num_echoed == len(self.token_ids)
            self.num_echoed += len(piece.token_ids)
        self.text += piece.text
        self.token_ids += piece.token_ids
        self.logprobs += piece.logprobs
        self.inspections += piece.inspections
        self.finish_reason = piece.finish_reason


@dataclass
class Outcome:
    """What a call gave, in words that both transports share."""

    choices: list[ChoiceOutcome] = field(default_factory=list[ChoiceOutcome])
    usage: dict[str, int] = field(default_factory=dict[str, int])
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    model: str = ""
    num_messages: int = 1
    code: str | None = None
    field: str | None = None
    status: str | int | None = None
    message: str = ""

    @property
    def text(self) -> str:
        """Text of the first choice."""
        return self.choices[0].text

    @property
    def token_ids(self) -> list[int]:
        """Tokens of the first choice."""
        return self.choices[0].token_ids

    @property
    def finish_reason(self) -> str:
        """How the first choice ended."""
        return self.choices[0].finish_reason

    def choice(self, index: int) -> ChoiceOutcome:
        """The choice of that number; choices may begin in any order."""
        while len(self.choices) <= index:
            self.choices.append(ChoiceOutcome())
        return self.choices[index]


Caller: TypeAlias = Callable[[Server, Body], Outcome]


def rest_whole(server: Server, body: Body) -> Outcome:
    """POST /v1/generate, one JSON answer."""
    response = server.post("/v1/generate", body)
    answer = response.json()
    if response.status_code != 200:
        return _rest_error(answer, response.status_code)
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(answer["choices"])))
    outcome = Outcome(choices=[_rest_choice(choice) for choice in answer["choices"]])
    _take_rest_summary(outcome, answer)
    return outcome


def rest_stream(server: Server, body: Body) -> Outcome:
    """POST /v1/generate with stream, put together again."""
    outcome = Outcome(num_messages=0)
    url = server.rest + "/v1/generate"
    with HTTP.stream("POST", url, json={**body, "stream": True}) as response:
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
        assert not outcome.usage, "the summary is on the very last event"
        outcome.num_messages += 1
        choice = outcome.choice(event["index"])
        choice.add(_rest_choice(event), is_prompt=event.get("is_prompt", False))
        if "usage" in event:
            _take_rest_summary(outcome, event)
    return outcome


def grpc_whole(server: Server, body: Body) -> Outcome:
    """GenerateText."""
    with grpc.insecure_channel(server.grpc) as channel:
        request = ParseDict(_grpc_body(body), pb.GenerateTextRequest())
        try:
            answer = TextGenerationServiceStub(channel).GenerateText(request, timeout=START_SECONDS)
        except grpc.RpcError as error:
            return grpc_error(error)
    assert [choice.index for choice in answer.choices] == list(range(len(answer.choices)))
    outcome = Outcome(choices=[_grpc_choice(choice) for choice in answer.choices])
    _take_grpc_summary(outcome, answer)
    return outcome


def grpc_stream(server: Server, body: Body) -> Outcome:
    """StreamGenerateText, put together again."""
    outcome = Outcome(num_messages=0)
    with grpc.insecure_channel(server.grpc) as channel:
        request = ParseDict(_grpc_body(body), pb.StreamGenerateTextRequest())
        try:
            for message in TextGenerationServiceStub(channel).StreamGenerateText(
                request, timeout=START_SECONDS
            ):
                assert not outcome.usage, "the summary is on the very last message"
                outcome.num_messages += 1
                choice = outcome.choice(message.index)
                choice.add(_grpc_choice(message), is_prompt=message.is_prompt)
                if message.HasField("summary"):
                    _take_grpc_summary(outcome, message.summary)
        except grpc.RpcError as error:
            return grpc_error(error)
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
    return Outcome(
        code=error["code"], field=error["param"], status=status, message=error["message"]
    )


def _rest_choice(choice: Mapping[str, Any]) -> ChoiceOutcome:
    return ChoiceOutcome(
        text=choice["text"],
        token_ids=choice["token_ids"],
        logprobs=choice.get("logprobs", []),
        inspections=choice.get("inspections", []),
        finish_reason=choice.get("finish_reason", ""),
    )


def _take_rest_summary(outcome: Outcome, answer: Mapping[str, Any]) -> None:
    outcome.usage, outcome.parameters = answer["usage"], answer["parameters"]
    outcome.model = f"{answer['model']}@{answer['model_version']} {answer['system_fingerprint']}"


def _grpc_choice(choice: pb.Choice | pb.StreamGenerateTextResponse) -> ChoiceOutcome:
    return ChoiceOutcome(
        text=choice.text,
        token_ids=list(choice.token_ids),
        logprobs=[_token(report) for report in choice.logprobs],
        inspections=[plain(each) for each in choice.inspections],
        finish_reason=_finish_reason(choice.finish_reason) if choice.finish_reason else "",
    )


def _token(report: pb.TokenLogprob | pb.RivalToken) -> dict[str, Any]:
    """A token as the REST answer writes it."""
    token: dict[str, Any] = {"id": report.id, "text": report.text, "bytes": list(report.bytes)}
    if isinstance(report, pb.RivalToken):
        return {**token, "logprob": report.logprob}
    return {
        **token,
        "logprob": report.logprob if report.HasField("logprob") else None,
        "rank": report.rank if report.HasField("rank") else None,
        "top": [_token(rival) for rival in report.top],
    }


def _take_grpc_summary(
    outcome: Outcome, answer: pb.GenerateTextResponse | pb.StreamSummary
) -> None:
    outcome.usage, outcome.parameters = _usage(answer.usage), _parameters(answer.parameters)
    outcome.model = f"{answer.model}@{answer.model_version} {answer.system_fingerprint}"


def _grpc_body(body: Body) -> dict[str, object]:
    """A REST body in the shape of the proto's JSON form."""
    outer = {"model", "prompt", "prompt_ids", "timeout_seconds", "parse_special_tokens", "inspect"}
    message: dict[str, object] = {name: value for name, value in body.items() if name in outer}
    if "prompt_ids" in message:
        message["prompt_ids"] = {"ids": message["prompt_ids"]}
    message["parameters"] = {name: value for name, value in body.items() if name not in outer}
    return message


def grpc_error(error: grpc.RpcError) -> Outcome:
    """The error of a call, with what its details say."""
    call = cast("grpc.Call", error)
    details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    status = status_pb2.Status.FromString(cast("bytes", details))
    outcome = Outcome(status=call.code().name, message=call.details() or "")
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
