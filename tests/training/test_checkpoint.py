"""Checkpoints come back exactly, damaged ones are passed over, old ones go only when they may."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from training.checkpoint import Checkpoint, CheckpointError, CheckpointStore

DTYPES = (
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.uint16, torch.uint32, torch.uint64),
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@st.composite
def some_tensors(draw: st.DrawFn) -> Tensor:
    """Any type and shape, contiguous or not, with ordinary and extreme finite values."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 100)))
    if not dtype.is_floating_point:
        return torch.randint(0, 2, shape, generator=generator).to(dtype)
    limits = torch.finfo(dtype)
    values = torch.randn(shape, generator=generator).to(dtype)
    if values.numel():
        extremes = [limits.max, limits.min, limits.smallest_normal, limits.tiny / 2, -0.0]
        values.view(-1)[0] = draw(st.sampled_from(extremes))
    return values.mT if values.ndim == 2 and draw(st.booleans()) else values


def _same(left: Tensor, right: Tensor) -> bool:
    """Equal to the bit, sign of zero included."""
    bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (left, right)]
    same_kind = left.dtype == right.dtype and left.shape == right.shape
    return same_kind and torch.equal(bits[0], bits[1])


def _tensors(step: int) -> dict[str, Tensor]:
    return {"weight": torch.full((3, 4), float(step)), "rng": torch.get_rng_state()}


def _save(store: CheckpointStore, *steps: int, best: int | None = None) -> None:
    for step in steps:
        store.save(step, tensors=_tensors(step), state={"at": step}, is_best=step == best)


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def _step(checkpoint: Checkpoint | None) -> int | None:
    return checkpoint.step if checkpoint else None


@given(
    tensors=st.dictionaries(st.text(min_size=1), some_tensors(), max_size=4),
    state=st.dictionaries(st.text(), json_values, max_size=4),
    step=st.integers(0, 10**12),
    is_best=st.booleans(),
)
def test_what_is_saved_comes_back_to_the_bit(
    tensors: dict[str, Tensor],
    state: dict[str, object],
    step: int,
    is_best: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("run"))
    tensors.pop("__metadata__", None)
    store.save(step, tensors=tensors, state=state, is_best=is_best)
    checkpoint = store.latest()
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.is_best) == (step, is_best)
    assert checkpoint.state == state
    assert set(checkpoint.tensors) == set(tensors)
    assert all(_same(checkpoint.tensors[name], tensors[name]) for name in tensors)


def test_the_tensors_are_an_ordinary_safetensors_file(tmp_path: Path) -> None:
    tensors = {
        "w": torch.randn(3, 5, dtype=torch.float64),
        "b": torch.ones(7, dtype=torch.bfloat16),
    }
    directory = CheckpointStore(tmp_path).save(1, tensors=tensors, state={}, is_best=False)
    loaded = load_file(directory / "tensors.safetensors")
    assert all(_same(loaded[name], tensors[name]) for name in tensors)


