"""What the programs of other people's packages say of a server. Standard library only.

Status 0: all checks held, their number is on the last line. 3: one did not, which the last line
names. Anything else: the program fell over.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["GRPC", "KEY", "MODEL", "MODEL_FOLDER", "REST", "SCRATCH", "equal", "holds", "run"]

REST = os.environ["COMPAT_REST"]
GRPC = os.environ["COMPAT_GRPC"]
KEY = os.environ["COMPAT_KEY"]
MODEL = os.environ["COMPAT_MODEL"]
MODEL_FOLDER = Path(os.environ["COMPAT_MODEL_FOLDER"])
SCRATCH = Path(os.environ["COMPAT_SCRATCH"])
WRONG = 3

_num_held = 0


class _WrongError(Exception):
    """A check did not hold."""


def equal(what: str, found: object, expected: object) -> None:
    """Two values are to be the same."""
    holds(f"{what}: found {found!r:.200}, expected {expected!r:.200}", found == expected)


def holds(what: str, is_so: object) -> None:
    """Something is to be so."""
    global _num_held
    if not is_so:
        raise _WrongError(what)
    _num_held += 1


def run(main: Callable[[], None]) -> None:
    """Run a program, and end with its status."""
    try:
        main()
    except _WrongError as wrong:
        print(f"WRONG {wrong}")
        sys.exit(WRONG)
    print(_num_held)
    # What the packages leave running has nothing more to say.
    sys.stdout.flush()
    os._exit(0)
