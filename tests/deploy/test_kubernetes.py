"""The manifests of deploy/kubernetes: right by Kubernetes' schemas and the server's own words."""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from service.default_limits import FEWEST_RUNNING
from service.drain import FAREWELL_SECONDS
from service.engine_link.engine_figures import EngineFigures
from service.engine_link.engine_plan import plan_engine
from service.machine_limits import CoreLimit, MachineLimits, MemoryLimit
from service.metrics import Metrics
from service.models.model_store import read_folder
from service.settings import SETTING_SPECS, Settings
from service.settings_sources import ENVIRONMENT_PREFIX, load_settings, variable_of
from service.text_generator import DEFAULT_TIMEOUT_SECONDS
from tests.deploy.manifests import (
    ADAPTER_VALUES,
    FOLDER,
    Manifest,
    container_of,
    environment_of,
    manifest_files,
    pod_of,
    read_all,
    read_one,
)

REPOSITORY = FOLDER.parents[1]
# The oldest that the page names, and newer ones.
VERSIONS = ("1.30", "1.33", "1.37")
DEPLOYMENTS = ("deployment.yaml", "volume/deployment.yaml")
# What the front process takes beside its engines, generously.
FRONT_BYTES = 192 << 20
# From the end of a drain to the end of the process, generously.
STOP_SECONDS = 10.0


def settings_of(name: str) -> Settings:
    """The settings of a pod of this Deployment, with the limits of its container."""
    manifest = read_one(name, "Deployment")
    limits = container_of(manifest)["resources"]["limits"]
    memory = int(limits["memory"].removesuffix("Gi")) << 30
    machine = MachineLimits(
        CoreLimit(float(limits["cpu"]), "the pod's limit"), MemoryLimit(memory, "the pod's limit")
    )
    return load_settings([], environment_of(manifest), machine=machine).settings


def faults_of(manifest: Manifest, version: str) -> str:
    """What Kubernetes of a version has against a manifest; empty where it is right."""
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "path", manifest_files(), ids=lambda path: path.relative_to(FOLDER).as_posix()
)
def test_every_manifest_is_right_by_the_schemas(path: Path, version: str) -> None:
    for manifest in read_all(path):
        assert not faults_of(manifest, version)


def test_a_misspelt_field_would_be_noticed() -> None:
    manifest = read_one("deployment.yaml", "Deployment")
    pod = pod_of(manifest)
    pod["terminationGracePeriodsSeconds"] = pod.pop("terminationGracePeriodSeconds")
    assert "terminationGracePeriodsSeconds" in faults_of(manifest, VERSIONS[0])


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_variable_is_a_setting(name: str) -> None:
    environment = environment_of(read_one(name, "Deployment"))
    ours = {name for name in environment if name.startswith(ENVIRONMENT_PREFIX)}
    assert len(ours) > 5
    assert not ours - {variable_of(setting) for setting in SETTING_SPECS}
    assert settings_of(name).host == "0.0.0.0"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_pod_that_leaves_has_time_for_its_drain(name: str) -> None:
    """H112."""
    manifest, settings = read_one(name, "Deployment"), settings_of(name)
    sleep = container_of(manifest)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = max(settings.drain_timeout, settings.lame_duck) + FAREWELL_SECONDS + STOP_SECONDS
    assert pod_of(manifest)["terminationGracePeriodSeconds"] >= sleep + drain
    readiness = container_of(manifest)["readinessProbe"]
    assert sleep >= readiness["periodSeconds"] * readiness["failureThreshold"]


