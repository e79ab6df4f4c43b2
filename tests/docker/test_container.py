"""A container of the service: what it needs, what it is refused, how it comes and goes."""

import signal
import threading

import pytest
from nextword import Client, ConnectionFailedError, UnavailableError

from tests.docker.live_container import Containers, LiveContainer, as_in_production, wait_until
from tests.docker.stream_load import NUM_TOKENS, StreamLoad

NOT_TAKEN = (ConnectionFailedError, UnavailableError)
# Ends a process of the container by a signal that it cannot catch.
KILL = """
import os, signal, pathlib
for path in pathlib.Path("/proc").glob("[0-9]*"):
    if b"{name}" in (path / "cmdline").read_bytes() and int(path.name) != os.getpid():
        os.kill(int(path.name), signal.SIGKILL)
"""
# Publishes a copy of the bundled model as its next version, as the trainer would: whole, by rename.
PUBLISH_AGAIN = """
import shutil
from pathlib import Path
from model.store import publish
source = Path("/models/fairytales/1")
def write(directory):
    shutil.copytree(source, directory, dirs_exist_ok=True)
    (directory / "manifest.json").unlink()
print(publish(source.parent, write, manifest={}))
"""


def test_it_serves_without_rights_and_without_a_network(
    containers: Containers, service_image: str
) -> None:
    """Interfaces 51."""
    service = containers.start(
        service_image, published=(), network_mode="none", **as_in_production()
    )
    wait_until(lambda: service.state["Health"]["Status"] != "starting", lambda: service.log)
    assert service.state["Health"]["Status"] == "healthy", service.state
    for url in ("http://127.0.0.1:8000", "grpc://127.0.0.1:50051"):
        status, text = service.run(
            "nextword", "generate", "Once", "--url", url, "--max-tokens", "8"
        )
        assert status == 0, text
    assert service.run("id", "-u") == (0, "10001\n")
    status, text = service.run("touch", "/models/fairytales/x")
    assert status != 0
    assert "Read-only file system" in text
    # The process that `init` adds is all that appears in it.
    changed = [str(change["Path"]) for change in service.container.diff()]
    assert all("/usr/sbin/docker-init".startswith(path) for path in changed)


def test_a_user_of_the_operators_choice_may_serve(
    containers: Containers, service_image: str
) -> None:
    service = containers.start(service_image, user="54321:54321").wait_ready()
    with Client(service.grpc) as client:
        assert client.generate("Once").choices[0].token_ids


@pytest.mark.parametrize("cpus", [0.5, 1.0])
def test_a_share_of_the_processors_decides_the_number_of_threads(
    containers: Containers, service_image: str, cpus: float
) -> None:
    status, text = containers.run(service_image, "--print-config", nano_cpus=int(cpus * 1e9))
    assert status == 0, text
    (line,) = [line for line in text.splitlines() if line.startswith("threads")]
    assert f"cgroup quota of {cpus:g} cores" in line
    assert line.startswith("threads = 1 "), line


def test_a_limit_of_memory_decides_what_is_taken_on(
    containers: Containers, service_image: str
) -> None:
    status, text = containers.run(service_image, "--print-config", mem_limit="600m")
    assert status == 0, text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert "cgroup memory limit 600 MiB" in lines["memory_limit"]
    assert "600 MiB" in lines["max_running"]


def test_a_version_for_which_there_is_no_memory_is_refused_and_nothing_is_lost(
    containers: Containers, service_image: str, training_image: str
) -> None:
    """Room for one model and a half: the version that is served goes on, under load."""
    volume = {containers.make_volume(): {"bind": "/models", "mode": "rw"}}
    service = containers.start(
        service_image,
        volumes=volume,
        mem_limit="600m",
        memswap_limit="600m",
        environment={"NEXTWORD_POLL_INTERVAL": "0.5"},
        **as_in_production(),
    ).wait_ready()
    with StreamLoad([service.rest, service.grpc]) as load:
        done = containers.run(
            training_image, "-c", PUBLISH_AGAIN, entrypoint="python", volumes=volume
        )
        assert done == (0, "/models/fairytales/2\n")
        with Client(service.rest) as client:
            wait_until(lambda: bool(client.list_models()[0].refused), lambda: service.log)
            model = client.list_models()[0]
        load.finish()
    (refused,) = model.refused
    assert refused.version == "2"
    assert "--memory-limit is 600 MiB" in refused.reason
    assert (model.version, load.errors, load.versions) == ("1", [], {"1"})
    assert load.lengths == {NUM_TOKENS}
    state = service.state
    assert (state["Running"], state["OOMKilled"]) == (True, False)


