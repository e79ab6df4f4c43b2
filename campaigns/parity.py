"""Campaign 1: the same answer everywhere. `make campaign-parity`.

Random requests, a third of them broken in every way of group C, are sent over REST and gRPC, whole
and streamed, many at once, to a server whose cache is too small for them; and one by one to an
engine in this process. Verdicts, ids, text, logprobs, finish reasons, usage and effective
parameters must be the same. The server's counters prove that prefixes were reused, sequences
pre-empted, prompts computed in pieces and batches mixed. With --control the server is broken on
purpose, in one way after another, and the status is 3 when each was noticed.
"""

import argparse
import asyncio
import dataclasses
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from nextword.v1 import text_generation_pb2 as pb

from campaigns.broken_builds.altered_server import ALTERATIONS
from campaigns.callers.engine_in_process import EngineInProcess
from campaigns.callers.parity_callers import Callers, Outcome, grpc_message
from campaigns.cases.random_requests import CONTEXT_TOKENS, DrawnRequest, draw_requests
from campaigns.live.server_process import ServerProcess, running_server
from campaigns.live.tiny_model import publish_tiny_model
from campaigns.verdict import control_status

__all__ = ["CONTEXT_TOKENS", "Findings", "compare", "run_parity", "server_arguments"]

SEED = 20261123
NUM_REQUESTS = 500
NUM_CONTROL_REQUESTS = 90
NUM_AT_ONCE = 8
MAX_SHOWN = 5
# Keys and values of one token: 2 layers of 2 heads of 16 numbers of 4 bytes.
TOKEN_BYTES = 2 * 2 * 2 * 16 * 4
# Little more than one context for a dozen sequences: they have to wait, and to give way.
POOL_BYTES = (CONTEXT_TOKENS + 256) * TOKEN_BYTES
# Series of /metrics that count what a path did.
PATHS = {
    "prefix hits (tokens)": "nextword_engine_reused_prompt_tokens_total",
    "pre-emptions": "nextword_engine_preemptions_total",
    "chunked prefills": "nextword_engine_chunked_prompts_total",
    "mixed batches": "nextword_engine_mixed_steps_total",
}
FALLEN = {"engine_unavailable", "internal_error"}
WAYS = ("rest whole", "rest stream", "grpc whole", "grpc stream", "engine in process")


@dataclass
class Findings:
    """What a run found.

    Attributes:
        num_answers: Of all ways together.
        verdicts: Requests by what came of them.
        hazards: Broken requests by their line.
        differences: One line for each way that differs from the first.
        paths: What the server's counters say.
    """

    num_requests: int = 0
    num_answers: int = 0
    num_tokens: int = 0
    num_rest_only: int = 0
    verdicts: Counter[str] = field(default_factory=Counter[str])
    hazards: Counter[str] = field(default_factory=Counter[str])
    differences: list[str] = field(default_factory=list[str])
    paths: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def paths_not_taken(self) -> list[str]:
        """What the run was to provoke and did not."""
        return [name for name, count in self.paths.items() if count == 0]


async def run_parity(
    server: ServerProcess, folder: Path, requests: Sequence[DrawnRequest]
) -> Findings:
    """Send requests in every way and compare."""
    findings = Findings(num_requests=len(requests))
    reference = EngineInProcess(folder, context_tokens=CONTEXT_TOKENS)
    callers = Callers(server.rest, server.grpc)
    places = asyncio.Semaphore(NUM_AT_ONCE)

    async def ask(request: DrawnRequest) -> dict[str, Outcome]:
        async with places:
            return await _ask_the_server(callers, request)

    try:
        # Before the engine in this process, which would take the interpreter from the callers.
        all_answers = await asyncio.gather(*map(ask, requests))
    finally:
        await callers.close()
    for request, answers in zip(requests, all_answers, strict=True):
        if request.body is not None:
            answers[WAYS[4]] = await reference.answer(request.body)
        _note(findings, request, answers)
    findings.paths = {name: server.metric(series) for name, series in PATHS.items()}
    return findings


async def _ask_the_server(callers: Callers, request: DrawnRequest) -> dict[str, Outcome]:
    ways: list[Callable[[DrawnRequest], Awaitable[Outcome]]] = [
        callers.rest_whole,
        callers.rest_stream,
    ]
    if can_grpc_say(request):
        ways += [callers.grpc_whole, callers.grpc_stream]
    outcomes = await asyncio.gather(*(way(request) for way in ways))
    return dict(zip(WAYS, outcomes, strict=False))


def can_grpc_say(request: DrawnRequest) -> bool:
    """Whether gRPC's types have a place for what the request holds."""
    if request.body is None:
        return request.grpc_bytes is not None
    return grpc_message(request.body, pb.GenerateTextRequest()) is not None


