"""What gRPC could cost: bare HTTP/2 servers beside grpc.aio's, in turns.

    python benchmarks/bare_http2.py [--streams 1,64] [--tokens 40000] [--repeats 3]

All send the same messages, one after the other. "h2" leaves every frame to that library, on the
loop; "frames" leaves it states and headers and writes the frames of data as bytes. Neither looks at
windows: the clients' are never full. Only grpc.aio is a gRPC server; the others show what is spent.
"""

import argparse
import asyncio
import base64
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import h2.config
import h2.connection
import h2.events
import uvloop

# The script is run by its path; its neighbours are imported from the repository.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nextword.v1 import text_generation_pb2 as pb

from benchmarks.bare_server import COUNT_VARIABLE, MESSAGE_VARIABLE
from benchmarks.free_engine import PROGRESS, PROGRESS_VARIABLE
from benchmarks.transport import count_streams, processor_seconds
from campaigns.live.server_process import REPOSITORY

__all__: list[str] = []

SERVERS = {
    "grpc.aio": ("benchmarks.bare_server", "grpc"),
    "h2": ("benchmarks.bare_http2", "--serve", "h2"),
    "frames": ("benchmarks.bare_http2", "--serve", "frames"),
}
_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_DATA_HEAD = struct.Struct(">BHBBI")


class _Connection(asyncio.Protocol):
    """Answers each request with the same messages.

    Args:
        message: With gRPC's five bytes before it.
        count: How many of them.
        writes_frames: Whether frames of data are written here.
    """

    def __init__(self, message: bytes, count: int, *, writes_frames: bool) -> None:
        self._message, self._count, self._writes_frames = message, count, writes_frames
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._http = h2.connection.H2Connection(config)
        self._running: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write
        self._http.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        for event in self._http.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                answering = asyncio.get_running_loop().create_task(self._answer(event.stream_id))
                self._running.add(answering)
                answering.add_done_callback(self._running.discard)
        self._flush()

    async def _answer(self, stream: int) -> None:
        self._http.send_headers(stream, _HEAD)
        self._flush()
        message = self._message
        for _ in range(self._count):
            if self._writes_frames:
                self._write(_DATA_HEAD.pack(0, len(message), 0, 0, stream) + message)
            else:
                self._http.send_data(stream, message)
                self._flush()
            # As if each message had to be waited for.
            await asyncio.sleep(0)
        self._http.send_headers(stream, [(b"grpc-status", b"0")], end_stream=True)
        self._flush()

    def _flush(self) -> None:
        self._write(self._http.data_to_send())


async def _serve(kind: str) -> None:
    content, count = base64.b64decode(os.environ[MESSAGE_VARIABLE]), int(os.environ[COUNT_VARIABLE])
    message = struct.pack(">BI", 0, len(content)) + content

    def connect() -> _Connection:
        return _Connection(message, count, writes_frames=kind == "frames")

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _measure(kind: str, num_streams: int, num_tokens: int) -> tuple[float, float]:
    """Messages a second, and microseconds of the server for each."""
    piece = pb.StreamGenerateTextResponse(index=0, text=" word", token_ids=[1234])
    environment = {
        **os.environ,
        COUNT_VARIABLE: str(num_tokens),
        MESSAGE_VARIABLE: base64.b64encode(piece.SerializeToString()).decode(),
    }
    command = [sys.executable, "-m", *SERVERS[kind]]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=REPOSITORY
    ) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            count_streams("grpc", port, 1, num_tokens, kind="bare")
            worked, began = processor_seconds(process.pid), time.perf_counter()
            found = count_streams("grpc", port, num_streams, num_tokens, kind="bare")
            seconds = time.perf_counter() - began
            worked = processor_seconds(process.pid) - worked
        finally:
            process.terminate()
    return found.num_messages / seconds, worked / found.num_messages * 1e6


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--serve", choices=("h2", "frames"), help="be one of the servers")
    parser.add_argument("--streams", default="1,64")
    parser.add_argument("--tokens", type=int, default=40_000, help="of all streams of a run")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.serve:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(options.serve))
    with tempfile.TemporaryDirectory() as scratch:
        progress = Path(scratch) / "progress"
        progress.write_bytes(bytes(PROGRESS.size))
        os.environ[PROGRESS_VARIABLE] = str(progress)
        for num_streams in map(int, options.streams.split(",")):
            runs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in SERVERS}
            for _ in range(options.repeats):
                for kind, found in runs.items():
                    found.append(_measure(kind, num_streams, options.tokens // num_streams))
            for kind, found in runs.items():
                messages, microseconds = map(statistics.median, zip(*found, strict=True))
                print(
                    f"{num_streams:4d} streams {kind:8}: {messages:9,.0f} messages/s, "
                    f"{microseconds:.1f} us of the server a message",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
