"""Campaign 2: every parameter matters. `make campaign-parameters`.

The parameters of each route and method are read from the OpenAPI page and the proto; each must have
a probe, and on every surface that declares it the answers must be what its definition says, or a
400 that names it as not offered. With --control the server ignores one parameter after another, on
every surface, and the status is 3 when each was noticed.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx2

from campaigns.callers.grpc_surfaces import grpc_surfaces
from campaigns.callers.rest_surfaces import rest_surfaces
from campaigns.callers.surfaces import SECONDS, Answer, Surface
from campaigns.cases.glass_box_probes import glass_box_probes
from campaigns.cases.openai_probes import openai_probes
from campaigns.cases.parameter_probes import OTHER_MODEL, Probe, make_probes
from campaigns.live.server_process import ServerProcess, running_server
from campaigns.live.tiny_model import CHAT_TEMPLATE, publish_tiny_model
from campaigns.verdict import control_status

__all__ = ["Findings", "probe_parameters"]

END_ID = 0
LETTERS = "abcdefgh"
FALLEN = {"engine_unavailable", "internal_error"}


@dataclass
class Findings:
    """What a run found, one line each.

    Attributes:
        effective: Parameters that did what they are for.
        refused: Parameters that are refused by name.
        ignored: Parameters whose answers are not what their definition says.
        unknown: Parameters that are declared and have no probe.
    """

    effective: list[str] = field(default_factory=list[str])
    refused: list[str] = field(default_factory=list[str])
    ignored: list[str] = field(default_factory=list[str])
    unknown: list[str] = field(default_factory=list[str])

    @property
    def is_good(self) -> bool:
        """Whether every declared parameter has a probe and an effect."""
        return bool(self.effective) and not self.ignored and not self.unknown


def probe_parameters(
    surfaces: Sequence[Surface], probes: Sequence[Probe], *, only: str | None = None
) -> Findings:
    """Send every probe to every surface that declares its parameter.

    Args:
        surfaces: What to ask.
        probes: What to ask it.
        only: The one parameter to try, None for all.
    """
    findings = Findings()
    for surface in surfaces:
        for name in sorted(surface.parameters if only is None else surface.parameters & {only}):
            own = [probe for probe in probes if probe.name == name and probe.can_be_said(surface)]
            if not own:
                findings.unknown.append(f"{surface.name}: {name}")
            for probe in own:
                answers = [surface.ask(body) for body in probe.bodies]
                # A server that falls over is not one that ignores a parameter.
                assert not FALLEN & {answer.code for answer in answers}, (surface.name, probe.name)
                _note(findings, surface, probe, answers)
    return findings


def _note(findings: Findings, surface: Surface, probe: Probe, answers: Sequence[Answer]) -> None:
    line = f"{surface.name}: {probe.name}"
    codes = [(answer.code, answer.fault) for answer in answers]
    if codes[0] == (None, None) and codes[-1] == ("unsupported_parameter", probe.name):
        # A value that is not offered may be what the definition says (best_of other than n).
        (findings.effective if _holds(probe, answers) else findings.refused).append(line)
    elif _holds(probe, answers):
        findings.effective.append(line)
    else:
        shown = "; ".join(str(answer)[:300] for answer in answers)
        findings.ignored.append(f"{line}: {shown}")


def _holds(probe: Probe, answers: Sequence[Answer]) -> bool:
    try:
        return probe.holds(answers)
    except (KeyError, ValueError):
        # An answer lacks what the definition looks at.
        return False


def _ask(server: ServerProcess, *, ignored: Path | None) -> tuple[int, int]:
    """Run against a server; how many parameters were tried, and how many noticed as wrong."""
    with (
        httpx2.Client(base_url=server.rest, timeout=SECONDS, verify=False) as http,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        surfaces = [*rest_surfaces(http), *grpc_surfaces(channel)]
        found = http.post("/v1/tokenize", json={"text": LETTERS}).json()["tokens"]
        ids = {each["text"]: each["id"] for each in found}
        size = http.get("/v1/models").json()["data"][0]["vocabulary_size"]
        generating = make_probes(ids, end_id=END_ID)
        probes = [
            *generating,
            *openai_probes(generating),
            *glass_box_probes(ids, vocabulary_size=size),
        ]
        if ignored is None:
            findings = probe_parameters(surfaces, probes)
            _report(surfaces, findings)
            num_bad = len(findings.ignored) + len(findings.unknown)
            return len(findings.effective), 0 if findings.is_good else max(num_bad, 1)
        names = sorted({name for surface in surfaces for name in surface.parameters})
        num_tried = num_noticed = 0
        for name in names:
            ignored.write_text(name)
            findings = probe_parameters(surfaces, probes, only=name)
            num_tried += len(findings.effective) + len(findings.ignored) + len(findings.refused)
            num_noticed += len(findings.ignored)
            for line in (*findings.effective, *findings.refused):
                print(f"  not noticed that it is ignored: {line}")
        print(f"{len(names)} parameters ignored in turn on {len(surfaces)} surfaces: ", end="")
        print(f"{num_noticed} of {num_tried} noticed")
        return num_tried, num_noticed


def _report(surfaces: Sequence[Surface], findings: Findings) -> None:
    for surface in surfaces:
        print(f"{surface.name}: {len(surface.parameters)} parameters")
    for title, lines in (
        ("refused by name", findings.refused),
        ("without effect", findings.ignored),
        ("without a probe", findings.unknown),
    ):
        for line in lines:
            print(f"  {title}: {line}")
    print(
        f"{len(findings.effective)} with the effect that their definition says, "
        f"{len(findings.refused)} refused by name, {len(findings.ignored)} without effect, "
        f"{len(findings.unknown)} without a probe"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 0 when every parameter matters, 3 when the control was noticed."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.parameters", description=__doc__)
    parser.add_argument("--control", action="store_true", help="ignore parameters on purpose")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as root:
        folder = publish_tiny_model(
            Path(root) / "tiny", has_ngram=True, chat_template=CHAT_TEMPLATE
        )
        ignored = Path(root) / "ignored"
        ignored.write_text("")
        module = (
            ("campaigns.broken_builds.ignoring_server", str(ignored))
            if chosen.control
            else ("service",)
        )
        with running_server(
            *("--model", f"tiny={folder}", "--model", f"{OTHER_MODEL}={folder}"),
            *("--device", "cpu", "--dtype", "f32", "--threads", "1"),
            module=module,
        ) as server:
            num_tried, num_noticed = _ask(server, ignored=ignored if chosen.control else None)
    if chosen.control:
        noticed = f"{num_noticed} of {num_tried} ignored parameters"
        return control_status(
            [noticed] if num_noticed else [], is_complete=num_noticed == num_tried
        )
    return 0 if num_tried and not num_noticed else 1


if __name__ == "__main__":
    sys.exit(main())