def _note(findings: Findings, request: DrawnRequest, answers: Mapping[str, Outcome]) -> None:
    first = answers[WAYS[0]]
    findings.num_answers += len(answers)
    findings.num_tokens += sum(sum(answer.usage[1:2]) for answer in answers.values())
    findings.num_rest_only += WAYS[2] not in answers
    reasons = {choice.finish_reason for choice in first.choices.values()}
    findings.verdicts[first.code or "/".join(sorted(reasons))] += 1
    if request.hazard != "valid":
        findings.hazards[request.hazard] += 1
    findings.differences += compare(request, answers)


def compare(request: DrawnRequest, answers: Mapping[str, Outcome]) -> list[str]:
    """One line for each way whose answer is not that of the first."""
    shown = {way: _comparable(request, answer) for way, answer in answers.items()}
    (first_way, first), *others = shown.items()
    lines: list[str] = []
    for way, answer in others:
        parts = [name for name in first if first[name] != answer[name]]
        if parts:
            lines.append(
                f"{request.hazard}: {way} differs from {first_way} in {', '.join(parts)}: "
                + "; ".join(f"{str(first[n])[:160]} / {str(answer[n])[:160]}" for n in parts)
                + f"; asked: {str(request.body or request.rest_bytes)[:200]}"
            )
    return lines


def _comparable(request: DrawnRequest, answer: Outcome) -> dict[str, object]:
    values = {each.name: getattr(answer, each.name) for each in dataclasses.fields(answer)}
    if not request.is_same_code:
        del values["code"], values["field_name"]
    if request.body is not None and request.body.get("seed") is None:
        # Drawn afresh by each.
        values["parameters"] = {**answer.parameters, "seed": None}
    return values


def server_arguments(folder: Path) -> list[str]:
    """Options of a server that is short of everything."""
    return [
        *("--model", f"tiny={folder}", "--device", "cpu", "--dtype", "f32", "--threads", "1"),
        *("--max-running", "12", "--max-queued", "512", "--deterministic"),
        *("--kv-cache-memory", str(POOL_BYTES)),
    ]


def _report(findings: Findings, seconds: float) -> None:
    print(
        f"{findings.num_requests} requests, {findings.num_answers} answers, "
        f"{findings.num_tokens} tokens, {seconds:.0f} s; {findings.num_rest_only} requests that "
        "gRPC's types cannot say"
    )
    print("verdicts: " + ", ".join(f"{name} {n}" for name, n in findings.verdicts.most_common()))
    print("lines:    " + ", ".join(f"{name} {n}" for name, n in sorted(findings.hazards.items())))
    print("paths:    " + ", ".join(f"{name} {n:.0f}" for name, n in findings.paths.items()))
    for line in findings.differences[:MAX_SHOWN]:
        print(f"  {line}")
    print(f"differences: {len(findings.differences)}")
    for name in findings.paths_not_taken:
        print(f"  not provoked: {name}")


def _run(requests: Sequence[DrawnRequest], folder: Path, module: Sequence[str]) -> Findings:
    began = time.monotonic()
    with (
        running_server(*server_arguments(folder), module=module) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        findings = runner.run(run_parity(server, folder, requests))
    _report(findings, time.monotonic() - began)
    return findings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 0 when all ways agreed, 3 when all faults of the control were noticed."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.parity", description=__doc__)
    parser.add_argument("--requests", type=int, help=f"how many (default: {NUM_REQUESTS})")
    parser.add_argument("--seed", type=int, default=SEED, help="of the requests")
    parser.add_argument("--control", action="store_true", help="break the server on purpose")
    chosen = parser.parse_args(arguments)
    number = chosen.requests or (NUM_CONTROL_REQUESTS if chosen.control else NUM_REQUESTS)
    requests = draw_requests(chosen.seed, number=number)
    print(f"seed {chosen.seed}")
    with tempfile.TemporaryDirectory() as root:
        folder = publish_tiny_model(Path(root) / "tiny", context_tokens=CONTEXT_TOKENS)
        if not chosen.control:
            findings = _run(requests, folder, ("service",))
            return 1 if findings.differences or findings.paths_not_taken else 0
        noticed: list[str] = []
        for name in ALTERATIONS:
            print(f"fault: {name}")
            findings = _run(requests, folder, ("campaigns.broken_builds.altered_server", name))
            # A server that falls over differs too, and proves nothing.
            assert not FALLEN & findings.verdicts.keys(), findings.verdicts
            noticed += [f"{name}: {line}" for line in findings.differences[:1]]
        return control_status(noticed, is_complete=len(noticed) == len(ALTERATIONS))


if __name__ == "__main__":
    sys.exit(main())