def test_generators_continue_where_they_were_saved(tmp_path: Path) -> None:
    torch.manual_seed(7)
    source = random.Random(7)
    state: dict[str, object] = {"python": source.getstate()}
    store = CheckpointStore(tmp_path)
    store.save(1, tensors={"rng": torch.get_rng_state()}, state=state, is_best=False)
    expected = torch.rand(5), [source.random() for _ in range(5)]
    checkpoint = store.latest()
    assert checkpoint is not None
    torch.set_rng_state(checkpoint.tensors["rng"])
    version, words, gauss = cast("tuple[int, list[int], None]", checkpoint.state["python"])
    source.setstate((version, tuple(words), gauss))
    assert torch.equal(torch.rand(5), expected[0])
    assert [source.random() for _ in range(5)] == expected[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_tensors_of_a_gpu_come_back_on_the_cpu(tmp_path: Path) -> None:
    tensor = torch.randn(33, 7, device="cuda", dtype=torch.bfloat16)
    store = CheckpointStore(tmp_path)
    store.save(1, tensors={"w": tensor}, state={}, is_best=False)
    checkpoint = store.latest()
    assert checkpoint is not None
    assert _same(checkpoint.tensors["w"], tensor.cpu())


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 4
    path.write_bytes(data)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", [_truncate, _flip, _empty, Path.unlink])
def test_a_damaged_newest_is_announced_and_passed_over(
    damage: Callable[[Path], None], file: str, tmp_path: Path
) -> None:
    announced: list[str] = []
    store = CheckpointStore(tmp_path, announce=announced.append)
    _save(store, 10, 20, best=20)
    damage(tmp_path / "00000020" / file)
    assert (_step(store.latest()), _step(store.best())) == (10, None)
    assert len(announced) == 1
    assert "damaged checkpoint is skipped" in announced[0]
    assert file in announced[0]


@given(file=st.sampled_from(["tensors.safetensors", "state.json", "manifest.json"]), data=st.data())
def test_any_flipped_bit_yields_the_old_or_the_same(
    file: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("run")
    store = CheckpointStore(directory, announce=lambda _: None)
    _save(store, 10, 20)
    path = directory / "00000020" / file
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    latest = store.latest()
    assert latest is not None
    assert latest.step in {10, 20}
    # A flipped space of the manifest changes nothing; every other bit is covered by a digest.
    assert latest.state == {"at": latest.step}
    assert torch.equal(latest.tensors["weight"], torch.full((3, 4), float(latest.step)))
    assert latest.step == 10 or file == "manifest.json"


def test_when_every_checkpoint_is_damaged_training_does_not_start_afresh(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, announce=lambda _: None)
    _save(store, 10, 20)
    for name in ("00000010", "00000020"):
        _truncate(tmp_path / name / "tensors.safetensors")
    with pytest.raises(CheckpointError, match="none of 2 checkpoints"):
        store.latest()


def test_a_checkpoint_renamed_to_another_step_is_not_taken_for_it(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, announce=lambda _: None)
    _save(store, 10, 20)
    (tmp_path / "00000020").rename(tmp_path / "00000030")
    assert _step(store.latest()) == 10


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path).latest() is None
    assert CheckpointStore(tmp_path / "nowhere").best() is None


def test_the_newest_and_the_newest_best_stay(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    _save(store, 1, 2, 3, 4, 5, best=2)
    assert _names(tmp_path) == ["00000002", "00000004", "00000005"]
    _save(store, 6, best=6)
    assert _names(tmp_path) == ["00000005", "00000006"]
    assert _step(store.best()) == 6


def test_steps_beyond_eight_digits_are_ordered_by_number(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    _save(store, 99_999_999, 100_000_000)
    assert _step(store.latest()) == 100_000_000


def test_damaged_checkpoints_do_not_count_as_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2, announce=lambda _: None)
    _save(store, 1, 2)
    (tmp_path / "00000002" / "manifest.json").unlink()
    _save(store, 3)
    assert _names(tmp_path) == ["00000001", "00000002", "00000003"]
    _save(store, 4)
    assert _names(tmp_path) == ["00000003", "00000004"]


def test_saving_a_step_again_leaves_the_first_alone_and_wins(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    _save(store, 5)
    store.save(5, tensors={"w": torch.zeros(1)}, state={"second": True}, is_best=False)
    assert _names(tmp_path) == ["00000005", "00000005-1"]
    latest = store.latest()
    assert latest is not None
    assert latest.state == {"second": True}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_not_finite_never_replace_good_ones(
    value: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    _save(store, 10)
    spoiled = torch.zeros(9, dtype=dtype)
    spoiled[8] = value
    with pytest.raises(CheckpointError, match="step 20 is not written: tensor w holds NaN"):
        store.save(20, tensors={"w": spoiled}, state={}, is_best=True)
    assert _names(tmp_path) == ["00000010"]


@pytest.mark.parametrize(
    "state",
    [{"loss": float("nan")}, {"a": {1, 2}}, {"a": b"x"}, {1: 0, "1": 0}, {"a": torch.ones(1)}],
    ids=["nan", "set", "bytes", "keys that collide", "tensor"],
)
def test_state_that_json_cannot_carry_is_refused_before_anything_is_written(
    state: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="step 1 is not written"):
        CheckpointStore(tmp_path / "new").save(1, tensors={}, state=state, is_best=False)
    assert not (tmp_path / "new").exists()


def test_a_tensor_type_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    tensors = {"w": torch.ones(2, dtype=torch.complex64)}
    with pytest.raises(CheckpointError, match=r"tensor w: type torch\.complex64"):
        CheckpointStore(tmp_path).save(1, tensors=tensors, state={}, is_best=False)


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="keep must be at least 1, got 0"):
        CheckpointStore(tmp_path, keep=0)


def test_state_of_the_future_format_is_not_misread(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, announce=lambda _: None)
    _save(store, 1, 2)
    path = tmp_path / "00000002" / "manifest.json"
    manifest = json.loads(path.read_text("utf-8")) | {"format_version": 2}
    path.write_text(json.dumps(manifest), "utf-8")
    assert _step(store.latest()) == 1
