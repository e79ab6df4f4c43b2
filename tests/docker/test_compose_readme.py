"""The Compose section of README.md, typed word by word in a folder with what a clone has."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.docker.compose_project import (
    COMMAND_SECONDS,
    REPOSITORY,
    ComposeProject,
    compose_command,
    open_project,
)

# Docker's older Compose under the name of the plugin; its `exec` wants a terminal unless told.
PLUGIN_STAND_IN = """#!/bin/sh
if [ "$1" != compose ]; then exec {docker} "$@"; fi
shift
if [ "$1" = exec ]; then shift; exec docker-compose exec -T "$@"; fi
exec docker-compose "$@"
"""
# Grafana's image cannot be had everywhere: here something else sleeps in its place.
NO_GRAFANA = """
services:
  grafana: {{image: "{image}", entrypoint: [sleep, infinity]}}
"""


def blocks() -> list[str]:
    """The blocks of shell of the section that need nothing but Docker."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    section = re.search(r"^## Compose\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section
    found = re.findall(r"^```sh\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    return [block for block in found if "docker compose" in block]


@pytest.fixture
def project(
    docker_client: docker.DockerClient,
    service_image: str,
    training_image: str,
    prometheus_image: str,
    tmp_path: Path,
) -> Iterator[ComposeProject]:
    images = {
        "NEXTWORD_SERVICE_IMAGE": service_image,
        "NEXTWORD_TRAINING_IMAGE": training_image,
        "NEXTWORD_PROMETHEUS_IMAGE": prometheus_image,
    }
    with open_project(docker_client, images, tmp_path) as project:
        yield project


@pytest.fixture
def clone(project: ComposeProject, service_image: str, tmp_path: Path) -> Path:
    """What Compose reads of a clone, a book, and `docker compose` whichever Compose is here."""
    clone = tmp_path / "clone"
    clone.mkdir(mode=0o755)
    shutil.copy(REPOSITORY / "docker-compose.yml", clone)
    shutil.copytree(REPOSITORY / "deploy", clone / "deploy")
    for name in ("data", "secrets"):
        (clone / name).mkdir()
    pages = sorted((REPOSITORY / "docs").glob("*.md"))
    book = "\n\n".join(page.read_text("utf-8") for page in pages)
    (clone / "book.txt").write_text(book, "utf-8")
    (clone / "no-grafana.yml").write_text(NO_GRAFANA.format(image=service_image))
    if compose_command() == ["docker-compose"]:
        stand_in = tmp_path / "bin" / "docker"
        stand_in.parent.mkdir()
        real = shutil.which("docker") or "docker"
        stand_in.write_text(PLUGIN_STAND_IN.format(docker=shlex.quote(real)))
        stand_in.chmod(0o755)
    return clone


def type_in(project: ComposeProject, clone: Path, block: str) -> str:
    """Run a block as it stands, but for the port; its output, after it ended well."""
    inherited = dict(project.environment)
    # Their defaults are what the section speaks of.
    for name in ("NEXTWORD_DATA", "NEXTWORD_SECRETS", "NEXTWORD_POLL_INTERVAL"):
        del inherited[name]
    block = block.replace("127.0.0.1:8000/", f"127.0.0.1:{project.ports['rest']}/")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=clone,
        env={
            **inherited,
            "PATH": f"{clone.parent / 'bin'}{os.pathsep}{inherited['PATH']}",
            "COMPOSE_FILE": f"docker-compose.yml{os.pathsep}no-grafana.yml",
            # Three minutes are for people.
            "NEXTWORD_TRAIN_ARGS": "--preset smoke",
            "NEXTWORD_BENCH_ARGS": "--seconds 2 --max-tokens 8",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{block}\n{output}"
    return output


def test_the_compose_section_of_the_readme_works_word_by_word(
    project: ComposeProject, clone: Path
) -> None:
    serve, train, rest = blocks()
    served = type_in(project, clone, serve)
    assert "data: [DONE]" in served
    assert "healthy" in served
    trained = type_in(project, clone, train)
    assert "published /models/alice/1" in trained
    assert '"model":"alice"' in trained
    ended = type_in(project, clone, rest)
    assert "tokens/s" in ended
    # One line of the log for each request.
    assert '"/v1/generate"' in ended
    left = project.client.containers.list(
        all=True, filters={"label": f"com.docker.compose.project={project.name}"}
    )
    assert not left
    project.client.volumes.get(project.volume("models"))
