"""A real server process with a tiny real model, and one way to call it over each transport."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import grpc
import httpx2
import pytest
import torch
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2, status_pb2
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from model.config import ModelConfig
from model.store import publish
from model.transformer import Transformer
from model.weights import save_weights
from training.tokenizer_training import save_tokenizer, train_tokenizer

START_SECONDS = 60
CONTEXT_TOKENS = 4096


@dataclass
class Server:
    """A running `nextword-serve`."""

    process: subprocess.Popen[str]
    rest: str
    grpc: str
    log: list[str] = field(default_factory=list[str])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(START_SECONDS)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """One GET of REST."""
        return httpx2.get(self.rest + path, timeout=START_SECONDS, **options)

    def post(self, path: str, body: object, **options: Any) -> httpx2.Response:
        """One POST of a JSON body."""
        return httpx2.post(self.rest + path, json=body, timeout=START_SECONDS, **options)

    def metric(self, name: str) -> float:
        """Sum of the samples of a series; the name may include labels as far as they matter."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def engine_process_id(self) -> int:
        """The child that computes."""
        out = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        (process_id,) = out.split()
        return int(process_id)


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


Caller = Callable[[Server, dict[str, Any]], Outcome]


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published version of a random two-layer model over bytes."""
    tokenizer = train_tokenizer(["any text"], kind="bytes", vocab_size=257, announce=_say_nothing)
    config = ModelConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=CONTEXT_TOKENS,
        eos_token_ids=(0,),
    )
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                # Fresh weights give nearly equal logits; these prefer some tokens.
                parameter.mul_(4)

    def write(directory: Path) -> None:
        (directory / "config.json").write_text(json.dumps(config.to_dict()))
        generation = {"temperature": 0.9, "top_k": 40, "max_new_tokens": 12}
        (directory / "generation_config.json").write_text(json.dumps(generation))
        (directory / "README.md").write_text("# tiny\n\nA random model.\n")
        save_tokenizer(tokenizer, directory, context_length=CONTEXT_TOKENS)
        save_weights(model, directory, dtype=torch.float32, max_shard_bytes=1 << 24)

    return publish(tmp_path_factory.mktemp("store") / "tiny", write, manifest={})


@pytest.fixture(scope="session")
def start_server(artifact: Path) -> Iterator[Callable[..., Server]]:
    """Start servers of the tiny model; what still runs at the end is killed."""
    started: list[Server] = []

    def start(*flags: str, folder: Path = artifact) -> Server:
        arguments = ["--model", str(folder), "--rest-port", "0", "--grpc-port", "0"]
        arguments += ["--threads", "1", "--dtype", "f32", "--device", "cpu", *flags]
        process = subprocess.Popen(
            [sys.executable, "-m", "service", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        server = Server(process, "", "")
        started.append(server)
        assert process.stderr is not None
        reader = threading.Thread(target=_collect, args=(process.stderr, server.log), daemon=True)
        reader.start()
        assert process.stdout is not None
        banner: list[str] = []
        for line in process.stdout:
            banner.append(line)
            if "curl" in line:
                break
        text = "".join(banner)
        rest = re.search(r"REST +(\S+)", text)
        grpc_address = re.search(r"gRPC +(\S+)", text)
        assert rest is not None, (text, server.log)
        assert grpc_address is not None, text
        server.rest, server.grpc = rest[1], grpc_address[1]
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        for stream in (server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    """One server that tests share; they leave it as they found it."""
    return start_server("--max-running", "4", "--max-queued", "8")


def rest_whole(server: Server, body: dict[str, Any]) -> Outcome:
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


def rest_stream(server: Server, body: dict[str, Any]) -> Outcome:
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


def grpc_whole(server: Server, body: dict[str, Any]) -> Outcome:
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


def grpc_stream(server: Server, body: dict[str, Any]) -> Outcome:
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


CALLERS: dict[str, Caller] = {
    "rest_whole": rest_whole,
    "rest_stream": rest_stream,
    "grpc_whole": grpc_whole,
    "grpc_stream": grpc_stream,
}


@pytest.fixture(params=list(CALLERS))
def call(request: pytest.FixtureRequest) -> Caller:
    """Each of the four ways to ask for a continuation."""
    return CALLERS[request.param]


@pytest.fixture(scope="session")
def callers() -> dict[str, Caller]:
    """All four ways by name."""
    return CALLERS


def _say_nothing(text: str) -> None:
    del text


def _collect(stream: Any, lines: list[str]) -> None:
    lines.extend(stream)


def _rest_error(answer: dict[str, Any], status: int) -> Outcome:
    error = answer["error"]
    return Outcome(code=error["code"], field=error["param"], status=status)


def _grpc_body(body: dict[str, Any]) -> dict[str, Any]:
    """A REST body in the shape of the proto's JSON form."""
    outer = {"model", "prompt", "prompt_ids", "timeout_seconds", "parse_special_tokens"}
    message = {name: value for name, value in body.items() if name in outer}
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
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            packed.Unpack(info)
            outcome.code = info.reason.lower()
        if packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            packed.Unpack(bad)
            outcome.field = bad.field_violations[0].field
    return outcome


def _finish_reason(number: int) -> str:
    return pb.FinishReason.Name(number).removeprefix("FINISH_REASON_").lower()  # type: ignore[arg-type]


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
    return values
