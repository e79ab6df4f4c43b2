"""What is decided before training starts: hardware, sizes and shape, fresh or as recorded.

A fresh run decides and records; a resumed run, and every process but the first, takes what was
recorded, so that all of them compute the same.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import cast

from model.artifact import Artifact
from model.config import ModelConfig
from training.config import ConfigurationError, TrainingConfig
from training.derive import derive_settings
from training.hardware import Hardware, choose_hardware
from training.model_shape import model_config
from training.parallel import Processes
from training.preparation import Prepared
from training.run_directory import RunDirectory, RunDirectoryError, check_resumable
from training.schedule import StepClock

__all__ = ["Plan", "decide", "recall"]

# Of what a run's folder holds: a change of meaning makes older runs impossible to resume.
_RUN_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that only has to be carried out.

    Attributes:
        config: With every derived setting filled in.
        hardware: Where and how to compute.
        shape: Of the network.
        prepared: Tokenizer and tokens.
        parent: Artifact to start from, None for fresh weights.
        minutes: Time limit in force, 0 where steps or epochs count.
    """

    config: TrainingConfig
    hardware: Hardware
    shape: ModelConfig
    prepared: Prepared
    parent: Artifact | None
    minutes: float


def decide(
    config: TrainingConfig,
    *,
    prepared: Prepared,
    parent: Artifact | None,
    processes: Processes,
    run: RunDirectory,
    preset: str,
    announce: Callable[[str], None],
) -> Plan:
    """Decide what is "auto" or 0, and record it with everything the result depends on.

    Raises:
        ConfigurationError: Settings contradict each other or the machine.
        RunDirectoryError: The disk refused the record.
    """
    if parent is not None and config.model.context_length > parent.config.max_position_embeddings:
        raise ConfigurationError(
            f"model.context_length must be at most the parent's "
            f"({parent.config.max_position_embeddings}), got {config.model.context_length}"
        )
    minutes = StepClock(settings=config.schedule, steps_per_epoch=1.0).minutes
    hardware = choose_hardware(
        config.run, minutes=minutes, local_rank=processes.local_rank, announce=announce
    )
    derived = derive_settings(
        config,
        hardware=hardware,
        minutes=minutes,
        num_train_tokens=int(prepared.files.train.size),
        vocab_size=prepared.tokenizer.vocab_size,
        end_of_text_id=prepared.end_of_text_id,
        num_processes=processes.count,
        fixed_parameters=None if parent is None else parent.config.num_parameters,
    )
    decided = {
        "hardware": asdict(hardware),
        "model": asdict(derived.model),
        "schedule": asdict(derived.schedule),
    }
    asked = _asked(config, prepared, parent, processes)
    run.record_settings({"asked": asked, "decided": decided, "preset": preset})
    return _plan(derived, hardware, prepared, parent, minutes)


def recall(
    config: TrainingConfig,
    recorded: Mapping[str, object],
    *,
    prepared: Prepared,
    parent: Artifact | None,
    processes: Processes,
    force: bool,
) -> Plan:
    """Take what an earlier session, or the first process, decided.

    Args:
        config: As the user gives it now.
        recorded: What ``decide`` recorded.
        prepared: As it is now.
        parent: As it is now.
        processes: As they are now.
        force: Whether to go on although something differs.

    Raises:
        RunDirectoryError: Settings, text, tokenizer or processes differ; names the difference.
    """
    before = cast("Mapping[str, object]", recorded.get("asked", {}))
    now = _asked(config, prepared, parent, processes)
    differences = check_resumable(before, now)
    if differences and not force:
        raise RunDirectoryError(
            f"--resume: {differences[0]} (--force goes on all the same; without --resume a new run "
            "starts)"
        )
    decided = cast("Mapping[str, Mapping[str, object]]", recorded["decided"])
    hardware = Hardware(**decided["hardware"])  # pyright: ignore[reportArgumentType]
    if hardware.is_gpu:
        hardware = replace(hardware, device=f"cuda:{processes.local_rank}")
    derived = replace(
        config,
        model=replace(config.model, **decided["model"]),
        schedule=replace(config.schedule, **decided["schedule"]),
    )
    minutes = StepClock(settings=config.schedule, steps_per_epoch=1.0).minutes
    return _plan(derived, hardware, prepared, parent, minutes)


def _plan(
    config: TrainingConfig,
    hardware: Hardware,
    prepared: Prepared,
    parent: Artifact | None,
    minutes: float,
) -> Plan:
    shape = (
        parent.config
        if parent is not None
        else model_config(
            config.model,
            depth=config.model.depth,
            vocab_size=prepared.tokenizer.vocab_size,
            end_of_text_id=prepared.end_of_text_id,
        )
    )
    return Plan(
        config=config,
        hardware=hardware,
        shape=shape,
        prepared=prepared,
        parent=parent,
        minutes=minutes,
    )


def _asked(
    config: TrainingConfig, prepared: Prepared, parent: Artifact | None, processes: Processes
) -> dict[str, object]:
    """Everything that has to be equal for a resumed run to be the same run."""
    settings = asdict(config)
    # Where it is watched and how often it is saved does not change what is learned.
    for name in ("metrics_port", "checkpoint_minutes", "keep_checkpoints", "export_dtype"):
        settings["run"].pop(name)
    asked = {
        "format": _RUN_FORMAT,
        "settings": settings,
        "processes": processes.count,
        "parent": None if parent is None else f"{parent.name}@{parent.version}",
        "corpus_sha256": prepared.corpus_sha256,
        "tokenizer_sha256": prepared.tokenizer_sha256,
    }
    return cast("dict[str, object]", json.loads(json.dumps(asked)))
