"""What the front costs: its throughput beside bare servers, and its processor time per token.

    python benchmarks/transport.py [--streams 1,64,512] [--tokens 40000] [--repeats 5]

An engine that computes nothing gives every stream its next token at once. "single": it makes a step
when the clients have the one before, so that every token is a message of its own, as it comes.
"apart": it is some steps ahead, and every token still is a message of its own. "merged": it runs
ahead as far as the service lets it, by runs of as many tokens as the kernels of a CPU draw, and
tokens of a stream that wait share a message. The bare servers, uvicorn and grpc.aio with nothing
behind them, send messages of the same bytes in turns with them.
"""

import argparse
import base64
import json
import mmap
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# The script is run by its path; its neighbours are imported from the repository.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nextword.v1 import text_generation_pb2 as pb

from benchmarks.bare_server import COUNT_VARIABLE, MESSAGE_VARIABLE
from benchmarks.free_engine import PROGRESS, PROGRESS_VARIABLE
from benchmarks.free_server import APART, APART_VARIABLE
from benchmarks.stream_counters import StreamCount, count_grpc, count_rest
from campaigns.live.server_process import REPOSITORY, running_server

__all__ = ["OPTIONS", "count_protocol", "count_streams", "long_model", "processor_seconds"]

KINDS = ("bare", "single", "apart", "merged")
# Steps that the engine may be ahead of the clients; 0 is as many as the service lets it be.
NUM_AHEAD = {"bare": 0, "single": 1, "apart": 128, "merged": 0}
CONTEXT_TOKENS = 65536
MAX_CONNECTIONS = 8
OPTIONS = (
    *("--kv-cache-memory", "1400MiB", "--memory-limit", "8GiB", "--max-running", "1024"),
    *("--max-queued", "1024", "--max-queued-tokens", "1000000000", "--log-level", "warning"),
)
EVENT = b'data: {"index":0,"text":" word","token_ids":[1234]}\n\n'


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement.

    Attributes:
        messages: For each second.
        tokens: For each second.
        microseconds: Of the server's processor time for a token, all its threads together.
        per_message: Tokens in a message.
    """

    messages: float
    tokens: float
    microseconds: float
    per_message: float


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "artifacts/fairytales/1")
    parser.add_argument("--streams", default="1,64,512")
    parser.add_argument("--tokens", type=int, default=40_000, help="of all streams of a run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--protocols", default="rest,grpc")
    parser.add_argument("--no-bare", action="store_true")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = long_model(options.model, Path(scratch) / "transport")
        progress = Path(scratch) / "progress"
        progress.write_bytes(bytes(PROGRESS.size))
        os.environ[PROGRESS_VARIABLE] = str(progress)
        for protocol in options.protocols.split(","):
            for num_streams in map(int, options.streams.split(",")):
                num_tokens = max(2, options.tokens // num_streams)
                kinds = list(KINDS[1:] if options.no_bare else KINDS)
                runs: dict[str, list[Run]] = {kind: [] for kind in kinds}
                for _ in range(options.repeats):
                    for kind in kinds:
                        run = _measure(protocol, kind, num_streams, num_tokens, folder)
                        runs[kind].append(run)
                _report(protocol, num_streams, runs)
    return 0


def _report(protocol: str, num_streams: int, runs: dict[str, list[Run]]) -> None:
    bare = statistics.median(run.messages for run in runs["bare"]) if "bare" in runs else None
    for kind, found in runs.items():
        messages, tokens, microseconds, per_message = (
            statistics.median(getattr(run, name) for run in found) for name in Run.__slots__
        )
        share = f", {messages / bare:.0%} of bare" if bare and kind != "bare" else ""
        print(
            f"{protocol} {num_streams:4d} streams {kind:6}: {messages:9,.0f} messages/s{share}, "
            f"{tokens:9,.0f} tokens/s, {per_message:.2f} tokens/message, "
            f"{microseconds:.1f} us of the server a token",
            flush=True,
        )


def _measure(protocol: str, kind: str, num_streams: int, num_tokens: int, folder: Path) -> Run:
    starting = _bare(protocol, num_tokens) if kind == "bare" else _ours(protocol, kind, folder)
    with starting as (process_id, port):
        # The first requests load what is loaded late.
        count_streams(protocol, port, 1, num_tokens if kind == "bare" else 16, kind=kind)
        worked, began = processor_seconds(process_id), time.perf_counter()
        found = count_streams(protocol, port, num_streams, num_tokens, kind=kind)
        seconds = time.perf_counter() - began
        worked = processor_seconds(process_id) - worked
    if kind != "bare":
        _check(protocol, found, num_tokens)
    tokens = num_streams * num_tokens
    return Run(
        found.num_messages / seconds,
        tokens / seconds,
        worked / tokens * 1e6,
        tokens / found.num_messages,
    )


def count_streams(
    protocol: str, port: int, num_streams: int, num_tokens: int, *, kind: str
) -> StreamCount:
    with Path(os.environ[PROGRESS_VARIABLE]).open("r+b") as file:
        progress = mmap.mmap(file.fileno(), PROGRESS.size)

    def tell(num_messages: int) -> None:
        # Packing in place would clear the other number for a moment, which means as far as it can.
        progress[: PROGRESS.size] = PROGRESS.pack(num_messages, NUM_AHEAD[kind])

    tell(0)
    try:
        return count_protocol(protocol, port, num_streams, num_tokens, told=tell)
    finally:
        # What the server asks by itself nobody counts.
        PROGRESS.pack_into(progress, 0, 0, 0)


def count_protocol(
    protocol: str, port: int, num_streams: int, num_tokens: int, *, told: Callable[[int], None]
) -> StreamCount:
    """Stream over "rest" or "grpc", and count."""
    if protocol == "rest":
        return count_rest(port, num_streams=num_streams, num_tokens=num_tokens, told=told)
    return count_grpc(
        port,
        num_streams=num_streams,
        num_tokens=num_tokens,
        num_connections=min(num_streams, MAX_CONNECTIONS),
        told=told,
    )


def _check(protocol: str, found: StreamCount, num_tokens: int) -> None:
    """See to it that the last stream says it had all its tokens."""
    if protocol == "rest":
        said = re.search(rb'"completion_tokens":(\d+)', found.last)
        counted = int(said[1]) if said else 0
    else:
        last = pb.StreamGenerateTextResponse.FromString(found.last)
        counted = last.summary.usage.completion_tokens
    if counted != num_tokens:
        raise RuntimeError(f"a stream said {counted} tokens of {num_tokens}")


def processor_seconds(process_id: int) -> float:
    """Time on a processor of all threads that a process has."""
    threads = Path(f"/proc/{process_id}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9


@contextmanager
def _ours(protocol: str, kind: str, folder: Path) -> Generator[tuple[int, int]]:
    os.environ[APART_VARIABLE] = "" if kind == "merged" else APART
    arguments = ("--model", str(folder), *OPTIONS)
    with running_server(*arguments, module=("benchmarks.free_server",)) as server:
        address = server.rest if protocol == "rest" else server.grpc
        yield server.process.pid, int(address.rpartition(":")[2])


@contextmanager
def _bare(protocol: str, count: int) -> Generator[tuple[int, int]]:
    if protocol == "rest":
        message = EVENT
    else:
        piece = pb.StreamGenerateTextResponse(index=0, text=" word", token_ids=[1234])
        message = piece.SerializeToString()
    environment = {
        **os.environ,
        COUNT_VARIABLE: str(count),
        MESSAGE_VARIABLE: base64.b64encode(message).decode(),
    }
    command = [sys.executable, "-m", "benchmarks.bare_server", protocol]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.terminate()


def long_model(folder: Path, target: Path) -> Path:
    """A copy of a model whose texts may be long: its engine only looks at the tokenizer."""
    unwanted = shutil.ignore_patterns("manifest.json", "ngram", "report")
    shutil.copytree(folder, target, ignore=unwanted)
    config = json.loads((target / "config.json").read_text())
    config["max_position_embeddings"] = CONTEXT_TOKENS
    (target / "config.json").write_text(json.dumps(config))
    return target


if __name__ == "__main__":
    sys.exit(main())
