"""Start an engine process at the other end of a socket pair, and end it. Torch-free."""

import asyncio
import os
import socket
import subprocess
import sys
from dataclasses import dataclass

import msgspec

from service.engine.messages import Load, Loaded, LoadFailed
from service.engine_link.engine_socket import EngineSocket

__all__ = ["EngineConnection", "EngineLoadError", "launch_engine"]


# What the process runs. A campaign's own front names another one, which breaks the engine.
ENGINE_MODULE = "service.engine_link.engine_start"

# What a process that has closed its socket gets to end with a status of its own.
LAST_SECONDS = 5.0


class EngineLoadError(Exception):
    """An engine process could not load its model; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class EngineConnection:
    """A process with a loaded model, and the front's end of its socket."""

    process: subprocess.Popen[bytes]
    socket: EngineSocket
    loaded: Loaded

    async def end(self) -> None:
        """Kill the process if it still runs, and wait for its end."""
        self.socket.close()
        await _end(self.process)


async def launch_engine(load: Load, *, in_background: bool = False) -> EngineConnection:
    """Start a process and wait until its model has computed a first token.

    Args:
        load: The model.
        in_background: Load it at the lowest priority, since other engines are serving.

    Raises:
        EngineLoadError: The model cannot be served, or the process ended, or none could be started.
    """
    try:
        process, ours = _start_process(load, in_background=in_background)
    except OSError as error:
        # Out of file descriptors, processes or memory; that may pass, so it is no bug of ours.
        reason = error.strerror or str(error)
        raise EngineLoadError(
            f"{load.directory}: no engine process can be started: {reason}"
        ) from None
    close = ours.close
    try:
        link = await EngineSocket.open(ours)
        close = link.close
        link.send(msgspec.structs.replace(load, in_background=in_background))
        match await link.first():
            case Loaded() as loaded:
                return EngineConnection(process, link, loaded)
            case LoadFailed(message):
                raise EngineLoadError(message)
            case _:
                raise EngineLoadError(f"{load.directory}: the engine spoke out of turn")
    except (EOFError, OSError):
        close()
        await _end(process, patience_seconds=LAST_SECONDS)
        raise EngineLoadError(
            f"{load.directory}: the engine process ended with status {process.returncode}"
        ) from None
    except BaseException:
        close()
        await _end(process)
        raise


def _start_process(
    load: Load, *, in_background: bool
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A process and our end of its socket; nothing stays open when it cannot be started."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", ENGINE_MODULE, "--socket-fd", str(theirs.fileno())]
        try:
            # Some microseconds of vfork and exec; nothing of ours runs between the two.
            process = subprocess.Popen(
                [*command, *(["--background"] if in_background else [])],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # A Ctrl-C in the terminal is for the front, which drains first.
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": str(load.num_threads)},
            )
        except BaseException:
            ours.close()
            raise
    return process, ours


async def _end(process: subprocess.Popen[bytes], *, patience_seconds: float = 0.0) -> None:
    """Wait for the end of a process; kill it when it does not end by itself in time."""
    try:
        await asyncio.to_thread(process.wait, patience_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)
