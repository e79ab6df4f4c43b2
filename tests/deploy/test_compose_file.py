"""docker-compose.yml as text: needs no engine. Its wiring fits the settings and .env.example."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from service.settings import SETTING_SPECS
from service.settings_sources import variable_of

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docker-compose.yml").read_text("utf-8")
EXAMPLE = (REPOSITORY / ".env.example").read_text("utf-8")
# ${NAME:-default}; every variable has a default, so that no .env is needed.
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
# Given by the image, since the file's ports and volumes depend on them.
WIRED = {"model", "models", "host", "rest_port", "grpc_port", "management_port"}
# The project's own services ask the server in the clear; whom it is published to meets a proxy.
IN_THE_CLEAR = {"tls_certificate_file", "tls_key_file"}


@pytest.fixture(scope="module")
def services() -> Mapping[str, Mapping[str, Any]]:
    """The services with every variable at its default."""
    text = VARIABLE.sub(lambda found: found[2], TEXT)
    return cast("Mapping[str, Mapping[str, Any]]", yaml.safe_load(text)["services"])


def handed_on(service: Mapping[str, Any]) -> set[str]:
    """Variables that a container gets by name."""
    environment = cast("list[str]", service["environment"])
    # One of them has a default of its own here.
    names = {entry.removesuffix("=on") for entry in environment}
    assert all(re.fullmatch(r"[A-Z_]+", name) for name in names)
    return names


def test_every_setting_of_the_server_can_be_given(
    services: Mapping[str, Mapping[str, Any]],
) -> None:
    settable = {variable_of(name) for name in SETTING_SPECS if name not in WIRED | IN_THE_CLEAR}
    assert handed_on(services["service"]) == settable


def test_every_variable_is_explained_in_the_example_and_no_other(
    services: Mapping[str, Mapping[str, Any]],
) -> None:
    used = {name for name, _ in VARIABLE.findall(TEXT)}
    for service in ("service", "bench"):
        used |= handed_on(services[service])
    explained = re.findall(r"^#(NEXTWORD_\w+)=", EXAMPLE, re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert set(explained) == used


def test_defaults_in_the_example_are_those_of_the_file_and_of_the_server() -> None:
    shown = dict(re.findall(r"^#(NEXTWORD_\w+)=(.*)$", EXAMPLE, re.MULTILINE))
    for name, default in VARIABLE.findall(TEXT):
        # The one whose default is none, and whose example therefore shows a value.
        if name != "NEXTWORD_TORCH_INDEX":
            assert shown[name] == default, name
    for name, spec in SETTING_SPECS.items():
        if name not in WIRED and isinstance(spec.default, float | int):
            assert float(shown[variable_of(name)]) == spec.default, name


def test_no_variable_lacks_a_default() -> None:
    code = "\n".join(line for line in TEXT.splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(r"\$\{\w+\}|\$[A-Z]", code)


def test_every_port_is_published_on_this_machine_alone(
    services: Mapping[str, Mapping[str, Any]],
) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]
    assert len(published) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    written = re.findall(r"^ +- (.*):\d+$", TEXT, re.MULTILINE)
    assert all(re.fullmatch(r"\$\{NEXTWORD_PUBLISH_\w+:-.*\}", port) for port in written)


def test_the_stop_grace_is_longer_than_the_drain(
    services: Mapping[str, Mapping[str, Any]],
) -> None:
    """H112."""
    grace = re.fullmatch(r"(\d+)s", services["service"]["stop_grace_period"])
    assert grace
    drain = SETTING_SPECS["drain_timeout"].default
    lame_duck = SETTING_SPECS["lame_duck"].default
    assert isinstance(drain, float)
    assert isinstance(lame_duck, float)
    # What is left of it is for stopping the engines.
    assert int(grace[1]) >= drain + lame_duck + 10


def test_nothing_restarts_for_ever_and_the_service_needs_nobody(
    services: Mapping[str, Mapping[str, Any]],
) -> None:
    for name, service in services.items():
        assert service.get("restart", "no") in {"no", "on-failure:5"}, name
    assert "depends_on" not in services["service"]
    assert {name for name, each in services.items() if "profiles" in each} == {"train", "bench"}


def test_what_runs_our_code_is_contained(services: Mapping[str, Mapping[str, Any]]) -> None:
    """Interfaces 51."""
    for name in ("service", "train", "bench"):
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "privileged" not in service
        assert "user" not in service  # the image's own, which is not root
    assert "models:/models:ro" in services["service"]["volumes"]
    assert "models:/models" in services["train"]["volumes"]


@pytest.mark.parametrize("key", ["name", "include", "version", "secrets", "configs"])
def test_the_file_has_nothing_that_one_of_the_two_composes_does_not_know(key: str) -> None:
    assert key not in yaml.safe_load(TEXT)
