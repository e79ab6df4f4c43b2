"""The examples in other languages and tools do what they say, against a real server."""

import signal

import pytest
from nextword import Client, SamplingParameters

from tests.clients.examples import NAMES, Example, new_example
from tests.clients.waiting import wait_until
from tests.contract.live_server import START_SECONDS, Server

# The likeliest token after each other never ends the text of the random model.
LONG = {"max_tokens": 4000, "temperature": 0.0}
PROMPT = 'She said:\t"\\o/"\nand left'
# Building the largest of them takes half a minute on a busy machine.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module", params=NAMES)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """Each example, built once."""
    return new_example(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def address(example: Example, server: Server) -> str:
    """The server in the words of the example's protocol."""
    return server.rest if example.protocol == "rest" else server.grpc


def test_an_example_streams_the_text_that_the_client_gets(
    example: Example, address: str, server: Server
) -> None:
    parameters = SamplingParameters(max_tokens=12, seed=5)
    with Client(server.rest) as client:
        expected = client.generate(PROMPT, parameters=parameters).choices[0].text
    with example.start(address, prompt=PROMPT, max_tokens=12, seed=5) as process:
        out, err = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 0, err
    assert example.read(out) == expected


def test_an_example_that_leaves_cancels_its_request(
    example: Example, address: str, server: Server
) -> None:
    cancelled = 'nextword_requests_total{model="tiny",outcome="cancelled"'
    before = server.metric(cancelled)
    if example.leaves_by_itself:
        with example.start(address, prompt="x", **LONG, num_pieces=3) as process:
            _, err = process.communicate(timeout=START_SECONDS)
        assert process.returncode == 0, err
        assert "[cancelled]" in err
    else:
        with example.start(address, prompt="x", **LONG) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=START_SECONDS)
    wait_until(lambda: server.metric(cancelled) == before + 1)
    wait_until(lambda: server.metric("nextword_engine_running") == 0)


def test_an_example_tells_that_its_deadline_passed(
    example: Example, address: str, server: Server
) -> None:
    with example.start(address, prompt="x", **LONG, deadline_seconds=0.3) as process:
        out, err = process.communicate(timeout=START_SECONDS)
    assert "deadlineexceeded" in (out + err).lower().replace("_", "")
    wait_until(lambda: server.metric("nextword_engine_running") == 0)