def test_a_version_that_fits_is_taken_up_and_no_stream_is_cut(
    containers: Containers, service_image: str, training_image: str
) -> None:
    """The control of the test above."""
    volume = {containers.make_volume(): {"bind": "/models", "mode": "rw"}}
    service = containers.start(
        service_image,
        volumes=volume,
        environment={"NEXTWORD_POLL_INTERVAL": "0.5"},
        **as_in_production(),
    ).wait_ready()
    with StreamLoad([service.rest, service.grpc]) as load:
        containers.run(training_image, "-c", PUBLISH_AGAIN, entrypoint="python", volumes=volume)
        wait_until(lambda: "2" in load.versions, lambda: service.log)
        load.finish()
    assert (load.errors, load.versions, load.lengths) == ([], {"1", "2"}, {NUM_TOKENS})


def test_stop_lets_streams_end_and_leaves_with_0(
    containers: Containers, service_image: str
) -> None:
    """Hazard 112."""
    service = containers.start(service_image, **as_in_production()).wait_ready()
    with StreamLoad([service.rest, service.grpc]) as load:
        before = len(load.ended)
        stopping = threading.Thread(target=service.container.stop, kwargs={"timeout": 60})
        stopping.start()
        stopping.join()
        load.finish()
    assert len(load.ended) - len(load.errors) >= before + 4
    assert load.lengths == {NUM_TOKENS}
    # What came after the signal was refused, or found nobody; nothing was cut.
    assert all(isinstance(error, NOT_TAKEN) for error in load.errors), load.errors
    assert service.state["ExitCode"] == 0


def test_a_stop_while_it_starts_is_obeyed(containers: Containers, service_image: str) -> None:
    service = containers.start(service_image, **as_in_production())
    service.container.stop(timeout=60)
    assert service.state["ExitCode"] in (0, 128 + signal.SIGTERM)


@pytest.mark.parametrize("name", ["service.engine_link.engine_start", "nextword-serve"])
def test_what_is_killed_under_load_comes_back(
    containers: Containers, service_image: str, name: str
) -> None:
    """The engine alone, and the whole server with the container that it is."""
    service = containers.start(
        service_image, restart_policy={"Name": "unless-stopped"}, **as_in_production()
    ).wait_ready()
    with StreamLoad([service.rest, service.grpc]) as load:
        service.run("python", "-c", KILL.format(name=name))
        load.finish()
    # Every stream got an end: some text, or an error.
    assert len(load.errors) == 4
    service.wait_ready()
    assert serves(service)
    assert service.container.attrs["RestartCount"] == (name == "nextword-serve")


def serves(service: LiveContainer) -> bool:
    """Whether it answers over both protocols."""
    for url in (service.rest, service.grpc):
        with Client(url) as client:
            assert client.generate("Once").choices[0].token_ids
    return True


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"environment": {"NEXTWORD_THREADS": "0"}}, "NEXTWORD_THREADS"),
        ({"environment": {"NEXTWORD_MODELS": "/nowhere"}}, "/nowhere"),
        ({"tmpfs": {"/models": "size=1m"}}, "/models"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_an_end(
    containers: Containers, service_image: str, options: dict[str, object], word: str
) -> None:
    status, text = containers.run(service_image, **options)
    assert status == 2
    (line,) = text.splitlines()
    assert line.startswith("nextword-serve: ")
    assert word in line


def test_a_server_that_leaves_is_unhealthy(containers: Containers, service_image: str) -> None:
    service = containers.start(
        service_image, environment={"NEXTWORD_LAME_DUCK": "60"}, **as_in_production()
    ).wait_ready()
    service.container.kill(signal="SIGTERM")
    wait_until(lambda: not service.is_ready())
    probe = service.container.attrs["Config"]["Healthcheck"]["Test"][1]
    status, text = service.run("sh", "-c", probe)
    assert status == 1
    assert "draining" in text
