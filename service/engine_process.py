"""An engine process: loads one model, then steps its engine for the front at the other end.

Started as `python -m service.engine_process --socket-fd N`. It ends when the front does: by the
end of the socket between steps, and by the change of its parent during one.
"""

import argparse
import logging
import os
import select
import socket
import sys
import threading
import time
from pathlib import Path

import torch

from model.config import ConfigError
from model.weights import WeightsError, load_transformer
from service.engine.engine import Engine
from service.engine.messages import (
    LENGTH_BYTES,
    Cancel,
    FromEngine,
    Heartbeat,
    Load,
    Loaded,
    LoadFailed,
    Phase,
    Shutdown,
    Submit,
    ToEngine,
    decode_to_engine,
    encode_frame,
    frame_length,
)
from service.engine.runner import Runner, resolve_device, resolve_dtype

HEARTBEAT_SECONDS = 0.25


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
                        self._engine.submit(message)
                    case Cancel(request_id):
                        self._engine.cancel(request_id)
                    case Shutdown():
                        raise FrontGoneError
                    case Load():
                        raise AssertionError("an engine loads one model")
            if self._engine.has_work:
                self._phase = Phase.STEPPING
                self._channel.send(self._engine.step())
                self._phase = Phase.IDLE

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
    """
    began = time.perf_counter()
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
    )


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
        except (ConfigError, WeightsError, OSError, torch.OutOfMemoryError) as error:
            channel.send(LoadFailed(f"{load.directory}: {error}"))
            return 1
        channel.send(loaded)
        EngineLoop(engine, channel).run()
    except (FrontGoneError, BrokenPipeError, ConnectionResetError):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
