"""What cannot work ends with one line and an exit code, and is not tried for ever."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.docker.compose_project import ComposeProject, open_project
from tests.docker.live_container import wait_until

OTHER_FORMAT = """
import json, pathlib
path = pathlib.Path("/models/fairytales/1/manifest.json")
path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
"""


@pytest.fixture
def project(
    docker_client: docker.DockerClient,
    service_image: str,
    training_image: str,
    tmp_path: Path,
) -> Iterator[ComposeProject]:
    images = {"NEXTWORD_SERVICE_IMAGE": service_image, "NEXTWORD_TRAINING_IMAGE": training_image}
    with open_project(docker_client, images, tmp_path) as project:
        yield project


def as_root_on_the_store(project: ComposeProject, *command: str) -> None:
    """Do something to the volume that the service reads; Docker fills it from the image first."""
    volume = project.client.volumes.create(
        project.volume("models"), labels={"com.docker.compose.project": project.name,
                                          "com.docker.compose.volume": "models"}
    )  # fmt: skip
    project.client.containers.run(
        project.environment["NEXTWORD_SERVICE_IMAGE"],
        command=list(command[1:]),
        entrypoint=command[0],
        user="0",
        remove=True,
        volumes={volume.name: {"bind": "/models", "mode": "rw"}},
    )


def refusal(project: ComposeProject, service: str, **variables: str) -> str:
    """The one line with which a service refuses to run."""
    done = project.compose("run", "--rm", "-T", service, **variables)
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert "Traceback" not in output
    program = "nextword-serve" if service == "service" else "nextword-train"
    (line,) = [line for line in output.splitlines() if line.startswith(f"{program}: ")]
    return line


def empty_folder(project: ComposeProject) -> dict[str, str]:
    (project.data / "picture.png").write_bytes(b"no text")
    return {}


def closed_folder(project: ComposeProject) -> dict[str, str]:
    (project.data / "book.txt").write_text("A text.")
    (project.data / "book.txt").chmod(0)
    return {}


def closed_store(project: ComposeProject) -> dict[str, str]:
    as_root_on_the_store(project, "chmod", "0000", "/models")
    return {}


def other_format(project: ComposeProject) -> dict[str, str]:
    as_root_on_the_store(project, "python", "-c", OTHER_FORMAT)
    return {}


def empty_key_file(project: ComposeProject) -> dict[str, str]:
    (project.secrets / "api-keys").touch()
    return {"NEXTWORD_API_KEY_FILE": "/secrets/api-keys"}


@pytest.mark.parametrize(
    ("service", "spoil", "said"),
    [
        ("train", empty_folder, "/data has no file"),
        ("train", closed_folder, "book.txt cannot be read: Permission denied"),
        ("train", closed_store, "/models"),
        ("service", closed_store, "/models: Permission denied"),
        ("service", other_format, "/models: no model that can be served"),
        ("service", empty_key_file, "/secrets/api-keys"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    project: ComposeProject,
    service: str,
    spoil: Callable[[ComposeProject], dict[str, str]],
    said: str,
) -> None:
    variables = spoil(project)
    assert said in refusal(project, service, **variables)


def test_a_wrong_setting_is_tried_a_few_times_and_then_left_alone(project: ComposeProject) -> None:
    project.compose("up", "--detach", "--no-build", "service", NEXTWORD_THREADS="none")

    def has_given_up() -> bool:
        container = project.container("service")
        return container.attrs["RestartCount"] == 5 and container.status == "exited"

    wait_until(has_given_up)
    container = project.container("service")
    assert container.attrs["State"]["ExitCode"] == 2
    lines = container.logs().decode().splitlines()
    assert set(lines) == {"nextword-serve: NEXTWORD_THREADS must be a whole number, got 'none'"}
    assert len(lines) == 6


def test_a_port_in_use_is_named(project: ComposeProject) -> None:
    with socket.create_server(("127.0.0.1", project.ports["rest"])):
        done = project.compose("up", "--detach", "--no-build", "service")
    assert done.returncode != 0
    assert str(project.ports["rest"]) in done.stderr
    assert project.container("service").attrs["RestartCount"] == 0
