"""An engine process: loads one model, then steps its engine for the front at the other end.

Started as `python -m service.engine_process --socket-fd N`. It ends when the front does: by the
end of the socket between steps, and by the change of its parent during one.
"""

import argparse
import logging
import os
import resource
import select
import socket
import sys
import threading
import time
from pathlib import Path

import torch

from model.config import ConfigError
from model.weights import WeightsError, load_transformer
from service.engine.engine import Engine, UnsupportedRequestError
from service.engine.frames import LENGTH_BYTES, decode_to_engine, encode_frame, frame_length
from service.engine.messages import (
    Cancel,
    EngineFinish,
    FromEngine,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    Pause,
    Phase,
    Resume,
    Shutdown,
    StepOutput,
    Submit,
    ToEngine,
    TokenOutput,
)
from service.engine.runner import Runner, resolve_device, resolve_dtype

_logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 0.25


class SettingError(ValueError):
    """A setting of the load that this engine does not offer."""


class FrontGoneError(Exception):
    """The front closed its end of the socket, or asked to leave."""


class Channel:
    """The engine's end of the socket: frames in without blocking, frames out from two threads."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray()
        self._lock = threading.Lock()

    def send(self, message: FromEngine) -> None:
        """Write one frame whole; waits while the front does not read."""
        with self._lock:
            self._connection.sendall(encode_frame(message))

    def receive(self, *, wait: bool) -> list[ToEngine]:
        """All messages that are here; with ``wait`` at least one.

        Raises:
            FrontGoneError: The socket has ended.
        """
        messages = self._parse()
        while wait and not messages:
            self._read()
            messages = self._parse()
        while select.select([self._connection], [], [], 0)[0]:
            self._read()
            messages += self._parse()
        return messages

    def _read(self) -> None:
        received = self._connection.recv(1 << 16)
        if not received:
            raise FrontGoneError
        self._buffer += received

    def _parse(self) -> list[ToEngine]:
        messages: list[ToEngine] = []
        while len(self._buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + frame_length(bytes(self._buffer[:LENGTH_BYTES]))
            if len(self._buffer) < end:
                break
            messages.append(decode_to_engine(bytes(self._buffer[LENGTH_BYTES:end])))
            del self._buffer[:end]
        return messages


class EngineLoop:
    """Serves one engine until the front goes."""

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self._channel = channel
        self._phase = Phase.IDLE

    def run(self) -> None:
        """Step while there is work, sleep in the socket while there is none."""
        threading.Thread(target=self._beat, daemon=True).start()
        while True:
            for message in self._channel.receive(wait=not self._engine.has_work):
                match message:
                    case Submit():
                        self._submit(message)
                    case Cancel(request_id, choice):
                        self._engine.cancel(request_id, choice=choice)
                    case Pause(request_id):
                        self._engine.set_paused(request_id, is_paused=True)
                    case Resume(request_id):
                        self._engine.set_paused(request_id, is_paused=False)
                    case Shutdown():
                        raise FrontGoneError
                    case Load():
                        raise AssertionError("an engine loads one model")
            if self._engine.has_work:
                self._phase = Phase.STEPPING
                self._channel.send(self._engine.step())
                self._phase = Phase.IDLE

    def _submit(self, request: Submit) -> None:
        try:
            self._engine.submit(request)
        except UnsupportedRequestError:
            # The front offers nothing of the kind, so this is a bug; it ends one request only.
            _logger.exception("request %d", request.request_id)
            refusal = TokenOutput(request.request_id, 0, [], EngineFinish.INTERNAL_ERROR)
            self._channel.send(
                StepOutput(
                    step=self._engine.step_number,
                    outputs=[refusal],
                    started_ids=[],
                    num_running=self._engine.num_running,
                    num_waiting=self._engine.num_waiting,
                    num_tokens=0,
                    seconds=0.0,
                    num_free_blocks=self._engine.num_free_blocks,
                    num_blocks=self._engine.num_blocks,
                    counters=self._engine.counters,
                )
            )

    def _beat(self) -> None:
        parent = os.getppid()
        while os.getppid() == parent:
            try:
                self._channel.send(
                    Heartbeat(
                        step=self._engine.step_number,
                        phase=self._phase,
                        num_running=self._engine.num_running,
                        num_waiting=self._engine.num_waiting,
                        num_free_blocks=self._engine.num_free_blocks,
                        num_blocks=self._engine.num_blocks,
                        counters=self._engine.counters,
                    )
                )
            except OSError:
                break
            time.sleep(HEARTBEAT_SECONDS)
        # The front is gone while the main thread may be deep in a step.
        os._exit(0)


def build_engine(load: Load) -> tuple[Engine, Loaded]:
    """Load the model and let it compute one token.

    Raises:
        ConfigError, WeightsError, OSError: The folder cannot be served.
        SettingError: It cannot be served in this way.
    """
    began = time.perf_counter()
    if load.executor not in ("auto", "eager"):
        raise SettingError(f"executor must be auto or eager, got {load.executor}")
    if load.kv_cache_tokens is not None:
        raise SettingError(f"kv_cache_tokens is not offered, got {load.kv_cache_tokens}")
    torch.set_num_threads(load.num_threads)
    directory = Path(load.directory)
    device = resolve_device(load.device)
    model = load_transformer(
        directory, device=device, dtype=resolve_dtype(load.dtype, device, directory)
    )
    context_tokens = model.config.max_position_embeddings
    if load.max_context_tokens is not None:
        context_tokens = min(context_tokens, load.max_context_tokens)
    runner = Runner(model, num_slots=load.max_running, max_tokens=context_tokens)
    engine = Engine(runner, num_slots=load.max_running)
    engine.submit(Submit(request_id=0, prompt_ids=[0, 0], max_tokens=1, temperature=0.0))
    while engine.has_work:
        engine.step()
    return engine, Loaded(
        context_tokens=context_tokens,
        num_parameters=model.config.num_parameters,
        device=str(device),
        dtype=str(model.output_weight.dtype).removeprefix("torch."),
        kv_cache_bytes=runner.kv_cache_bytes,
        load_seconds=time.perf_counter() - began,
        kv_block_tokens=context_tokens,
        num_blocks=load.max_running,
        executor="eager",
        resident_bytes=_resident_bytes(),
    )


def _resident_bytes() -> int:
    """Memory of this process that is not swapped out."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    # Elsewhere the largest it ever was; macOS counts it in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> int:
    """Run an engine until the front goes; 1 when its model could not be loaded."""
    parser = argparse.ArgumentParser(description="Internal: started by nextword-serve.")
    parser.add_argument("--socket-fd", type=int, required=True)
    descriptor: int = parser.parse_args().socket_fd
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="engine: %(message)s")
    channel = Channel(socket.socket(fileno=descriptor))
    try:
        (load,) = channel.receive(wait=True)
        assert isinstance(load, Load)
        try:
            engine, loaded = build_engine(load)
        except (ConfigError, WeightsError, SettingError, OSError, torch.OutOfMemoryError) as error:
            channel.send(LoadFailed(f"{load.directory}: {error}"))
            return 1
        channel.send(loaded)
        EngineLoop(engine, channel).run()
    except (FrontGoneError, BrokenPipeError, ConnectionResetError):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
