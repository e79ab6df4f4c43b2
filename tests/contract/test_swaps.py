"""Other versions and names come into a store that is served: no stream is cut or mixed, a bad
version is refused with a reason, and what was served goes on.
"""

import json
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx2
import pytest
from google.protobuf.json_format import ParseDict
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from model.store import point_current
from tests.contract.callers import Callers, Outcome
from tests.contract.live_server import Server, StartServer, wait_until

PATIENCE_SECONDS = 100.0
BODY = {"prompt": "x", "max_tokens": 600, "ignore_eos": True, "seed": 7}
# So much is said of each token that a whole stream fits into no buffer on its way.
NUM_RIVALS = 20


def add(source: Path, target: Path, *, damage: bool = False) -> None:
    """Put a version into a store as publishing does: complete, by a rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = target.parent / f".{target.name}"
    shutil.copytree(source, work)
    if damage:
        # One bit of one weight, so that nothing but the digest can tell.
        (weights,) = work.glob("*.safetensors")
        content = bytearray(weights.read_bytes())
        content[-3] ^= 1
        weights.write_bytes(content)
    work.rename(target)


@dataclass
class SlowStream:
    """A stream that is read one event at a time.

    Attributes:
        events: Tokens of each event, and on the last one the version that answered.
    """

    events: Iterator[tuple[list[int], str]]
    token_ids: list[int] = field(default_factory=list[int])
    version: str = ""

    def read_event(self) -> bool:
        """Read one more event, False when there is none."""
        event = next(self.events, None)
        if event is not None:
            self.token_ids += event[0]
            self.version = event[1]
        return event is not None

    def read_all(self) -> None:
        """Read to the end."""
        while self.read_event():
            pass


@contextmanager
def slow_rest_stream(server: Server) -> Generator[SlowStream, None, None]:
    body = {**BODY, "stream": True, "logprobs": NUM_RIVALS}
    with httpx2.stream(
        "POST", server.rest + "/v1/generate", json=body, timeout=PATIENCE_SECONDS, verify=False
    ) as response:
        lines = (line for line in response.iter_lines() if line.startswith("data: {"))
        events = (json.loads(line.removeprefix("data: ")) for line in lines)
        stream = SlowStream((e["token_ids"], e.get("model_version", "")) for e in events)
        assert stream.read_event()
        yield stream


@contextmanager
def slow_grpc_stream(server: Server) -> Generator[SlowStream, None, None]:
    parameters = {name: value for name, value in BODY.items() if name != "prompt"}
    message = ParseDict(
        {"prompt": BODY["prompt"], "parameters": {**parameters, "logprobs": NUM_RIVALS}},
        pb.StreamGenerateTextRequest(),
    )
    with grpc.insecure_channel(server.grpc) as channel:
        answers = TextGenerationServiceStub(channel).StreamGenerateText(message)
        stream = SlowStream((list(a.token_ids), a.summary.model_version) for a in answers)
        assert stream.read_event()
        yield stream


def num_loaded(server: Server) -> float:
    """Versions that have an engine."""
    return server.metric("nextword_model_info{")


def served(server: Server) -> dict[str, str]:
    """Names and the version that each means."""
    return {model["id"]: model["version"] for model in server.get("/v1/models").json()["data"]}


def version_of(outcome: Outcome) -> str:
    """NAME@VERSION that answered."""
    return outcome.model.split()[0]


def is_refused(server: Server, name: str, version: str, outcome: str) -> bool:
    series = f'nextword_model_swaps_total{{model="{name}",outcome="{outcome}"}}'
    said = any(f"{name}@{version} is refused" in line for line in server.log)
    return said and server.metric(series) >= 1


@pytest.mark.timeout(400)
def test_versions_come_and_go_under_running_streams(
    artifact: Path, tmp_path: Path, start_server: StartServer, callers: Callers
) -> None:
    """Interfaces 67; at the start a damaged version gives way to one before it, loudly."""
    store = tmp_path / "store"
    add(artifact, store / "tiny" / "1")
    add(artifact, store / "tiny" / "2", damage=True)
    server = start_server("--models", str(store), "--poll-interval", "0.05", folder=None)
    assert served(server) == {"tiny": "1"}
    assert is_refused(server, "tiny", "2", "damaged")
    (refused,) = server.get("/v1/models").json()["data"][0]["refused"]
    assert refused["version"] == "2"
    assert "SHA-256" in refused["reason"]
    assert str(tmp_path) not in refused["reason"]

    expected = callers["rest_whole"](server, BODY)
    with slow_rest_stream(server) as rest, slow_grpc_stream(server) as over_grpc:
        add(artifact, store / "tiny" / "3")

        def is_swapped() -> bool:
            # Both streams are read on, so slowly that they outlast the swap, and not so slowly that
            # they are given up.
            for _ in range(3):
                rest.read_event()
                over_grpc.read_event()
            return served(server) == {"tiny": "3"}

        wait_until(is_swapped, seconds=PATIENCE_SECONDS)
        assert num_loaded(server) == 2
        assert version_of(callers["grpc_whole"](server, {"prompt": "x"})) == "tiny@3"
        for stream in (rest, over_grpc):
            stream.read_all()
            assert stream.token_ids == expected.token_ids
            assert stream.version == "1"
    wait_until(lambda: num_loaded(server) == 1, seconds=PATIENCE_SECONDS)
    # A version that is no longer loaded is not loaded because a client names it.
    gone = server.get("/v1/models/tiny@1")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")

    add(artifact, store / "tiny" / "4", damage=True)
    wait_until(lambda: is_refused(server, "tiny", "4", "damaged"), seconds=PATIENCE_SECONDS)
    assert version_of(callers["rest_stream"](server, {"prompt": "x"})) == "tiny@3"
    assert server.metric("nextword_model_refused_versions") == 1

    # Rolling back is pointing `current` back.
    point_current(store / "tiny", "1")
    wait_until(lambda: served(server) == {"tiny": "1"}, seconds=PATIENCE_SECONDS)
    assert server.get("/v1/models").json()["data"][0]["refused"] == []
    assert callers["rest_whole"](server, BODY).token_ids == expected.token_ids
    assert server.stop() == 0


def test_a_version_that_does_not_fit_beside_the_old_one_is_refused(
    artifact: Path, tmp_path: Path, start_server: StartServer, callers: Callers
) -> None:
    """The memory for one engine is there, for two it is not; a pinned version stays loaded."""
    store = tmp_path / "store"
    add(artifact, store / "tiny" / "1")
    flags = ["--models", str(store), "--poll-interval", "0.05", "--memory-limit", "500MiB"]
    flags += ["--kv-cache-memory", "8MiB", "--pin", "tiny@1", "--management-port", "0"]
    server = start_server(*flags, folder=None)
    add(artifact, store / "tiny" / "2")
    wait_until(lambda: is_refused(server, "tiny", "2", "no_memory"), seconds=PATIENCE_SECONDS)
    (model,) = server.get("/v1/models").json()["data"]
    assert (model["version"], model["versions"]) == ("1", ["1"])
    assert "--memory-limit is 500 MiB" in model["refused"][0]["reason"]
    pinned = callers["rest_whole"](server, {"prompt": "x", "model": "tiny@1"})
    assert version_of(pinned) == "tiny@1"
    assert server.get("/readyz").status_code == 200
    assert server.stop() == 0
