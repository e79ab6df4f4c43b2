"""How long somebody with a short prompt waits for a first token beside streams that run.

    python benchmarks/newcomers.py [--model FOLDER] [--streams 0,1,4] [--requests 250]

Requests of one token come one after another, each at a moment that has nothing to do with the
streams' steps. The client runs on the same machine.
"""

import argparse
import os
import platform
import random
import statistics
import sys
import time
from pathlib import Path

import httpx2

# The script is run by its path; its neighbours are imported from the repository.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.busy_callers import asked_by
from campaigns.live.server_process import REPOSITORY, ServerProcess, running_server

STREAM_TOKENS = 400
MOST_SECONDS_BETWEEN = 0.02
PATH = "/v1/generate"


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "artifacts/fairytales/1")
    parser.add_argument("--streams", default="0,1,4")
    parser.add_argument("--requests", type=int, default=250)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with running_server("--model", str(options.model), "--log-level", "warning") as server:
        # The first requests load what is loaded late.
        _first_tokens(server, num_requests=20)
        for num_streams in map(int, options.streams.split(",")):
            with asked_by(num_streams, server.rest, _stream):
                while server.metric("nextword_engine_running") < num_streams:
                    time.sleep(0.05)
                seconds = _first_tokens(server, num_requests=options.requests)
            _tell(num_streams, seconds)
    return 0


def _stream(client: httpx2.Client, number: int) -> None:
    body = {"prompt": f"{number} kings", "max_tokens": STREAM_TOKENS, "ignore_eos": True}
    client.post(PATH, json=body).raise_for_status()


def _first_tokens(server: ServerProcess, *, num_requests: int) -> list[float]:
    chance, seconds = random.Random(1), list[float]()
    with httpx2.Client(base_url=server.rest) as client:
        for number in range(num_requests):
            time.sleep(chance.random() * MOST_SECONDS_BETWEEN)
            body = {"prompt": "The king said to the", "max_tokens": 1, "seed": number}
            began = time.perf_counter()
            client.post(PATH, json=body).raise_for_status()
            seconds.append(time.perf_counter() - began)
    return seconds


def _tell(num_streams: int, seconds: list[float]) -> None:
    hundredths = statistics.quantiles(seconds, n=100)
    print(
        f"beside {num_streams} streams: first token of {len(seconds)} requests after "
        f"{hundredths[49] * 1000:.1f} ms (median), {hundredths[94] * 1000:.1f} (p95), "
        f"{max(seconds) * 1000:.1f} (longest)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
