"""Go through every filesystem operation of a save or a publication, strike there, and look.

Run as `python strike_everywhere.py SCENARIO FOLDER FAULT...`; prints a JSON object by fault: how
many operations there are, how the attempts ended, every problem found. Each attempt is a forked
process.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

from crash_scenarios import SCENARIOS, Scenario, do_nothing
from filesystem_faults import Fault, FaultyFilesystem

from model.artifact import ArtifactError
from training.checkpoint import CheckpointError
from training.run_directory import RunDirectoryError

_MAX_OPERATIONS = 400
_DONE, _REFUSED, _SURVIVED, _UNEXPECTED = 0, 1, 2, 3


def _attempt(scenario: Scenario, root: Path, fault: Fault, at: int) -> int:
    """One forked process with a fault; its exit code, or minus the signal that ended it."""
    process = os.fork()
    if process == 0:
        code = _UNEXPECTED
        try:
            filesystem = FaultyFilesystem(root, fault=fault, at=at)
            with suppress(CheckpointError, ArtifactError, RunDirectoryError):
                code = _REFUSED
                scenario.act(root)
                code = _SURVIVED if filesystem.has_struck else _DONE
            if filesystem.num_unseen_changes:
                print("the disk is changed through calls that are not counted", file=sys.stderr)
                code = _UNEXPECTED
        except BaseException:
            traceback.print_exc()
            code = _UNEXPECTED
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _strike_everywhere(scenario: Scenario, fault: Fault, folder: Path) -> dict[str, object]:
    """Go through all operations of one scenario with one fault."""
    prepared, root = folder / "prepared", folder / "root"
    names = {-signal.SIGKILL: "killed", _REFUSED: "refused", _SURVIVED: "survived"}
    ends: Counter[str] = Counter()
    problems: list[str] = []
    for at in range(_MAX_OPERATIONS):
        shutil.copytree(prepared, root)
        code = _attempt(scenario, root, fault, at)
        left = [path.name for path in root.rglob(".work-*")]
        try:
            if fault is Fault.FULL_DISK and left:
                problem = f"left behind: {left}"
            else:
                problem = scenario.find_problem(root)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            problems.append(f"operation {at}: {problem}")
        shutil.rmtree(root)
        if code == _DONE:
            break
        ends[names.get(code, f"unexpected end {code}")] += 1
    return {"num_operations": ends.total(), "ends": ends, "problems": problems}


def main() -> None:
    """Strike one scenario with each of the faults."""
    scenario, folder = SCENARIOS[sys.argv[1]], Path(sys.argv[2])
    (folder / "prepared").mkdir()
    scenario.prepare(folder / "prepared")
    # What survives a power cut is worked out, not tried: waiting for the real disk shows nothing.
    setattr(os, "fsync", do_nothing)  # noqa: B010 - of another signature
    faults = [Fault(name) for name in sys.argv[3:]]
    print(json.dumps({fault: _strike_everywhere(scenario, fault, folder) for fault in faults}))


if __name__ == "__main__":
    main()
