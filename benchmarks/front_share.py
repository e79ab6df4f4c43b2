"""What the front takes for a token while a real engine computes on the same processors.

    python benchmarks/front_share.py [--model FOLDER] [--streams 1,16,64] [--tokens 400]

Unlike in `transport.py` the engine's threads empty the caches between any two tokens, and tokens
come as that engine gives them: of a lonely stream several at once. Opening the streams is counted.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

# The script is run by its path; its neighbours are imported from the repository.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.stream_counters import StreamCount
from benchmarks.transport import count_protocol, processor_seconds
from campaigns.live.server_process import REPOSITORY, ServerProcess, running_server

__all__: list[str] = []


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "artifacts/fairytales/1")
    parser.add_argument("--streams", default="1,16,64")
    parser.add_argument("--tokens", type=int, default=400, help="of each stream")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    levels = [int(number) for number in options.streams.split(",")]
    arguments = ("--model", str(options.model), "--max-running", str(max(levels)))
    with running_server(*arguments, "--log-level", "warning") as server:
        for protocol in ("rest", "grpc"):
            # The first requests load what is loaded late.
            _count(server, protocol, 2, 16)
            for num_streams in levels:
                _measure(server, protocol, num_streams, options.tokens, options.repeats)
    return 0


def _measure(
    server: ServerProcess, protocol: str, num_streams: int, num_tokens: int, repeats: int
) -> None:
    tokens = num_streams * num_tokens
    rates: list[float] = []
    front: list[float] = []
    engine: list[float] = []
    messages: list[float] = []
    process_ids = (server.process.pid, server.engine_process_id())
    for _ in range(repeats):
        before, began = [processor_seconds(each) for each in process_ids], time.perf_counter()
        found = _count(server, protocol, num_streams, num_tokens)
        seconds = time.perf_counter() - began
        worked = [processor_seconds(each) for each in process_ids]
        rates.append(tokens / seconds)
        front.append((worked[0] - before[0]) / tokens * 1e6)
        engine.append((worked[1] - before[1]) / tokens * 1e6)
        messages.append(tokens / found.num_messages)
    rate, own, theirs, merged = map(statistics.median, (rates, front, engine, messages))
    print(
        f"{protocol} {num_streams:3d} streams: {rate:6,.0f} tokens/s, {merged:.2f} tokens/message, "
        f"front {own:.1f} us a token, engine {theirs:.0f} us",
        flush=True,
    )


def _count(server: ServerProcess, protocol: str, num_streams: int, num_tokens: int) -> StreamCount:
    address = server.rest if protocol == "rest" else server.grpc
    port = int(address.rpartition(":")[2])
    return count_protocol(protocol, port, num_streams, num_tokens, told=_ignore)


def _ignore(num_messages: int) -> None:
    del num_messages


if __name__ == "__main__":
    sys.exit(main())
