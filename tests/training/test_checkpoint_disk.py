"""A disk that refuses a checkpoint (H121): waited for, then one clear error."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.checkpoint import CheckpointError, CheckpointStore


def _tensors(step: int) -> dict[str, Tensor]:
    return {"weight": torch.full((3, 4), float(step)), "rng": torch.get_rng_state()}


def _save(store: CheckpointStore, *steps: int, best: int | None = None) -> None:
    for step in steps:
        store.save(step, tensors=_tensors(step), state={"at": step}, is_best=step == best)


def _failing_fsync(failures: list[int]) -> Callable[[int], None]:
    """fsync that raises the given error numbers one after the other, then works."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if failures:
            number = failures.pop(0)
            raise OSError(number, os.strerror(number))
        real(descriptor)

    return fsync


def test_a_full_disk_is_waited_for_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    announced: list[str] = []
    store = CheckpointStore(
        tmp_path,
        announce=announced.append,
        retry_delays_seconds=(1, 5, 20),
        sleep=pauses.append,
    )
    monkeypatch.setattr(os, "fsync", _failing_fsync([errno.ENOSPC, errno.EIO]))
    _save(store, 1)
    assert pauses == [1, 5]
    assert [("No space left" in announced[0]), ("Input/output" in announced[1])] == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]


def test_a_disk_that_stays_full_ends_in_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    store = CheckpointStore(
        tmp_path, announce=lambda _: None, retry_delays_seconds=(1, 5), sleep=pauses.append
    )
    _save(store, 1)
    monkeypatch.setattr(os, "fsync", _failing_fsync([errno.ENOSPC] * 100))
    with pytest.raises(CheckpointError, match=r"step 2 cannot be written to .*: No space left"):
        _save(store, 2)
    assert pauses == [1, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    latest = store.latest()
    assert latest is not None
    assert latest.step == 1


def test_an_error_that_waiting_cannot_cure_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    store = CheckpointStore(tmp_path, sleep=pauses.append)
    monkeypatch.setattr(os, "fsync", _failing_fsync([errno.EROFS]))
    with pytest.raises(CheckpointError, match="Read-only file system"):
        _save(store, 1)
    assert pauses == []
