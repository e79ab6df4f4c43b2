"""What is saved or published, what must hold whenever it is struck, and careless ways of doing it.

Not a test module; strike_everywhere.py goes through the operations of these scenarios.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.artifact import ArtifactError, read_artifact
from model.config import ModelConfig
from model.durable_files import write_file
from model.safetensors_header import encode_header
from model.store import list_versions, publish
from model.weight_files import expected_tensors
from training.checkpoint import CheckpointError, CheckpointStore
from training.checkpoint_folder import encode_state, write_folder
from training.run_directory import RunDirectory


@dataclass(frozen=True)
class Scenario:
    """What lies there before, what is struck, and what must hold after."""

    prepare: Callable[[Path], None]
    act: Callable[[Path], object]
    find_problem: Callable[[Path], str | None]


def _tensors(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    weight = torch.randn(40, 8, generator=generator)
    return {"weight": weight, "moment": weight.to(torch.bfloat16), "rng": generator.get_state()}


def _store(root: Path) -> CheckpointStore:
    return CheckpointStore(
        root / "run" / "checkpoints",
        keep=1,
        announce=lambda _: None,
        retry_delays_seconds=(0.0,),
        sleep=lambda _: None,
    )


def _save(root: Path, step: int) -> None:
    _store(root).save(step, tensors=_tensors(step), state={"at": step}, is_best=step == 10)


def _prepare_checkpoints(root: Path) -> None:
    _save(root, 10)
    _save(root, 20)


def _save_carelessly(root: Path) -> None:
    """The positive control: what a save looks like that has not thought of any of this."""
    directory = root / "run" / "checkpoints"
    shutil.rmtree(directory / "00000020")
    os.mkdir(directory / "00000020")
    write_folder(directory / "00000020", _tensors(20), encode_state(20, {"at": 20}, is_best=False))
    os.rename(directory / "00000020", directory / "00000030")


def _save_without_flushing(root: Path) -> None:
    """The positive control of the power cut: everything but the flushes."""
    setattr(os, "fsync", do_nothing)  # noqa: B010 - of another signature
    _save(root, 30)


def do_nothing(_: object) -> None:
    pass


def _checkpoint_problem(root: Path) -> str | None:
    checkpoints = root / "run" / "checkpoints"
    try:
        latest, best = _store(root).latest(), _store(root).best()
    except CheckpointError as error:
        return str(error)
    if latest is None or latest.step not in {20, 30}:
        return f"latest is {latest and latest.step}"
    if best is None or best.step != 10:
        return f"best is {best and best.step}"
    for checkpoint in (latest, best):
        if problem := _content_problem(checkpoint.tensors, checkpoint.state, checkpoint.step):
            return problem
    if damaged := [p.name for p in checkpoints.iterdir() if not _is_ours(p)]:
        return f"left behind as if they were checkpoints: {damaged}"
    # The next run goes on as if nothing had happened, and sweeps up.
    _save(root, 40)
    names = sorted(p.name for p in checkpoints.iterdir())
    return None if names == ["00000010", "00000040"] else f"after the next save: {names}"


def _is_ours(path: Path) -> bool:
    return path.name.startswith(".work-") or (path / "manifest.json").is_file()


def _content_problem(
    tensors: Mapping[str, Tensor], state: Mapping[str, object], step: int
) -> str | None:
    expected = _tensors(step)
    if set(tensors) != set(expected) or state != {"at": step}:
        return f"step {step} holds other names or state"
    equal = all(torch.equal(tensors[name], expected[name]) for name in expected)
    return None if equal else f"step {step} holds other values"


def _prepare_nothing(root: Path) -> None:
    os.mkdir(root / "run")


def _first_checkpoint_problem(root: Path) -> str | None:
    latest = _store(root).latest()
    if latest is None:
        return None
    return _content_problem(latest.tensors, latest.state, 10)


_CONFIG = ModelConfig(
    vocab_size=12,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=4,
    max_position_embeddings=16,
)


def _write_model(directory: Path, mark: int) -> None:
    """A readable artifact, each of whose files says which publication it belongs to."""
    shapes = expected_tensors(_CONFIG)
    header = encode_header((name, "F32", shape) for name, shape in shapes.items())
    values = [np.full(shape, mark, "<f4").tobytes() for shape in shapes.values()]
    config = json.dumps(_CONFIG.to_dict()).encode()
    write_file(directory / "model.safetensors", [header, *values])
    write_file(directory / "config.json", [config])
    write_file(directory / "generation_config.json", [json.dumps({"mark": mark}).encode()])
    os.mkdir(directory / "ngram")
    write_file(directory / "ngram" / "counts.npy", [bytes([mark])])


def _publish(root: Path, mark: int) -> None:
    publish(root / "alice", lambda work: _write_model(work, mark), manifest={"mark": mark})


def _publish_carelessly(root: Path) -> None:
    """The positive control: files written over the version that is being read."""
    version = root / "alice" / "1"
    for name in ("model.safetensors", "config.json", "generation_config.json"):
        os.unlink(version / name)
    shutil.rmtree(version / "ngram")
    _write_model(version, 2)


def _publish_problem(root: Path) -> str | None:
    name_directory = root / "alice"
    versions = list_versions(name_directory)
    if versions not in {("1",), ("1", "2")}:
        return f"versions {versions}"
    for version in versions:
        directory = name_directory / version
        try:
            artifact = read_artifact(directory)
        except ArtifactError as error:
            return str(error)
        mark = int(version)
        weights = np.fromfile(directory / "model.safetensors", "<f4")[-8:]
        counts = (directory / "ngram" / "counts.npy").read_bytes()
        manifest = artifact.manifest or {}
        found = (manifest.get("mark"), artifact.generation_defaults.get("mark"), counts[0])
        if found != (mark, mark, mark) or not (weights == mark).all():
            return f"version {version} is mixed: {found}, {weights}"
    _publish(root, len(versions) + 1)
    left = [p.name for p in name_directory.iterdir() if not p.name.isdecimal()]
    return f"after the next publication there is {left}" if left else None


def _prepare_settings(root: Path) -> None:
    _prepare_checkpoints(root)
    RunDirectory(root, root / "run").record_settings({"seed": 1})


def _settings_problem(root: Path) -> str | None:
    settings = RunDirectory(root, root / "run").read_settings()
    return None if settings in ({"seed": 1}, {"seed": 2}) else f"settings are {settings}"


def _set_aside_problem(root: Path) -> str | None:
    run = RunDirectory(root, root / "run")
    run.set_aside()
    kept = CheckpointStore(run.path / "previous" / "checkpoints").latest()
    is_empty = not run.checkpoints_path.exists() and run.read_settings() is None
    if kept is None or kept.step != 20 or not is_empty:
        return f"kept {kept and kept.step}, empty is {is_empty}"
    return _content_problem(kept.tensors, kept.state, 20)


SCENARIOS: Mapping[str, Scenario] = {
    "checkpoint": Scenario(_prepare_checkpoints, lambda r: _save(r, 30), _checkpoint_problem),
    "first checkpoint": Scenario(
        _prepare_nothing, lambda r: _save(r, 10), _first_checkpoint_problem
    ),
    "publication": Scenario(lambda r: _publish(r, 1), lambda r: _publish(r, 2), _publish_problem),
    "settings": Scenario(
        _prepare_settings,
        lambda r: RunDirectory(r, r / "run").record_settings({"seed": 2}),
        _settings_problem,
    ),
    "set aside": Scenario(
        _prepare_settings, lambda r: RunDirectory(r, r / "run").set_aside(), _set_aside_problem
    ),
    "careless checkpoint": Scenario(_prepare_checkpoints, _save_carelessly, _checkpoint_problem),
    "unflushed checkpoint": Scenario(
        _prepare_checkpoints, _save_without_flushing, _checkpoint_problem
    ),
    "careless publication": Scenario(
        lambda r: _publish(r, 1), _publish_carelessly, _publish_problem
    ),
}
