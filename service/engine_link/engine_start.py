"""The first lines of an engine process: it dies with its parent, and imports torch at its leisure.

Started as `python -m service.engine_link.engine_start --socket-fd N [--background]`. Torch-free
until it calls `service.engine_process`.
"""

import ctypes
import importlib
import os
import signal
import sys
from types import ModuleType

from service.low_priority import run_at_low_priority

__all__ = ["main"]

BACKGROUND_FLAG = "--background"
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Become an engine process; its exit status."""
    _leave_signals_to_front()
    _die_with_parent()
    is_background = BACKGROUND_FLAG in sys.argv
    if is_background:
        sys.argv.remove(BACKGROUND_FLAG)
    process = run_at_low_priority(_import) if is_background else _import()
    return process.main()


def _leave_signals_to_front() -> None:
    """Ignore what asks a whole process group or service to end, as init systems send it.

    The front drains first and needs its engine for that. An engine ends by a message, by the end
    of its socket, with its parent, or by SIGKILL.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _import() -> ModuleType:
    return importlib.import_module("service.engine_process")


def _die_with_parent() -> None:
    """Let the kernel end this process with its parent, even in the middle of loading a model.

    Elsewhere than on Linux the heartbeat notices the change of parent later.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died in between, and no signal will come for that.
        sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
