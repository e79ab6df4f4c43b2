"""What the manifests ask of a pod, asked of a running server with their settings."""

import json
import re
import signal
import socket
from collections.abc import Iterator
from typing import cast

import grpc
import httpx2
import pytest
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from tests.contract.live_server import START_SECONDS, Server, StartServer, wait_until
from tests.deploy.manifests import FOLDER, container_of, environment_of, read_one

KEY = "a-key-for-tests-of-the-manifests"
BEARER = f"Bearer {KEY}"


@pytest.fixture(scope="module")
def management_port() -> int:
    """A port that is free now; the server does not tell which one it took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def pods(
    start_server: StartServer, management_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """Two servers with the Deployment's variables; a test may end the first."""
    keys = tmp_path_factory.mktemp("secret") / "keys"
    keys.write_text(f"{KEY}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment_of(read_one("deployment.yaml", "Deployment")).items():
            patch.setenv(name, value)
        # What two of them on one machine cannot both have.
        own = ("--host", "127.0.0.1", "--api-key-file", str(keys), "--management-port")
        both = (start_server(*own, "-1"), start_server(*own, str(management_port)))
    yield both
    for server in both:
        server.stop()


def test_probes_and_figures_are_answered_on_the_management_port_alone(
    pods: tuple[Server, Server], management_port: int
) -> None:
    _, server = pods
    management = f"http://127.0.0.1:{management_port}"
    container = container_of(read_one("deployment.yaml", "Deployment"))
    with httpx2.Client(base_url=management, timeout=START_SECONDS) as client:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert client.get(container[probe]["httpGet"]["path"]).status_code == 200
        figures = client.get("/metrics").text
    spec = read_one("autoscaling/autoscaler.yaml", "HorizontalPodAutoscaler")["spec"]
    for metric in spec["metrics"]:
        name = metric["pods"]["metric"]["name"]
        assert re.search(rf'^{name}{{model="tiny"}} 0\.0$', figures, re.MULTILINE)
    assert server.get("/metrics").status_code == 401


def service_configuration() -> str:
    """What the page tells clients to use."""
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return json.dumps(json.loads(block))


def served(server: Server) -> float:
    """Calls that a server has answered well."""
    answer = server.get("/metrics", headers={"authorization": BEARER}).text
    name = 'nextword_requests_total{model="tiny",outcome="ok",protocol="grpc"'
    lines = [line for line in answer.splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def call(stub: TextGenerationServiceStub) -> grpc.StatusCode:
    """How one short call ends."""
    request = pb.GenerateTextRequest(prompt="x", parameters=pb.SamplingParameters(max_tokens=1))
    try:
        stub.GenerateText(request, timeout=START_SECONDS, metadata=(("authorization", BEARER),))
    except grpc.RpcError as error:
        return cast("grpc.Call", error).code()
    return grpc.StatusCode.OK


def test_calls_go_round_the_pods_and_none_fails_when_one_leaves(
    pods: tuple[Server, Server],
) -> None:
    leaving, staying = pods
    options = [
        ("grpc.service_config", service_configuration()),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    held = {"prompt": "x", "max_tokens": 3000, "ignore_eos": True, "stream": True}
    with (
        grpc.insecure_channel(f"ipv4:{leaving.grpc},{staying.grpc}", options) as channel,
        httpx2.Client(base_url=leaving.rest, timeout=START_SECONDS) as client,
    ):
        stub = TextGenerationServiceStub(channel)
        # Both connections are open when both have served.
        wait_until(lambda: call(stub) is grpc.StatusCode.OK and min(map(served, pods)) > 0)
        before = [served(server) for server in pods]
        assert {call(stub) for _ in range(20)} == {grpc.StatusCode.OK}
        assert [served(server) - was for server, was in zip(pods, before, strict=True)] == [10, 10]
        with client.stream(
            "POST", "/v1/generate", json=held, headers={"authorization": BEARER}
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            leaving.process.send_signal(signal.SIGTERM)
            told = [call(stub)]
            while leaving.get("/readyz").status_code == 200:
                told.append(call(stub))
            told += [call(stub) for _ in range(20)]
            assert set(told) == {grpc.StatusCode.OK}
            assert leaving.process.poll() is None, "its stream has not ended"
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert leaving.process.wait(START_SECONDS) == 0
