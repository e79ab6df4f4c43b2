"""Checkpoints are written and read without pickle (H2), shown in a process where it is gone."""

import subprocess
import sys
from pathlib import Path


def test_saving_and_loading_use_no_pickle(tmp_path: Path) -> None:
    program = """
import pickle, sys, torch
from pathlib import Path
def refuse(*_, **__): raise SystemExit("pickle was used")
for name in ("load", "loads", "dump", "dumps", "Pickler", "Unpickler"):
    setattr(pickle, name, refuse)
from training.checkpoint import CheckpointStore
store = CheckpointStore(Path(sys.argv[1]))
store.save(1, tensors={"w": torch.ones(2), "rng": torch.get_rng_state()}, state={}, is_best=True)
assert torch.equal(store.latest().tensors["w"], torch.ones(2))
"""
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
