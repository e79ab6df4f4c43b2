"""nginx with the configuration of deploy/nginx before a server: both protocols on one port."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import httpx2
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from service.settings import SETTING_SPECS
from service.text_generator import DEFAULT_TIMEOUT_SECONDS
from service.transport_limits import MAX_MESSAGE_BYTES
from tests.contract.live_server import Server, StartServer, health_stub, wait_until
from tests.deploy.nginx_proxy import CONFIGURATION, Nginx, Proxy

KEY = "a-key-for-tests-of-the-proxy"
BEARER = {"authorization": f"Bearer {KEY}"}
SECONDS = 60.0
PROMPT = "To be"
# Longer than any test: it ends because its client leaves.
ENDLESS: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 4000, "ignore_eos": True, "stream": True}


@dataclass(frozen=True, slots=True)
class Site:
    """A server and the proxy before it."""

    server: Server
    proxy: Proxy

    def post(self, body: dict[str, Any], *, headers: dict[str, str] = BEARER) -> httpx2.Response:
        """One request for a continuation."""
        with self.client() as client:
            return client.post("/v1/generate", json=body, headers=headers)

    def client(self) -> httpx2.Client:
        """A client that trusts the proxy's certificate."""
        return httpx2.Client(
            base_url=self.proxy.url, verify=self.proxy.context, trust_env=False, timeout=SECONDS
        )

    def channel(self) -> grpc.Channel:
        """A channel that trusts the proxy's certificate."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(
            f"localhost:{self.proxy.port}", self.proxy.credentials(), options
        )

    def num_running(self) -> float:
        """Requests that have not ended."""
        return self._sum("nextword_requests_in_flight{")

    def num_cancelled(self) -> float:
        """Requests that ended because their client left."""
        return self._sum('nextword_requests_total{model="tiny",outcome="cancelled"')

    def _sum(self, name: str) -> float:
        lines = self.server.get("/metrics", headers=BEARER).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def site(
    nginx: Nginx, start_server: StartServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    keys = folder / "keys"
    keys.write_text(f"{KEY} tester\n", encoding="utf-8")
    server = start_server("--api-key-file", str(keys))
    rest = server.rest.removeprefix("http://")
    with nginx.running(folder, rest=rest, grpc_address=server.grpc) as proxy:
        yield Site(server, proxy)
    server.stop()


def test_both_protocols_answer_alike_through_the_proxy_whole_and_streamed(site: Site) -> None:
    body: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 20, "seed": 7, "ignore_eos": True}
    whole = site.post(body)
    assert whole.status_code == 200, whole.text
    ids: list[int] = whole.json()["choices"][0]["token_ids"]
    assert len(ids) == 20
    streamed = site.post({**body, "stream": True}).text
    events = [line.removeprefix("data: ") for line in streamed.splitlines() if line]
    assert events.pop() == "[DONE]"
    assert [number for event in events for number in json.loads(event)["token_ids"]] == ids
    parameters = pb.SamplingParameters(max_tokens=20, seed=7, ignore_eos=True)
    metadata = (("authorization", BEARER["authorization"]),)
    with site.channel() as channel:
        stub = TextGenerationServiceStub(channel)
        request = pb.GenerateTextRequest(prompt=PROMPT, parameters=parameters)
        answer = stub.GenerateText(request, timeout=SECONDS, metadata=metadata)
        assert list(answer.choices[0].token_ids) == ids
        stream = pb.StreamGenerateTextRequest(prompt=PROMPT, parameters=parameters)
        messages = stub.StreamGenerateText(stream, timeout=SECONDS, metadata=metadata)
        assert [number for message in messages for number in message.token_ids] == ids


def run_client(site: Site, *words: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    """The command line, which trusts the proxy's certificate."""
    environment = {
        **os.environ,
        "SSL_CERT_FILE": str(site.proxy.certificate),
        "NEXTWORD_API_KEY": key,
    }
    command = [Path(sys.executable).parent / "nextword", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_command_line_speaks_both_protocols_with_tls_and_a_key(site: Site) -> None:
    urls = [f"{scheme}://localhost:{site.proxy.port}" for scheme in ("https", "grpcs")]
    wanted = ("generate", PROMPT, "--seed", "7", "--max-tokens", "8")
    texts = [run_client(site, *wanted, "--url", url) for url in urls]
    assert [text.returncode for text in texts] == [0, 0], texts
    assert texts[0].stdout == texts[1].stdout
    asked = [word for url in urls for word in ("--url", url)]
    assert run_client(site, "health", *asked).returncode == 0


def test_the_page_and_health_come_without_a_key_figures_and_texts_do_not(site: Site) -> None:
    with site.client() as client:
        assert "<html" in client.get("/").text
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/models").status_code == 401
        assert client.get("/v1/models", headers=BEARER).status_code == 200
        # Even with a key: they are for the management port.
        assert client.get("/metrics", headers=BEARER).json()["error"]["code"] == "unknown_url"
    with site.channel() as channel:
        status = health_stub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as error:
            TextGenerationServiceStub(channel).ListModels(pb.ListModelsRequest(), timeout=SECONDS)
    call = cast("grpc.Call", error.value)
    assert call.code() is grpc.StatusCode.UNAUTHENTICATED
    details = dict(call.trailing_metadata() or ())["grpc-status-details-bin"]
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(cast("bytes", details)).details[0].Unpack(info)
    assert info.reason == "INVALID_API_KEY"


def test_the_longest_error_passes_whole_over_grpc(site: Site) -> None:
    """Its details come as trailers, which a proxy keeps in a buffer of its own."""
    parameters = pb.SamplingParameters(stop=["\N{SNOWMAN}" * 300])
    with site.channel() as channel, pytest.raises(grpc.RpcError) as error:
        TextGenerationServiceStub(channel).GenerateText(
            pb.GenerateTextRequest(prompt=PROMPT, parameters=parameters),
            timeout=SECONDS,
            metadata=(("authorization", BEARER["authorization"]), ("x-request-id", "r" * 64)),
        )
    call = cast("grpc.Call", error.value)
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "grpc-status-details-bin" in dict(call.trailing_metadata() or ())


def test_a_client_that_leaves_the_proxy_ends_its_request_behind_it(site: Site) -> None:
    before = site.num_cancelled()
    with site.client() as client:
        with client.stream("POST", "/v1/generate", json=ENDLESS, headers=BEARER) as answer:
            # Held: the stream is closed when nobody has its lines any more.
            lines = answer.iter_lines()
            assert next(lines)
            assert site.num_running() == 1
        wait_until(lambda: site.num_running() == 0)
    request = pb.StreamGenerateTextRequest(
        prompt=PROMPT, parameters=pb.SamplingParameters(max_tokens=4000, ignore_eos=True)
    )
    with site.channel() as channel:
        call = TextGenerationServiceStub(channel).StreamGenerateText(
            request, metadata=(("authorization", BEARER["authorization"]),)
        )
        next(call)
        assert site.num_running() == 1
        call.cancel()
        wait_until(lambda: site.num_running() == 0)
    assert site.num_cancelled() == before + 2, "one over each protocol"


@pytest.mark.parametrize("num_bytes", [MAX_MESSAGE_BYTES + 1, 4 * MAX_MESSAGE_BYTES])
def test_a_body_that_is_too_large_is_told_so_by_whoever_stops_it(
    site: Site, num_bytes: int
) -> None:
    answer = site.post({"prompt": "x" * num_bytes})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_without_tls_nobody_is_served(site: Site) -> None:
    """H18."""
    with httpx2.Client(verify=False, trust_env=False, timeout=SECONDS) as client:
        answer = client.get(f"http://127.0.0.1:{site.proxy.port}/readyz")
    assert answer.status_code == 400
    stranger = httpx2.Client(verify=ssl.create_default_context(), trust_env=False)
    with stranger as client, pytest.raises(httpx2.ConnectError):
        client.get(f"{site.proxy.url}/readyz")


def test_a_server_that_is_away_is_an_error_that_clients_understand(
    nginx: Nginx, tmp_path: Path
) -> None:
    nobody = "127.0.0.1:9"
    with nginx.running(tmp_path, rest=nobody, grpc_address=nobody) as proxy:
        site = Site(cast("Server", None), proxy)
        answer = site.post({"prompt": PROMPT})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["error"]["type"] == "unavailable_error"
        with site.channel() as channel, pytest.raises(grpc.RpcError) as error:
            TextGenerationServiceStub(channel).ListModels(pb.ListModelsRequest(), timeout=SECONDS)
        call = cast("grpc.Call", error.value)
        assert (call.code(), call.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "no server answers",
        )


def test_one_address_has_so_many_requests_at_once_and_no_more(
    nginx: Nginx, site: Site, tmp_path: Path
) -> None:
    rest = site.server.rest.removeprefix("http://")
    with nginx.running(
        tmp_path,
        rest=rest,
        grpc_address=site.server.grpc,
        replacements={"limit_conn nextword_clients 64;": "limit_conn nextword_clients 1;"},
    ) as proxy:
        narrow = Site(site.server, proxy)
        with (
            narrow.client() as client,
            client.stream("POST", "/v1/generate", json=ENDLESS, headers=BEARER) as answer,
        ):
            lines = answer.iter_lines()
            assert next(lines)
            refused = narrow.post({"prompt": PROMPT})
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "rate_limit_exceeded"
            with narrow.channel() as channel, pytest.raises(grpc.RpcError) as error:
                TextGenerationServiceStub(channel).ListModels(
                    pb.ListModelsRequest(), timeout=SECONDS
                )
            call = cast("grpc.Call", error.value)
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    wait_until(lambda: site.num_running() == 0)


def test_the_proxys_patience_fits_the_servers() -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    words = [line.split("#")[0].split() for line in text.splitlines()]
    seconds: dict[str, set[float]] = {}
    for line in words:
        if len(line) == 2 and line[1].endswith("s;"):
            seconds.setdefault(line[0], set()).add(float(line[1].removesuffix("s;")))
    idle = cast("float", SETTING_SPECS["idle_timeout"].default)
    assert max(seconds["keepalive_timeout"]) < idle
    assert min(seconds["proxy_read_timeout"] | seconds["grpc_read_timeout"]) > (
        DEFAULT_TIMEOUT_SECONDS
    )
