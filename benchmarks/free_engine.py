"""An engine process that computes nothing: the same few words for every request, at once.

It speaks the frames of a real one, so that what is measured with it is the front alone. Started by
the front as `python -m benchmarks.free_engine --socket-fd N`; NEXTWORD_FREE_ENGINE names a file in
which `stream_counters` says what clients have, and how many steps it may be ahead of them.
"""

import argparse
import mmap
import os
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from model.tokenizer import Tokenizer
from service.engine.frames import encode_frame
from service.engine.messages import (
    Cancel,
    EngineFinish,
    Heartbeat,
    Load,
    Loaded,
    Pause,
    Phase,
    Resume,
    Shutdown,
    StepCounters,
    StepOutput,
    Submit,
    TokenOutput,
)
from service.engine_link.engine_channel import Channel, FrontGoneError

__all__ = ["HELD_SEED", "PROGRESS", "PROGRESS_VARIABLE"]

PROGRESS_VARIABLE = "NEXTWORD_FREE_ENGINE"
# Messages that the clients have received, and the steps that the engine may be ahead of them; 0 is
# as many as the service lets it be.
PROGRESS = struct.Struct("<qq")
# Requests with this seed wait for ever, as in a queue that does not move.
HELD_SEED = 4711
BEAT_SECONDS = 0.25
WAIT_SECONDS = 0.00002
NUM_WORDS = 64
NUM_BLOCKS = 1 << 20
# Steps that are written at once where the engine may be that far ahead.
MAX_STEPS_AT_ONCE = 32
# Tokens of a request that a step makes where nobody asks for single ones: as many as the kernels of
# a CPU draw in one run.
RUN_TOKENS = 4


@dataclass(slots=True)
class _Running:
    """A request, and how much of it there is."""

    request: Submit
    num_made: int = 0
    is_paused: bool = False


class FreeEngine:
    """Gives each running request its next tokens in each step.

    Args:
        connection: To the front.
        word_ids: What it says, again and again.
        progress: Of the clients.
    """

    def __init__(
        self, connection: socket.socket, *, word_ids: list[int], progress: mmap.mmap
    ) -> None:
        self._connection = connection
        self._channel = Channel(connection)
        self._word_ids = word_ids
        self._progress = progress
        self._running: dict[int, _Running] = {}
        self._started: list[int] = []
        self._num_sent = 0
        self._step = 0
        self._next_beat_at = 0.0
        # Whether the clients say how far it may go.
        self._is_held_back = False

    def run(self) -> None:
        """Serve until the front goes."""
        while True:
            num_active = self._num_active()
            self._beat(Phase.STEPPING if num_active else Phase.IDLE)
            wait_seconds = 0.0 if num_active else BEAT_SECONDS
            for message in self._channel.receive(wait_seconds=wait_seconds):
                self._obey(message)
            num_active = self._num_active()
            if num_steps := self._num_allowed(num_active):
                run_tokens = 1 if self._is_held_back else RUN_TOKENS
                frames = [self._make_step(run_tokens) for _ in range(num_steps)]
                self._connection.sendall(b"".join(frames))
            elif num_active:
                time.sleep(WAIT_SECONDS)

    def _num_active(self) -> int:
        return sum(not each.is_paused for each in self._running.values())

    def _num_allowed(self, num_active: int) -> int:
        """Steps that may be made now."""
        if not num_active:
            return 0
        num_received, num_ahead = PROGRESS.unpack_from(self._progress)
        self._is_held_back = num_ahead > 0
        if not num_ahead:
            return 1
        room = num_ahead - (self._num_sent - num_received) // num_active
        return max(0, min(room, MAX_STEPS_AT_ONCE))

    def _obey(self, message: object) -> None:
        match message:
            case Submit() if message.seed == HELD_SEED:
                pass
            case Submit():
                if not self._running:
                    self._num_sent = 0
                self._running[message.request_id] = _Running(message)
                self._started.append(message.request_id)
            case Cancel(request_id):
                self._running.pop(request_id, None)
            case Pause(request_id) | Resume(request_id):
                if (running := self._running.get(request_id)) is not None:
                    running.is_paused = isinstance(message, Pause)
            case Shutdown():
                raise FrontGoneError
            case _:
                raise AssertionError(message)

    def _make_step(self, run_tokens: int) -> bytes:
        self._step += 1
        outputs: list[TokenOutput] = []
        for number, running in list(self._running.items()):
            if running.is_paused:
                continue
            begin = running.num_made % (len(self._word_ids) - RUN_TOKENS + 1)
            left = running.request.max_tokens - running.num_made
            words = self._word_ids[begin : begin + min(run_tokens, left)]
            running.num_made += len(words)
            is_last = len(words) == left
            finish = EngineFinish.LENGTH if is_last else None
            outputs.append(TokenOutput(number, 0, words, finish))
            if is_last:
                del self._running[number]
        num_tokens = sum(len(output.token_ids) for output in outputs)
        self._num_sent += num_tokens
        started, self._started = self._started, []
        return encode_frame(
            StepOutput(
                step=self._step,
                outputs=outputs,
                started_ids=started,
                num_running=len(self._running),
                num_waiting=0,
                num_tokens=num_tokens,
                seconds=0.001,
                num_free_blocks=NUM_BLOCKS,
                num_blocks=NUM_BLOCKS,
                counters=StepCounters(),
            )
        )

    def _beat(self, phase: Phase) -> None:
        if time.monotonic() < self._next_beat_at:
            return
        self._next_beat_at = time.monotonic() + BEAT_SECONDS
        self._channel.send(
            Heartbeat(
                step=self._step,
                phase=phase,
                num_running=len(self._running),
                num_waiting=0,
                num_free_blocks=NUM_BLOCKS,
                num_blocks=NUM_BLOCKS,
                counters=StepCounters(),
            )
        )


def _words(tokenizer: Tokenizer) -> list[int]:
    """Tokens that are a whole word of plain letters each, as most tokens of a text are."""
    found: list[int] = []
    for token_id in range(tokenizer.vocab_size):
        data = tokenizer.token_bytes(token_id)
        if data[:1] == b" " and data[1:].isalpha() and len(data) in (4, 5, 6) and data.isascii():
            found.append(token_id)
            if len(found) == NUM_WORDS:
                break
    return found


def main() -> int:
    """Run until the front goes."""
    parser = argparse.ArgumentParser(description="Internal: started by benchmarks/transport.py.")
    parser.add_argument("--socket-fd", type=int, required=True)
    descriptor: int = parser.parse_args().socket_fd
    connection = socket.socket(fileno=descriptor)
    with Path(os.environ[PROGRESS_VARIABLE]).open("rb") as file:
        progress = mmap.mmap(file.fileno(), PROGRESS.size, access=mmap.ACCESS_READ)
    try:
        (load,) = Channel(connection).receive(wait_seconds=None)
        assert isinstance(load, Load)
        loaded = Loaded(
            context_tokens=load.max_context_tokens or 1,
            num_parameters=0,
            device="none",
            dtype="float32",
            kv_cache_bytes=0,
            load_seconds=0.0,
            kv_block_tokens=16,
            num_blocks=NUM_BLOCKS,
            executor="free",
            deterministic=True,
            resident_bytes=0,
        )
        connection.sendall(encode_frame(loaded))
        words = _words(Tokenizer.load(Path(load.directory)))
        FreeEngine(connection, word_ids=words, progress=progress).run()
    except (FrontGoneError, BrokenPipeError, ConnectionResetError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
