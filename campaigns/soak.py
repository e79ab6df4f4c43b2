"""Campaign 7: mixed use for a long time, beside clients who are silent for minutes.

`make soak`. Waves of streams over both protocols, a third of them cut off, some refused. Every wave
must give what each request gave alone and leave nothing behind; memory, descriptors and threads
must not grow with the number of requests. Clients who say nothing for longer than a server waits
for a sign of life must be served meanwhile (`patient_clients`). With --control the server keeps
what it should let go and is deaf to answers to its pings; the status is 3 when both were noticed.
"""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from campaigns.callers.patient_clients import PatientClients
from campaigns.callers.stream_clients import Outcome, StreamClients
from campaigns.leaks import CONTEXT_TOKENS, Plan, make_plans, server_arguments, settle
from campaigns.live.server_process import SECONDS, ServerProcess, running_server
from campaigns.live.tiny_model import publish_tiny_model
from campaigns.verdict import control_status

__all__ = ["Sample", "find_growth"]

SEED = 20261123
MINUTES = 15.0
# Two sleeps and the waits for an answer to a ping.
CONTROL_MINUTES = 2.5
NUM_STREAMS = 60
WAVE_SECONDS = 2.0
# A server asks after 30 seconds of silence and cuts after 20 more; it closes what rests for 75.
SLEEP_SECONDS = 60.0
REST_SECONDS = 65.0
NUM_PATIENT = 4
PROGRESS_SECONDS = 15.0
# What allocators keep, spread over thousands of requests; a stream that is kept takes thousands.
MAX_BYTES_PER_STREAM = 400.0
PATHS_TAKEN = (
    "told serving",
    "told leaving",
    *(f"texts slept over, {protocol}" for protocol in ("rest", "grpc")),
    *(f"calls after a rest, {protocol}" for protocol in ("rest", "grpc")),
)
# Refused in different rooms of the service.
REFUSED: tuple[dict[str, object], ...] = (
    {"prompt": "a", "temperature": -1},
    {"prompt": "a", "max_tokens": 10 * CONTEXT_TOKENS},
    {"prompt": "a" * (CONTEXT_TOKENS + 1)},
    {"prompt": "a", "model": "none"},
    {"prompt": "a", "stop": [""]},
    {
        "prompt": "a",
        "seed": 3,
        "max_tokens": CONTEXT_TOKENS - 10,
        "ignore_eos": True,
        "timeout_seconds": 0.01,
    },
)
# All of it lies at the client's socket while it sleeps.
SLEPT_OVER: dict[str, object] = {
    "prompt": "sleep",
    "max_tokens": 300,
    "ignore_eos": True,
    "seed": 9,
    "temperature": 0.9,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """What the service takes when nothing but patient clients is there.

    Attributes:
        num_streams: That have been played so far.
        num_bytes: Memory by process that belongs to no file, so that others who share files with it
            change nothing.
        counts: Other things that must not grow.
    """

    num_streams: int
    num_bytes: dict[str, int]
    counts: dict[str, int]


def find_growth(samples: list[Sample]) -> list[str]:
    """What was less in the second quarter than in the last, the least of each.

    Raises:
        ValueError: There are fewer than 8 samples.
    """
    if len(samples) < 8:
        raise ValueError(f"growth wants 8 samples, not {len(samples)}")
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    faults: list[str] = []
    for name in early[0].counts:
        before = min(sample.counts[name] for sample in early)
        after = min(sample.counts[name] for sample in late)
        if after > before:
            faults.append(f"{name} grew from {before} to {after}")
    for name in early[0].num_bytes:
        before = min(early, key=lambda sample: sample.num_bytes[name])
        after = min(late, key=lambda sample: sample.num_bytes[name])
        num_streams = after.num_streams - before.num_streams
        per_stream = (after.num_bytes[name] - before.num_bytes[name]) / num_streams
        print(f"{name} keeps {per_stream:.0f} bytes a stream, over {num_streams} streams")
        if per_stream > MAX_BYTES_PER_STREAM:
            faults.append(f"{name} keeps {per_stream:.0f} bytes a stream")
    return faults


class Soak:
    """The campaign against one server.

    Args:
        server: Has the tiny model.
        rng: Of the waves.

    Attributes:
        faults: What was wrong with streams and with what they left.
        samples: One after each wave.
        counts: How streams ended.
    """

    def __init__(self, server: ServerProcess, rng: random.Random) -> None:
        self.faults: list[str] = []
        self.samples: list[Sample] = []
        self.counts = Counter[str]()
        self._server = server
        self._rng = rng
        self._clients = StreamClients(rest=server.rest, grpc=server.grpc)
        self._plans = [
            *make_plans(NUM_STREAMS, seed=SEED),
            *(Plan(protocol, body, None, 0.0) for body in REFUSED for protocol in ("rest", "grpc")),
        ]
        self._alone: list[Outcome] = []

    async def run(self, seconds: float) -> PatientClients:
        """Waves for so long; the patient clients, whose watches are still open."""
        slept_over = await self._clients.stream("rest", SLEPT_OVER)
        self._alone = [await self._clients.stream(plan.protocol, plan.body) for plan in self._plans]
        refused = Counter(each.error for each in self._alone if each.error is not None)
        print(f"alone: {len(self._alone)} requests, refused {dict(refused)}")
        assert sum(refused.values()) == 2 * len(REFUSED), refused
        patient = PatientClients(
            rest=self._server.rest,
            grpc=self._server.grpc,
            body=SLEPT_OVER,
            expected=slept_over,
            rest_seconds=REST_SECONDS,
            sleep_seconds=SLEEP_SECONDS,
        )
        patient.start(num_each=NUM_PATIENT)
        began = shown = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            await self._wave()
            if now - shown > PROGRESS_SECONDS:
                shown = now
                self._show(now - began, seconds)
        await patient.stop()
        return patient

    async def _wave(self) -> None:
        plans = [
            replace(
                plan,
                start_after=WAVE_SECONDS * self._rng.random(),
                cut_after=None if plan.cut_after is None else self._rng.choice((0, 1, 7, 50)),
            )
            for plan in self._plans
        ]
        outcomes = await asyncio.gather(*(self._play(plan) for plan in plans))
        for number, (plan, outcome) in enumerate(zip(plans, outcomes, strict=True)):
            self._compare(number, plan, outcome)
        self.faults += await asyncio.to_thread(settle, self._server)
        num_streams = len(plans) * (len(self.samples) + 1)
        self.samples.append(take_sample(self._server, num_streams))

    async def _play(self, plan: Plan) -> Outcome:
        await asyncio.sleep(plan.start_after)
        return await self._clients.stream(plan.protocol, plan.body, cut_after=plan.cut_after)

    def _compare(self, number: int, plan: Plan, outcome: Outcome) -> None:
        """A stream against the same request alone, whose tokens come in other events."""
        alone = self._alone[number]
        self.counts[outcome.error or "whole"] += 1
        is_late = outcome.error == alone.error == "deadline_exceeded"
        num_seen = len(outcome.token_ids)
        if plan.cut_after is not None or is_late:
            num_seen = min(num_seen, len(alone.token_ids))
        elif (outcome.error, outcome.text) != (alone.error, alone.text):
            self.faults.append(f"stream {number} ended with {outcome.error}, alone {alone.error}")
            return
        if outcome.token_ids[:num_seen] != alone.token_ids[:num_seen]:
            self.faults.append(f"stream {number} differs from the same request alone")

    def _show(self, passed: float, seconds: float) -> None:
        sample = self.samples[-1]
        mebibytes = ", ".join(f"{k} {v / 2**20:.1f} MiB" for k, v in sample.num_bytes.items())
        counts = ", ".join(f"{v} {k}" for k, v in sample.counts.items())
        print(
            f"{passed:5.0f} of {seconds:.0f} s, {max(0, seconds - passed):.0f} s to go: "
            f"{sample.num_streams} streams, {sample.num_streams / passed:.0f} a second; "
            f"{mebibytes}, {counts}; {len(self.faults)} faults",
            flush=True,
        )


def take_sample(server: ServerProcess, num_streams: int) -> Sample:
    """Look at a server that has nothing to do."""
    processes = {"front": server.process.pid, "engine": server.engine_process_id()}
    return Sample(
        num_streams,
        {name: _anonymous_bytes(number) for name, number in processes.items()},
        {
            f"{what} of the {name}": len(list(Path(f"/proc/{number}/{where}").iterdir()))
            for name, number in processes.items()
            for what, where in (("descriptors", "fd"), ("threads", "task"))
        },
    )


def _anonymous_bytes(process_id: int) -> int:
    for line in Path(f"/proc/{process_id}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Anonymous:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("the system does not tell anonymous memory")


async def play(server: ServerProcess, seconds: float) -> tuple[Soak, PatientClients, list[str]]:
    """The whole campaign; its two halves, and what was wrong with the server's end."""
    soak = Soak(server, random.Random(SEED))
    patient = await soak.run(seconds)
    server.process.send_signal(signal.SIGTERM)
    await patient.see_the_end(SECONDS)
    status = await asyncio.to_thread(server.process.wait, SECONDS)
    print(f"ends: {dict(soak.counts)}")
    print(f"patient clients: {dict(patient.counts)}")
    print(f"exit status {status}")
    return soak, patient, [f"the server left with {status}"] if status else []


def main() -> int:
    """Run the campaign; 0 when nothing was wrong, 3 when all of the control was noticed."""
    parser = argparse.ArgumentParser(description="Mixed use beside silent clients.")
    parser.add_argument("--minutes", type=float, default=None, help=f"default: {MINUTES:g}")
    parser.add_argument("--control", action="store_true", help="a server that keeps and is deaf")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (CONTROL_MINUTES if arguments.control else MINUTES)
    module = "campaigns.broken_builds.hoarding_server" if arguments.control else "service"
    print(f"seed {SEED}, {minutes:g} minutes")
    with tempfile.TemporaryDirectory() as folder:
        model = publish_tiny_model(Path(folder) / "tiny", context_tokens=CONTEXT_TOKENS)
        with running_server(*server_arguments(model), module=(module,)) as server:
            soak, patient, end = asyncio.run(play(server, 60 * minutes))
    growth = find_growth(soak.samples)
    if arguments.control:
        is_complete = bool(growth) and bool(patient.faults)
        return control_status([*growth, *patient.faults], is_complete=is_complete)
    faults = [*soak.faults, *patient.faults, *end, *growth]
    faults += [f"nobody: {kind}" for kind in PATHS_TAKEN if not patient.counts[kind]]
    for fault in faults[:20]:
        print("FAULT:", fault)
    if faults:
        print("The server's log:", *server.log[-20:], sep="\n  ")
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
