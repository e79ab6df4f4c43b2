"""What waiting requests cost the front: time to take one on, memory of one, and the others' tokens.

    python benchmarks/queued_requests.py [--queued 0,1000,5000,20000]

The requests are gRPC streams, 500 to a connection, that an engine which computes nothing
never begins. Beside them 64 REST streams run; what their tokens cost must not depend on the queue.
"""

import argparse
import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

# The script is run by its path; its neighbours are imported from the repository.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.free_engine import HELD_SEED, PROGRESS, PROGRESS_VARIABLE
from benchmarks.free_server import APART, APART_VARIABLE
from benchmarks.stream_counters import held_streams
from benchmarks.transport import OPTIONS, count_streams, long_model, processor_seconds
from campaigns.live.server_process import REPOSITORY, ServerProcess, running_server

NUM_STREAMS, NUM_TOKENS = 64, 600
REPEATS = 3
LIMITS = ("--max-queued", "900000", "--max-open-requests", "900000")


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "artifacts/fairytales/1")
    parser.add_argument("--queued", default="0,1000,5000,20000")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = long_model(options.model, Path(scratch) / "transport")
        progress = Path(scratch) / "progress"
        progress.write_bytes(bytes(PROGRESS.size))
        os.environ[PROGRESS_VARIABLE], os.environ[APART_VARIABLE] = str(progress), APART
        for num_queued in map(int, options.queued.split(",")):
            arguments = ("--model", str(folder), *OPTIONS, *LIMITS)
            with running_server(*arguments, module=("benchmarks.free_server",)) as server:
                _measure(server, num_queued)
    return 0


def _measure(server: ServerProcess, num_queued: int) -> None:
    rest, grpc = (int(each.rpartition(":")[2]) for each in (server.rest, server.grpc))
    pid = server.process.pid
    count_streams("rest", rest, 1, 16, kind="single")
    before, began, worked = _resident_bytes(pid), time.perf_counter(), processor_seconds(pid)

    def wait(number: int) -> None:
        while server.metric('nextword_requests_in_flight{protocol="grpc"}') < number:
            # Each scrape goes over all open requests.
            time.sleep(0.05 + number / 50_000)

    with held_streams(grpc, num_streams=num_queued, seed=HELD_SEED, taken=wait):
        seconds, worked = time.perf_counter() - began, processor_seconds(pid) - worked
        grown = _resident_bytes(pid) - before
        costs: list[float] = []
        for _ in range(REPEATS):
            used = processor_seconds(pid)
            count_streams("rest", rest, NUM_STREAMS, NUM_TOKENS, kind="single")
            costs.append((processor_seconds(pid) - used) / (NUM_STREAMS * NUM_TOKENS) * 1e6)
    each = max(num_queued, 1)
    print(
        f"{num_queued:7,} waiting: taken on in {seconds:.2f} s, {worked / each * 1e6:.0f} us of "
        f"the server each; {grown / each / 1024:.1f} KiB each; a token of {NUM_STREAMS} streams "
        f"beside them {sorted(costs)[REPEATS // 2]:.1f} us",
        flush=True,
    )


def _resident_bytes(process_id: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process_id}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
