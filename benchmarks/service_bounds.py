"""What others feel while one client asks for much: three bounds that the service is held to.

    python benchmarks/service_bounds.py [--model FOLDER]

The bounds are those of probes while a text of nearly a mebibyte is tokenized (50 ms), of the time
between tokens of four streams while long prompts arrive (3 times that without), and of a scrape of
`/metrics` while more is asked than fits (100 ms). The client runs on the same machine.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2

# The script is run by its path; its neighbours are imported from the repository.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.busy_callers import asked_by
from campaigns.live.server_process import REPOSITORY, running_server

NUM_PROBES = 50
NUM_STREAMS = 4
NUM_FLOODING = 4
NUM_OVERLOADING = 64
# So that so many clients are more than fit.
MAX_QUEUED = 8
SPELL_SECONDS = 15.0
LARGE_TEXT = "Once upon a time there was a king. " * 28_000
LONG_PROMPT_WORDS = 400


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether all bounds were held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default=str(REPOSITORY / "artifacts/fairytales/1"))
    options = parser.parse_args(arguments)
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with running_server("--model", options.model, "--max-queued", str(MAX_QUEUED)) as server:
        probe = httpx2.Client(base_url=server.rest, timeout=60)
        held = [_tokenizing(server.rest, probe), _flood(server.rest), _scrapes(server.rest, probe)]
    return 0 if all(held) else 1


def _tokenizing(address: str, probe: httpx2.Client) -> bool:
    num_done: list[int] = []

    def tokenize(client: httpx2.Client, _: int) -> None:
        answer = client.post("/v1/tokenize", json={"text": LARGE_TEXT}).raise_for_status()
        num_done.append(len(answer.content))

    with asked_by(1, address, tokenize):
        times = _probe_times(probe, "/livez")
    print(f"{len(num_done)} texts of {len(LARGE_TEXT):,} bytes tokenized meanwhile")
    return _told("probes while a large text is tokenized", times, 0.050)


def _flood(address: str) -> bool:
    gaps: list[float] = []
    num_flooding: list[int] = []

    def stream(client: httpx2.Client, number: int) -> None:
        body = {"prompt": f"{number} kings", "max_tokens": 300, "ignore_eos": True, "stream": True}
        last: float | None = None
        with client.stream("POST", "/v1/generate", json=body) as answer:
            for line in answer.raise_for_status().iter_lines():
                if line.startswith("data:"):
                    now = time.perf_counter()
                    if last is not None:
                        gaps.append(now - last)
                    last = now

    def flood(client: httpx2.Client, number: int) -> None:
        # Another text each time: nothing of it is in the cache.
        prompt = f"{number} {len(num_flooding)} " + "king and " * (LONG_PROMPT_WORDS // 2)
        client.post("/v1/generate", json={"prompt": prompt, "max_tokens": 1}).raise_for_status()
        num_flooding.append(len(prompt))

    with asked_by(NUM_STREAMS, address, stream):
        time.sleep(SPELL_SECONDS)
        alone = sorted(gaps)
        gaps.clear()
        with asked_by(NUM_FLOODING, address, flood):
            time.sleep(SPELL_SECONDS)
            beside = sorted(gaps)
    before, during = _near_worst(alone), _near_worst(beside)
    print(
        f"time between tokens of {NUM_STREAMS} streams, p99: {before * 1000:.1f} ms alone, "
        f"{during * 1000:.1f} ms beside {len(num_flooding)} long prompts: "
        f"{during / before:.2f} times, bound 3"
    )
    return during <= 3 * before


def _scrapes(address: str, probe: httpx2.Client) -> bool:
    answers: list[int] = []

    def ask(client: httpx2.Client, _: int) -> None:
        body = {"prompt": "Once", "max_tokens": 100, "n": 4}
        answers.append(client.post("/v1/generate", json=body).status_code)

    with asked_by(NUM_OVERLOADING, address, ask):
        while 429 not in answers:
            time.sleep(0.05)
        times = _probe_times(probe, "/metrics")
    print(f"{answers.count(200)} answered and {answers.count(429)} refused meanwhile")
    return _told("scrapes during overload", times, 0.100)


def _probe_times(client: httpx2.Client, path: str) -> list[float]:
    times: list[float] = []
    for _ in range(NUM_PROBES):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        times.append(time.perf_counter() - began)
        time.sleep(0.05)
    return sorted(times)


def _near_worst(ordered: Sequence[float]) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]


def _told(what: str, ordered: Sequence[float], bound: float) -> bool:
    found = _near_worst(ordered)
    median = ordered[len(ordered) // 2]
    print(
        f"{what}: median {median * 1000:.1f} ms, p99 of {len(ordered)} {found * 1000:.1f} ms, "
        f"bound {bound * 1000:.0f} ms"
    )
    return found <= bound


if __name__ == "__main__":
    sys.exit(main())