def test_an_old_connection_cuts_no_call_that_has_no_limit_of_its_own() -> None:
    settings = settings_of("deployment.yaml")
    assert settings.max_connection_age > 0
    assert settings.max_connection_age_grace > DEFAULT_TIMEOUT_SECONDS
    behavior = read_one("autoscaling/autoscaler.yaml", "HorizontalPodAutoscaler")["spec"][
        "behavior"
    ]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] > settings.max_connection_age


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_ports_are_the_servers_and_the_management_port_is_nobodys_service(name: str) -> None:
    manifest, settings = read_one(name, "Deployment"), settings_of(name)
    container = container_of(manifest)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "rest": settings.rest_port,
        "grpc": settings.grpc_port,
        "management": settings.management_port,
    }
    for probe, path in (("startup", "/startupz"), ("readiness", "/readyz"), ("liveness", "/livez")):
        asked = container[f"{probe}Probe"]["httpGet"]
        assert (asked["path"], asked["port"]) == (path, "management")
    annotations = manifest["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.management_port)
    served: dict[str, tuple[int, str | None]] = {}
    for service in read_all(FOLDER / "services.yaml"):
        (port,) = service["spec"]["ports"]
        assert port["port"] == ports[port["targetPort"]]
        served[port["targetPort"]] = (port["port"], service["spec"].get("clusterIP"))
    assert served == {"rest": (8000, None), "grpc": (50051, "None")}


def test_everybody_means_the_same_pods() -> None:
    labels = read_one("deployment.yaml", "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        *(each["spec"]["selector"] for each in read_all(FOLDER / "services.yaml")),
        read_one("disruption-budget.yaml", "PodDisruptionBudget")["spec"]["selector"][
            "matchLabels"
        ],
        read_one("deployment.yaml", "Deployment")["spec"]["selector"]["matchLabels"],
    ]
    assert selectors == [labels] * 4
    job = read_one("volume/train-job.yaml", "Job")["spec"]["template"]["metadata"]["labels"]
    assert job != labels, "a trainer must get no requests"
    scaled = read_one("autoscaling/autoscaler.yaml", "HorizontalPodAutoscaler")["spec"]
    deployment = read_one("deployment.yaml", "Deployment")
    assert scaled["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"], "it would fight with the autoscaler"


@pytest.mark.parametrize("name", [*DEPLOYMENTS, "volume/train-job.yaml"])
def test_pods_may_do_as_little_as_they_need(name: str) -> None:
    (manifest,) = read_all(FOLDER / name)
    pod, container = pod_of(manifest), container_of(manifest)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {pod["securityContext"][key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {
        10001
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {
        mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]
    }
    assert not mounts["/tmp"]
    assert {volume["name"] for volume in pod["volumes"]} == {
        mount["name"] for mount in container["volumeMounts"]
    }
    assert container["resources"]["limits"] == container["resources"]["requests"]


def test_service_links_would_be_taken_for_settings_and_are_off() -> None:
    """Kubernetes names such variables NAME_PORT, in capitals, after each Service of a namespace."""
    names = [each["metadata"]["name"] for each in read_all(FOLDER / "services.yaml")]
    links = {f"{name.upper().replace('-', '_')}_PORT" for name in names}
    assert links & {variable_of(setting) for setting in SETTING_SPECS}
    for name in (*DEPLOYMENTS, "volume/train-job.yaml"):
        (manifest,) = read_all(FOLDER / name)
        assert pod_of(manifest)["enableServiceLinks"] is False


def test_the_autoscaler_asks_for_figures_that_exist_and_can_be_reached() -> None:
    metrics = Metrics()
    EngineFigures(metrics)
    exported = {family.name for family in metrics.registry.collect()}
    spec = read_one("autoscaling/autoscaler.yaml", "HorizontalPodAutoscaler")["spec"]
    targets = {
        each["pods"]["metric"]["name"]: float(each["pods"]["target"]["averageValue"])
        for each in spec["metrics"]
    }
    assert set(targets) <= exported
    settings = settings_of("deployment.yaml")
    assert targets["nextword_engine_waiting"] < settings.max_queued
    assert FEWEST_RUNNING < targets["nextword_engine_running"] < settings.max_running
    (rule,) = yaml.safe_load(ADAPTER_VALUES.read_text(encoding="utf-8"))["rules"]["custom"]
    pattern = re.search(r'__name__=~"(.*?)"', rule["seriesQuery"])
    assert pattern is not None
    assert {name for name in exported if re.search(pattern[1], name)} == set(targets)


def test_the_deployment_with_a_volume_is_the_other_and_the_volume() -> None:
    plain = read_one("deployment.yaml", "Deployment")
    stored = read_one("volume/deployment.yaml", "Deployment")
    container, pod = container_of(stored), pod_of(stored)
    added = container["env"][-2:]
    del container["env"][-2:]
    mount, volume = container["volumeMounts"].pop(), pod["volumes"].pop()
    assert stored == plain
    environment = {each["name"]: each["value"] for each in added}
    store = environment[variable_of("models")]
    assert mount == {"name": volume["name"], "mountPath": store, "readOnly": True}
    claim = read_one("volume/claim.yaml", "PersistentVolumeClaim")["metadata"]["name"]
    assert volume["persistentVolumeClaim"] == {"claimName": claim}
    job = read_one("volume/train-job.yaml", "Job")
    assert volume in pod_of(job)["volumes"]
    words = container_of(job)["args"]
    out = Path(words[words.index("--out") + 1])
    assert str(out.parent) == store
    # Two models of one name would end the start.
    assert out.name != Path(environment[variable_of("model")]).parent.name


def test_two_versions_of_the_bundled_model_fit_in_a_pod() -> None:
    settings = settings_of("deployment.yaml")
    folder = read_folder(REPOSITORY / "artifacts" / "fairytales" / "1", verify=False)
    plan = plan_engine(folder, settings, kv_cache_bytes=settings.kv_cache_memory)
    assert plan.note is None
    assert FRONT_BYTES + 2 * plan.needed_bytes <= settings.memory_limit
