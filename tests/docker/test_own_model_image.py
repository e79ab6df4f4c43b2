"""deploy/kubernetes/image: an image with a model of a user's own, run as the manifests run it."""

import subprocess
from pathlib import Path

import docker
import httpx2
import pytest

from campaigns.live.tiny_model import publish_tiny_model
from tests.deploy.manifests import FOLDER, environment_of, read_one
from tests.docker.live_container import Containers, as_in_production

TAG = "nextword-own-model:test"
KEY = "a-key-for-tests-of-an-image"


def build(service_image: str, version: Path) -> subprocess.CompletedProcess[str]:
    """Build as the page says."""
    arguments = [
        *("--file", str(FOLDER / "image" / "Dockerfile"), "--tag", TAG),
        *("--build-arg", f"SERVICE_IMAGE={service_image}"),
        *("--build-arg", f"NAME={version.parent.name}", "--build-arg", f"VERSION={version.name}"),
    ]
    return subprocess.run(
        ["docker", "build", *arguments, str(version)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def own_image(
    docker_client: docker.DockerClient,
    service_image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    done = build(service_image, publish_tiny_model(tmp_path_factory.mktemp("store") / "alice"))
    assert done.returncode == 0, done.stdout + done.stderr
    return TAG


def test_it_serves_that_model_alone_with_the_variables_of_the_manifests(
    own_image: str, containers: Containers, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n", encoding="utf-8")
    environment = environment_of(read_one("deployment.yaml", "Deployment"))
    place = str(Path(environment["NEXTWORD_API_KEY_FILE"]).parent)
    # Read by another user than the one who wrote it, as a Secret is.
    tmp_path.chmod(0o755)
    keys.chmod(0o644)
    pod = containers.start(
        own_image,
        environment=environment,
        volumes={str(tmp_path): {"bind": place, "mode": "ro"}},
        **as_in_production(),
    ).wait_ready()
    bearer = {"authorization": f"Bearer {KEY}"}
    models = httpx2.get(f"{pod.rest}/v1/models", headers=bearer, timeout=60.0).json()["data"]
    assert [model["id"] for model in models] == ["alice"]
    body = {"prompt": "x", "max_tokens": 4, "ignore_eos": True}
    answer = httpx2.post(f"{pod.rest}/v1/generate", json=body, headers=bearer, timeout=60.0)
    assert len(answer.json()["choices"][0]["token_ids"]) == 4


def test_a_model_that_cannot_be_served_ends_the_build(service_image: str, tmp_path: Path) -> None:
    version = publish_tiny_model(tmp_path / "alice")
    (weights,) = version.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = build(service_image, version)
    assert done.returncode != 0
    assert "nextword-serve: " in done.stdout + done.stderr
