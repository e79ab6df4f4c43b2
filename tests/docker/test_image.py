"""What the two images are: their users, ports and labels, what is in them and what is not."""

import json
import re
from pathlib import Path
from typing import Any, cast

import docker
import pytest
from packaging.utils import NormalizedName, canonicalize_name

from tests.docker.conftest import PYTHON_IMAGE, REPOSITORY
from tests.docker.live_container import Containers

MAX_BYTES_ABOVE_BASE = 1_000_000_000
LIST_PACKAGES = (
    "import json; from importlib.metadata import distributions; "
    "print(json.dumps({d.name: d.version for d in distributions()}))"
)
# Folders that this user may not even look into are passed over.
LIST_WRITABLE = (
    r"find / -xdev -not -type l -not -path '/proc/*' -not -path '/dev/*' "
    r"\( -writable -or -user nextword \) -print 2>/dev/null; true"
)


@pytest.fixture(params=["service", "training"])
def image(request: pytest.FixtureRequest, service_image: str, training_image: str) -> str:
    """Each of the two images."""
    return service_image if request.param == "service" else training_image


def settings(client: docker.DockerClient, image: str) -> dict[str, Any]:
    """What the image says about running it."""
    return cast("dict[str, Any]", client.images.get(image).attrs["Config"])


def packages(containers: Containers, image: str) -> dict[NormalizedName, str]:
    """Name and version of every distribution in an image."""
    status, text = containers.run(image, "-c", LIST_PACKAGES, entrypoint="python")
    assert status == 0, text
    found = cast("dict[str, str]", json.loads(text))
    return {canonicalize_name(name): version for name, version in found.items()}


def test_the_dockerfile_names_the_base_that_sizes_are_compared_with() -> None:
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG PYTHON_IMAGE={PYTHON_IMAGE}\n" in text


def test_the_service_adds_at_most_a_gigabyte_to_its_base(
    docker_client: docker.DockerClient, service_image: str
) -> None:
    base = docker_client.images.get(PYTHON_IMAGE).attrs["Size"]
    assert docker_client.images.get(service_image).attrs["Size"] - base <= MAX_BYTES_ABOVE_BASE


def test_both_run_as_one_fixed_user_and_stop_by_sigterm(
    docker_client: docker.DockerClient, image: str
) -> None:
    stated = settings(docker_client, image)
    # A number, since only that lets Kubernetes see that it is not root.
    assert stated["User"] == "10001:10001"
    assert stated["StopSignal"] == "SIGTERM"
    assert stated["Entrypoint"] in (["nextword-serve"], ["nextword-train"])


def test_only_the_service_has_ports_to_serve_on_and_a_health_check(
    docker_client: docker.DockerClient, service_image: str, training_image: str
) -> None:
    service = settings(docker_client, service_image)
    assert set(service["ExposedPorts"]) == {"8000/tcp", "50051/tcp", "9090/tcp"}
    assert "nextword.probe" in service["Healthcheck"]["Test"][1]
    training = settings(docker_client, training_image)
    assert set(training["ExposedPorts"]) == {"9091/tcp"}
    assert "Healthcheck" not in training


def test_labels_say_what_the_image_is(docker_client: docker.DockerClient, image: str) -> None:
    labels = cast("dict[str, str]", settings(docker_client, image)["Labels"])
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}licenses"] == "Apache-2.0"
    assert labels[f"{prefix}title"].startswith("Nextword ")
    assert {f"{prefix}{name}" for name in ("description", "version", "revision")} <= labels.keys()


def test_packages_are_the_pinned_ones_and_only_those_of_its_side(
    containers: Containers, service_image: str, training_image: str
) -> None:
    text = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    pins = {canonicalize_name(n): v for n, v in re.findall(r"(?m)^(\S+?)==(\S+)", text)}
    found = {image: packages(containers, image) for image in (service_image, training_image)}
    for image, versions in found.items():
        assert "nextword-service" in versions
        foreign = versions.keys() - {"nextword-service", "nextword"}
        wrong = {n: versions[n] for n in foreign if versions[n].split("+")[0] != pins.get(n)}
        assert not wrong, image
        assert not versions.keys() & {"pip", "hatchling", "pytest"}
    assert not found[service_image].keys() & {"matplotlib"}
    assert not found[training_image].keys() & {"fastapi", "grpcio", "uvicorn"}


@pytest.mark.parametrize("command", ["nextword-serve", "nextword-train", "nextword"])
def test_each_image_has_the_commands_of_its_side_only(
    containers: Containers, service_image: str, training_image: str, command: str
) -> None:
    script = f"import shutil; print(shutil.which('{command}'))"
    where = {
        image: containers.run(image, "-c", script, entrypoint="python")[1].strip()
        for image in (service_image, training_image)
    }
    home = training_image if command == "nextword-train" else service_image
    assert {image for image, path in where.items() if path != "None"} == {home}


def test_its_user_may_write_nothing_but_the_model_store(containers: Containers, image: str) -> None:
    status, text = containers.run(image, "-c", LIST_WRITABLE, entrypoint="sh")
    assert status == 0, text
    places = {Path(line) for line in text.splitlines() if line.startswith("/")}
    shared_by_all = {Path(place) for place in ("/tmp", "/var/tmp", "/run/lock")}
    assert places - shared_by_all == {Path("/models"), Path("/models/fairytales")}


def test_the_bundled_model_is_in_both_as_it_is_in_the_tree(
    containers: Containers, image: str
) -> None:
    script = (
        "from pathlib import Path; from model.artifact import read_artifact; "
        "from model.store import locate; "
        "print(read_artifact(locate(Path('/models'), 'fairytales')).directory)"
    )
    status, text = containers.run(image, "-c", script, entrypoint="python", network_mode="none")
    assert (status, text.strip()) == (0, "/models/fairytales/1")


def test_the_trainer_finds_the_bundled_model(containers: Containers, training_image: str) -> None:
    script = "from training.bundled import bundled_model; print(bundled_model())"
    status, text = containers.run(training_image, "-c", script, entrypoint="python")
    assert (status, text.strip().endswith("/fairytales/1")) == (0, True), text


def test_the_trainer_without_arguments_shows_its_help(
    containers: Containers, training_image: str
) -> None:
    status, text = containers.run(training_image)
    assert status == 0
    assert "Usage: nextword-train" in text
