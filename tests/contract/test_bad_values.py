"""Group C of the hazards: one table of bad values, one verdict over both protocols (H133).

Every error names its field (H44). What only one protocol can say has tests of its own below.
"""

import json
import math
from typing import cast

import grpc
import httpx2
import pytest
from nextword.v1 import text_generation_pb2 as pb

from tests.contract.callers import Callers, Outcome, grpc_error
from tests.contract.live_server import START_SECONDS, Server

BASE = {"prompt": "Once upon a time", "max_tokens": 4, "seed": 7}
NO_PROMPT: dict[str, object] = {"prompt": None}
CONTEXT = "context_length_exceeded"

# The tiny model has ids 0 to 256 and a context of 4096 tokens, one for each byte.
TABLE: dict[str, tuple[dict[str, object], str, str]] = {
    "H20 prompt id -1": (NO_PROMPT | {"prompt_ids": [-1]}, "invalid_value", "prompt_ids"),
    "H20 prompt id beyond": (NO_PROMPT | {"prompt_ids": [257]}, "invalid_value", "prompt_ids"),
    "H20 prompt id 2^31-1": (
        NO_PROMPT | {"prompt_ids": [5, 2**31 - 1]},
        "invalid_value",
        "prompt_ids",
    ),
    "H20 stop id -1": ({"stop_token_ids": [-1]}, "invalid_value", "stop_token_ids"),
    "H20 stop id beyond": ({"stop_token_ids": [257]}, "invalid_value", "stop_token_ids"),
    "H20 many stop ids": ({"stop_token_ids": [1] * 65}, "invalid_value", "stop_token_ids"),
    "H20 bias of -1": ({"logit_bias": {"-1": 1.0}}, "invalid_value", "logit_bias"),
    "H20 bias beyond": ({"logit_bias": {"257": 1.0}}, "invalid_value", "logit_bias"),
    "H21 no choice": ({"n": 0}, "invalid_value", "n"),
    "H21 minus one choice": ({"n": -1}, "invalid_value", "n"),
    "H21 too many choices": ({"n": 129}, "invalid_value", "n"),
    "H21 far too many": ({"n": 2**31 - 1}, "invalid_value", "n"),
    "H22 no room": ({"max_tokens": 4096}, CONTEXT, "max_tokens"),
    "H22 no room by one": ({"max_tokens": 4082}, CONTEXT, "max_tokens"),
    "H23 prompt too long": ({"prompt": "x" * 4097}, CONTEXT, "prompt"),
    "H23 far too long": ({"prompt": "x" * 500_000}, CONTEXT, "prompt"),
    "H23 too many ids": (NO_PROMPT | {"prompt_ids": [5] * 4097}, CONTEXT, "prompt_ids"),
    "H24 hot": ({"temperature": 100.5}, "invalid_value", "temperature"),
    "H24 huge": ({"temperature": 1e308}, "invalid_value", "temperature"),
    "H24 cold": ({"temperature": -0.1}, "invalid_value", "temperature"),
    "H24 top_p none": ({"top_p": 0.0}, "invalid_value", "top_p"),
    "H24 top_p above": ({"top_p": 1.01}, "invalid_value", "top_p"),
    "H24 min_p below": ({"min_p": -0.5}, "invalid_value", "min_p"),
    "H24 min_p above": ({"min_p": 1.5}, "invalid_value", "min_p"),
    "H24 repetition": ({"repetition_penalty": 0.0}, "invalid_value", "repetition_penalty"),
    "H24 repetition tiny": ({"repetition_penalty": 5e-324}, "invalid_value", "repetition_penalty"),
    "H24 repetition huge": (
        {"repetition_penalty": 1e308},
        "invalid_value",
        "repetition_penalty",
    ),
    "H24 presence": ({"presence_penalty": 101.0}, "invalid_value", "presence_penalty"),
    "H24 frequency": ({"frequency_penalty": -101.0}, "invalid_value", "frequency_penalty"),
    "H25 top_k": ({"top_k": -2}, "invalid_value", "top_k"),
    "H26 logprobs minus one": ({"logprobs": -1}, "invalid_value", "logprobs"),
    "H26 logprobs 21": ({"logprobs": 21}, "invalid_value", "logprobs"),
    "H26 logprobs of all": ({"logprobs": 10**9}, "invalid_value", "logprobs"),
    "H26 too many reports": (
        {"n": 128, "logprobs": 20, "max_tokens": 100},
        "invalid_value",
        "logprobs",
    ),
    "H27 five stops": ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_value", "stop"),
    "H27 very many stops": ({"stop": ["a"] * 100_000}, "invalid_value", "stop"),
    "H27 empty stop": ({"stop": ["a", ""]}, "invalid_value", "stop"),
    "H27 long stop": ({"stop": ["x" * 257]}, "invalid_value", "stop"),
    "H27 long stop in bytes": ({"stop": ["\u6f22" * 86]}, "invalid_value", "stop"),
    "H27 very long stop": ({"stop": ["x" * 900_000]}, "invalid_value", "stop"),
    "H28 many biases": (
        {"logit_bias": {str(token_id): 1.0 for token_id in range(301)}},
        "invalid_value",
        "logit_bias",
    ),
    "H28 bias too large": ({"logit_bias": {"1": 100.5}}, "invalid_value", "logit_bias"),
    "H28 bias too small": ({"logit_bias": {"1": -1e30}}, "invalid_value", "logit_bias"),
    "H36 no tokens": ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    "H36 no tokens, no echo": (
        {"max_tokens": 0, "echo": False, "logprobs": 1},
        "invalid_value",
        "max_tokens",
    ),
    "H36 negative tokens": ({"max_tokens": -5}, "invalid_value", "max_tokens"),
    "H36 most tokens": ({"max_tokens": 2**31 - 1}, CONTEXT, "max_tokens"),
    "H36 min above max": ({"min_tokens": 5}, "invalid_value", "min_tokens"),
    "H36 min negative": ({"min_tokens": -1}, "invalid_value", "min_tokens"),
    "H37 empty prompt": ({"prompt": ""}, "invalid_value", "prompt"),
    "H37 no prompt": (NO_PROMPT, "invalid_value", "prompt"),
    "H37 no ids": (NO_PROMPT | {"prompt_ids": []}, "invalid_value", "prompt_ids"),
    "H40 unknown model": ({"model": "nobody"}, "model_not_found", "model"),
    "H40 unknown version": ({"model": "tiny@2"}, "model_not_found", "model"),
    "H40 empty name": ({"model": ""}, "model_not_found", "model"),
    "H40 path as model": ({"model": "../../etc/passwd"}, "model_not_found", "model"),
    "H40 control characters": ({"model": "a\r\n\x1b[2J"}, "model_not_found", "model"),
    "H40 10 KiB": ({"model": "m" * 10_240}, "model_not_found", "model"),
    "H96 no time": ({"timeout_seconds": 0.0}, "invalid_value", "timeout_seconds"),
    "H96 negative time": ({"timeout_seconds": -1.0}, "invalid_value", "timeout_seconds"),
    "H96 too much time": ({"timeout_seconds": 86401.0}, "invalid_value", "timeout_seconds"),
}


