"""Campaign 2 made small: each declared parameter has a probe, and each probe can fail."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import grpc
import httpx2
import pytest

from campaigns.callers.grpc_surfaces import grpc_surfaces
from campaigns.callers.rest_surfaces import rest_surfaces
from campaigns.callers.surfaces import Answer, Body, Surface
from campaigns.cases.glass_box_probes import glass_box_probes
from campaigns.cases.openai_probes import openai_probes
from campaigns.cases.parameter_probes import Probe, make_probes
from campaigns.parameters import END_ID, LETTERS, probe_parameters
from tests.contract.live_server import START_SECONDS, Server

OF_OPENAI = ("POST /v1/chat/completions", "POST /v1/embeddings")
# The campaign's server has a second model to ask, this one has not.
NEED_A_SECOND_MODEL = {"model", "model_id", "id"}


@pytest.fixture(scope="module")
def surfaces(server: Server) -> Iterator[list[Surface]]:
    with (
        httpx2.Client(base_url=server.rest, timeout=START_SECONDS, verify=False) as http,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        yield [*rest_surfaces(http), *grpc_surfaces(channel)]


@pytest.fixture(scope="module")
def probes(server: Server) -> list[Probe]:
    found = server.post("/v1/tokenize", {"text": LETTERS}).json()["tokens"]
    ids = {each["text"]: each["id"] for each in found}
    generating = make_probes(ids, end_id=END_ID)
    of_glass_box = glass_box_probes(ids, vocabulary_size=257)
    return [*generating, *openai_probes(generating), *of_glass_box]


def without_models(surfaces: Sequence[Surface], *names: str) -> list[Surface]:
    return [
        replace(each, parameters=each.parameters - NEED_A_SECOND_MODEL)
        for each in surfaces
        if each.name in names
    ]


def test_every_parameter_that_is_declared_has_a_probe(
    surfaces: list[Surface], probes: list[Probe]
) -> None:
    """A new one in the proto or on the OpenAPI page fails here until it has one."""
    assert len(surfaces) == 27

    def is_probed(surface: Surface, name: str) -> bool:
        return any(probe.name == name and probe.can_be_said(surface) for probe in probes)

    declared = [(surface, name) for surface in surfaces for name in surface.parameters]
    assert len(declared) > 140
    assert not [(surface.name, name) for surface, name in declared if not is_probed(surface, name)]


def test_every_parameter_has_its_effect(surfaces: list[Surface], probes: list[Probe]) -> None:
    chosen = without_models(
        surfaces, "POST /v1/completions (stream)", "gRPC GenerateText", *OF_OPENAI
    )
    findings = probe_parameters(chosen, probes)
    assert not findings.ignored
    assert not findings.refused
    assert len(findings.effective) > 60


def test_a_parameter_that_is_ignored_is_noticed(
    surfaces: list[Surface], probes: list[Probe]
) -> None:
    """The control: each parameter in turn never reaches the server."""
    (surface,) = without_models(surfaces, "POST /v1/generate")
    for name in surface.parameters:

        def ask(body: Body, ignored: str = name) -> Answer:
            return surface.ask({key: value for key, value in body.items() if key != ignored})

        findings = probe_parameters([replace(surface, ask=ask)], probes, only=name)
        assert not findings.effective, name
        assert findings.ignored, name
