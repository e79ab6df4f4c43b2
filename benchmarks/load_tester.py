"""What the load tester itself can do: its ceiling, and what it takes of the machine for a token.

    python benchmarks/load_tester.py [--seconds 5] [--repeats 3] [--clients 1,16,64,256]

`nextword bench` asks a server that answers at once, in a process beside it. "at once": all tokens
of a stream one after the other, several in one read. "alone": every stream gets a token every 20
ms, so that each is a read of its own, as those of a real server; from its processor time follows
how many such tokens one core could receive. An open loop shows how late requests leave.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
APIS = ("rest", "openai", "grpc")
HEADS = (
    *("API", "clients or rate", "tokens/s", "requests/s", "client's CPU"),
    *("microseconds of CPU a token", "first token p50, ms", "late p99, ms"),
)
ALONE_SECONDS = 0.02
SECONDS_TO_START = 60


@dataclass(frozen=True, slots=True)
class Run:
    """One level of one load test.

    Attributes:
        load: Its clients, or its rate.
        tokens: For each second.
        requests: For each second.
        client_share: Processor time of the client, as a share of a core.
        token_microseconds: Processor time of the client for each token.
        first_token_seconds: Median.
        delay_seconds: How late requests of an open loop left, at the 99th percentile.
    """

    load: float
    tokens: float
    requests: float
    client_share: float
    token_microseconds: float
    first_token_seconds: float
    delay_seconds: float | None


def main() -> None:
    """Measure everything and print a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each level")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clients", default="1,16,64,256")
    parser.add_argument("--rates", default="50,200,800", help="of the open loop")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores\n")
    closed = ["--concurrency", options.clients]
    cases = [
        ("128 tokens a request, at once", 0.0, [*closed, "--max-tokens", "128"]),
        ("128 tokens a request, alone", ALONE_SECONDS, [*closed, "--max-tokens", "128"]),
        ("1 token a request, at once", 0.0, [*closed, "--max-tokens", "1"]),
        ("open loop, 1 token a request", 0.0, ["--rate", options.rates, "--max-tokens", "1"]),
    ]
    for name, pause, words in cases:
        print(f"**{name}**\n")
        print(
            "| API | load | tokens/s | requests/s | client's CPU | us/token | first ms | late ms |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for api in APIS:
            for run in _runs(api, pause, words, options.seconds, options.repeats):
                late = "" if run.delay_seconds is None else f"{1000 * run.delay_seconds:.2f}"
                print(
                    f"| {api} | {run.load:g} | {run.tokens:,.0f} | {run.requests:,.0f} "
                    f"| {run.client_share:.0%} | {run.token_microseconds:.1f} "
                    f"| {1000 * run.first_token_seconds:.2f} | {late} |",
                    flush=True,
                )
        print()


def _runs(api: str, pause: float, words: list[str], seconds: float, repeats: int) -> list[Run]:
    with _server("grpc" if api == "grpc" else "rest", pause) as port:
        scheme = "grpc" if api == "grpc" else "http"
        command = [
            *(sys.executable, "-m", "nextword", "bench", "--url", f"{scheme}://127.0.0.1:{port}"),
            *("--api", "openai" if api == "openai" else "native", "--json", *words),
            *("--seconds", str(seconds), "--repeats", str(repeats)),
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    levels: dict[float, list[dict[str, object]]] = {}
    for level in json.loads(done.stdout)["levels"]:
        levels.setdefault(level["rate"] or level["concurrency"], []).append(level)
    return [_median(load, repeated) for load, repeated in levels.items()]


def _median(load: float, levels: list) -> Run:
    def middle(*path: str) -> float:
        values = []
        for level in levels:
            value = level
            for name in path:
                value = value[name]
            values.append(value)
        return statistics.median(values)

    per_token = [1e6 * level["client_cpu_seconds"] / level["num_output_tokens"] for level in levels]
    is_open = levels[0]["rate"] is not None
    return Run(
        load=load,
        tokens=middle("output_tokens_per_second"),
        requests=middle("requests_per_second"),
        client_share=middle("client_cpu_share"),
        token_microseconds=statistics.median(per_token),
        first_token_seconds=middle("first_token_seconds", "p50"),
        delay_seconds=middle("send_delay_seconds", "p99") if is_open else None,
    )


@contextmanager
def _server(protocol: str, pause: float) -> Generator[int, None, None]:
    command = [sys.executable, "-m", "benchmarks.instant_server", protocol, str(pause)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(SECONDS_TO_START)


if __name__ == "__main__":
    main()