@pytest.mark.parametrize("case", TABLE.values(), ids=list(TABLE))
def test_bad_values_get_the_same_verdict_everywhere(
    server: Server, callers: Callers, case: tuple[dict[str, object], str, str]
) -> None:
    changes, code, field = case
    body = {name: value for name, value in (BASE | changes).items() if value is not None}
    expected = (404, "NOT_FOUND") if code == "model_not_found" else (400, "INVALID_ARGUMENT")
    messages: set[str] = set()
    for name, call in callers.items():
        outcome = call(server, body)
        assert (outcome.code, outcome.field) == (code, field), name
        assert outcome.status in expected, name
        messages.add(outcome.message)
    # The very words are the same: only gRPC shortens long ones, and these are none.
    (message,) = messages
    assert len(message) < 300
    assert message.isascii()
    assert message.isprintable()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "name",
    [
        "temperature",
        "top_p",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "timeout_seconds",
    ],
)
def test_numbers_that_are_none_are_refused(
    server: Server, callers: Callers, name: str, value: float
) -> None:
    """H24, H28. JSON has no such numbers, so over REST the whole body is none."""
    given: object = {"5": value} if name == "logit_bias" else value
    content = json.dumps(BASE | {name: given}).encode()
    headers = {"content-type": "application/json"}
    response = server.post("/v1/generate", None, content=content, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    spelled = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    given = {"5": spelled} if name == "logit_bias" else spelled
    outcome = callers["grpc_whole"](server, BASE | {name: given})
    assert (outcome.code, outcome.field) == ("invalid_value", name)


@pytest.mark.parametrize(
    ("text", "number"), [("\0", 1), ("\ufffe", 3), ("\ufeffx", 4), (" \n\t", 3), ("\U0001f600", 4)]
)
def test_odd_text_is_text(server: Server, callers: Callers, text: str, number: int) -> None:
    """H31, H37: NUL, a noncharacter, a byte order mark, nothing but whitespace."""
    for name, call in callers.items():
        outcome = call(server, BASE | {"prompt": text, "echo": True})
        assert outcome.code is None, name
        assert outcome.text.startswith(text)
        assert outcome.usage["prompt_tokens"] == number


@pytest.mark.parametrize("number", [2**31, 2**63, 2**64, -(2**31) - 1, 10**30])
@pytest.mark.parametrize("name", ["prompt_ids", "stop_token_ids", "logit_bias", "max_tokens", "n"])
def test_integers_beyond_the_wire_are_refused_over_rest(
    server: Server, number: int, name: str
) -> None:
    """H20, H36: gRPC's clients cannot write them at all."""
    body: dict[str, object] = dict(BASE)
    match name:
        case "prompt_ids":
            del body["prompt"]
            body[name] = [number]
        case "stop_token_ids":
            body[name] = [number]
        case "logit_bias":
            body[name] = {str(number): 1.0}
        case _:
            body[name] = number
    error = server.post("/v1/generate", body).json()["error"]
    assert error["code"] in ("invalid_value", "invalid_json", CONTEXT)
    if abs(number) < 2**63:
        assert error["param"] == name
    for build in (
        lambda: pb.TokenIds(ids=[number]),
        lambda: pb.SamplingParameters(stop_token_ids=[number]),
        lambda: pb.SamplingParameters(logit_bias={number: 1.0}),
        lambda: pb.SamplingParameters(n=number),
    ):
        with pytest.raises(ValueError, match=r"[Oo]ut of range"):
            build()


@pytest.mark.parametrize(("seed", "is_valid"), [(0, True), (2**64 - 1, True), (-1, False)])
def test_seeds_have_64_bits_in_both(server: Server, seed: int, is_valid: bool) -> None:
    """H38, interfaces 30."""
    response = server.post("/v1/generate", BASE | {"seed": seed})
    assert (response.status_code == 200) == is_valid
    if is_valid:
        assert response.json()["parameters"]["seed"] == seed
        assert pb.SamplingParameters(seed=seed).seed == seed
        return
    assert response.json()["error"]["param"] == "seed"
    with pytest.raises(ValueError, match=r"[Oo]ut of range"):
        pb.SamplingParameters(seed=seed)


def test_a_lone_surrogate_is_no_text(server: Server) -> None:
    """H31: in each field that holds text; protobuf cannot carry one."""
    for name, value in {
        "prompt": '"a\\ud800"',
        "stop": '["\\udfff"]',
        "model": '"\\ud800"',
    }.items():
        content = json.dumps({key: BASE[key] for key in BASE if key != name})[:-1].encode()
        content += f', "{name}": {value}}}'.encode()
        response = httpx2.post(
            server.rest + "/v1/generate",
            content=content,
            headers={"content-type": "application/json"},
            timeout=START_SECONDS,
            verify=False,
        )
        assert response.status_code == 400, name
        assert response.json()["error"]["code"] in ("invalid_value", "invalid_json")
    with pytest.raises(ValueError, match="surrogate"):
        pb.GenerateTextRequest(prompt="a\ud800")


def raw_call(server: Server, data: bytes) -> Outcome | pb.GenerateTextResponse:
    """GenerateText with bytes of our own."""
    with grpc.insecure_channel(server.grpc) as channel:
        path = "/nextword.v1.TextGenerationService/GenerateText"
        try:
            answer = cast("bytes", channel.unary_unary(path)(data, timeout=START_SECONDS))
            return pb.GenerateTextResponse.FromString(answer)
        except grpc.RpcError as error:
            return grpc_error(error)


def test_unknown_fields_of_a_message_are_ignored(server: Server) -> None:
    """H34: as proto3 has it, and as the proto file says."""
    request = pb.GenerateTextRequest(prompt="x", parameters=pb.SamplingParameters(max_tokens=1))
    # Field 1000, a string.
    answer = raw_call(server, request.SerializeToString() + b"\xc2\x3e\x03abc")
    assert isinstance(answer, pb.GenerateTextResponse)
    assert answer.usage.completion_tokens == 1


@pytest.mark.parametrize(
    "data", [b"\x12\x02\xff\xfe", b"\x12\x50abc", b"\xff" * 20, b"\x22\x02\x12"], ids=str
)
def test_bytes_that_are_no_message_have_the_whole_error(server: Server, data: bytes) -> None:
    """H31, H32: invalid UTF-8 in a string, a field cut short, noise, a cut inner message."""
    outcome = raw_call(server, data)
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.code) == ("INVALID_ARGUMENT", "invalid_value")


def test_a_prompt_of_the_whole_context_gets_one_token(server: Server, callers: Callers) -> None:
    """H23: the last token made is never read again, so it needs no room."""
    for size, expected in ((4095, 2), (4096, 1)):
        outcome = callers["rest_whole"](server, {"prompt": "x" * size})
        assert outcome.usage["prompt_tokens"] == size
        assert outcome.parameters["max_tokens"] == expected
    assert callers["grpc_whole"](server, BASE).code is None


def test_both_kinds_of_prompt_at_once_are_refused_where_they_can_be_said(server: Server) -> None:
    """In the proto they are a oneof."""
    error = server.post("/v1/generate", BASE | {"prompt_ids": [1]}).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "prompt")
    both = pb.GenerateTextRequest(prompt="x", prompt_ids=pb.TokenIds(ids=[1]))
    assert both.WhichOneof("input") == "prompt_ids"
