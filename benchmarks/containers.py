"""What the service's image costs: its size, its first token, its threads for a share of processors.

    python benchmarks/containers.py [--image nextword-service] [--starts 5] [--seconds 10]

Starts are measured from `docker run` to the first token of a stream over REST. Thread counts are
measured by `nextword bench`, which runs on the same machine as the container, in turns: every
round asks each count once, so that what disturbs the machine disturbs all of them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
from nextword import Client, SamplingParameters

BASE = "python:3.11-slim-bookworm"
PORT = 18_000
CONCURRENCIES = (1, 8)
PATIENCE_SECONDS = 120


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="nextword-service")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--cpus", type=float, nargs="*", default=[1.0, 2.0])
    options = parser.parse_args(arguments)
    above_base = size(options.image) - size(BASE)
    print(f"{options.image}: {above_base / 1e6:.0f} MB above its base", flush=True)
    for cpus in options.cpus:
        seconds = [seconds_to_first_token(options.image, cpus) for _ in range(options.starts)]
        shown = " ".join(f"{value:.2f}" for value in seconds)
        print(f"--cpus {cpus:g}: first token after {shown} s", flush=True)
    for cpus in options.cpus:
        compare_threads(options.image, cpus, rounds=options.rounds, seconds=options.seconds)


def docker(*arguments: str) -> str:
    """Run the command; what it printed."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def size(image: str) -> int:
    """Bytes of an image."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


@contextmanager
def running(image: str, cpus: float, *arguments: str) -> Generator[str, None, None]:
    """A container of the service for as long as the block runs; its address."""
    limits = ("--cpus", f"{cpus:g}", "--read-only", "--tmpfs", "/tmp", "--init")
    publish = ("--publish", f"127.0.0.1:{PORT}:8000")
    name = docker("run", "--detach", *limits, *publish, image, *arguments)
    try:
        yield f"http://127.0.0.1:{PORT}"
    finally:
        docker("rm", "--force", name)


def wait_ready(url: str) -> None:
    """Poll until the server takes requests."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            if httpx2.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.02)
    sys.exit(f"{url} was not ready within {PATIENCE_SECONDS} s")


def seconds_to_first_token(image: str, cpus: float) -> float:
    """From `docker run` to the first piece of a stream."""
    started = time.monotonic()
    with running(image, cpus) as url:
        wait_ready(url)
        parameters = SamplingParameters(max_tokens=4)
        with Client(url) as client, client.stream("Once", parameters=parameters) as stream:
            next(stream)
            return time.monotonic() - started


def compare_threads(image: str, cpus: float, *, rounds: int, seconds: int) -> None:
    """Tokens/s of the default number of threads and of those set by hand."""
    counts = ["default", *(str(n) for n in range(1, (os.cpu_count() or 1) + 1))]
    found: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for count in counts:
            arguments = () if count == "default" else ("--threads", count)
            with running(image, cpus, *arguments) as url:
                wait_ready(url)
                for level in bench(url, seconds):
                    found[count, level[0]].append(level[1])
    for concurrency in CONCURRENCIES:
        medians = {count: statistics.median(found[count, concurrency]) for count in counts}
        best = max(value for count, value in medians.items() if count != "default")
        rows = ", ".join(f"{count} {value:.0f}" for count, value in medians.items())
        share = medians["default"] / best
        print(
            f"--cpus {cpus:g}, {concurrency} streams, tokens/s by threads: {rows}; "
            f"the default reaches {share:.2f} of the best by hand",
            flush=True,
        )


def bench(url: str, seconds: int) -> list[tuple[int, float]]:
    """Number of streams and tokens/s of each level."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        levels = ",".join(map(str, CONCURRENCIES))
        command = [sys.executable, "-m", "nextword", "bench", "--url", url, "-c", levels]
        command += ["--seconds", str(seconds), "--output", str(report)]
        subprocess.run(command, check=True, capture_output=True)
        read = json.loads(report.read_text("utf-8"))
    return [(level["concurrency"], level["output_tokens_per_second"]) for level in read["levels"]]


if __name__ == "__main__":
    main()
