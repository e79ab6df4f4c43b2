"""The manifests of deploy/kubernetes as data."""

from pathlib import Path
from typing import Any, TypeAlias, cast

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
# Values of a chart, which is no manifest.
ADAPTER_VALUES = FOLDER / "autoscaling" / "prometheus-adapter-values.yaml"

Manifest: TypeAlias = dict[str, Any]


def manifest_files() -> list[Path]:
    """Every file of manifests."""
    return sorted(path for path in FOLDER.rglob("*.yaml") if path != ADAPTER_VALUES)


def read_all(path: Path) -> list[Manifest]:
    """The documents of one file."""
    documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return [cast("Manifest", document) for document in documents]


def read_one(name: str, kind: str, *, named: str = "") -> Manifest:
    """The one document of a kind (and a name) in a file of the folder."""
    found = [
        each
        for each in read_all(FOLDER / name)
        if each["kind"] == kind and named in ("", each["metadata"]["name"])
    ]
    (manifest,) = found
    return manifest


def pod_of(manifest: Manifest) -> Manifest:
    """The specification of the pods that a manifest makes."""
    return cast("Manifest", manifest["spec"]["template"]["spec"])


def container_of(manifest: Manifest) -> Manifest:
    """The only container of these pods."""
    (container,) = pod_of(manifest)["containers"]
    return cast("Manifest", container)


def environment_of(manifest: Manifest) -> dict[str, str]:
    """The variables that this container is given, those of the ConfigMap included."""
    container = container_of(manifest)
    environment: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        name = source["configMapRef"]["name"]
        environment |= read_one("settings.yaml", "ConfigMap", named=name)["data"]
    return environment | {each["name"]: each["value"] for each in container.get("env", ())}
