"""What is decided before training starts: hardware, sizes and shape, and what of it is recorded.

A fresh run decides and records; a resumed run, and every process but the first, takes what was
recorded (see ``training.recollection``), so that all of them compute the same.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from model.artifact import Artifact
from model.config import ModelConfig
from training.config import TrainingConfig
from training.derive import derive_settings, expectations
from training.hardware import Hardware, choose_hardware
from training.model_shape import model_config
from training.parallel import Processes
from training.preparation import Prepared
from training.run_directory import RunDirectory
from training.schedule import StepClock

__all__ = ["Plan", "asked_facts", "complete_plan", "decide", "record_plan"]

# Of what a run's folder holds: a change of meaning makes older runs impossible to resume.
_RUN_FORMAT = 2
# What is watched, kept or published does not change what is learned.
_FREE_RUN_SETTINGS = (
    "metrics_port",
    "metrics_host",
    "checkpoint_minutes",
    "keep_checkpoints",
    "sample_prompt",
    "sample_tokens",
    "final_samples",
    "export_dtype",
    "max_shard_megabytes",
)


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
        checkpoints_path: Folder of the run's checkpoints.
        is_length_changed: Whether a resumed run has to find its number of steps anew.
    """

    config: TrainingConfig
    hardware: Hardware
    shape: ModelConfig
    prepared: Prepared
    parent: Artifact | None
    minutes: float
    checkpoints_path: Path
    is_length_changed: bool = False

    def expectations(self, *, num_processes: int) -> Iterator[str]:
        """Plain lines about what this run can and cannot give."""
        return expectations(
            hardware=self.hardware,
            minutes=self.minutes,
            num_processes=num_processes,
            num_parameters=self.shape.num_parameters,
            num_train_tokens=int(self.prepared.files.train.size),
            train_bytes=self.prepared.files.train_bytes,
            has_parent=self.parent is not None,
        )


def decide(
    config: TrainingConfig,
    *,
    prepared: Prepared,
    parent: Artifact | None,
    processes: Processes,
    run: RunDirectory,
    announce: Callable[[str], None],
) -> Plan:
    """Decide what is "auto" or 0.

    Raises:
        ConfigurationError: Settings contradict each other or the machine.
    """
    hardware = choose_hardware(
        config.run,
        minutes=StepClock(settings=config.schedule, steps_per_epoch=1.0).minutes,
        processes=processes,
        announce=announce,
    )
    return complete_plan(
        config,
        hardware=hardware,
        prepared=prepared,
        parent=parent,
        processes=processes,
        run=run,
        is_length_changed=False,
    )


def complete_plan(
    config: TrainingConfig,
    *,
    hardware: Hardware,
    prepared: Prepared,
    parent: Artifact | None,
    processes: Processes,
    run: RunDirectory,
    is_length_changed: bool,
) -> Plan:
    """Derive every setting that is left at 0; what is set already stays.

    Raises:
        ConfigurationError: Settings contradict each other.
    """
    minutes = StepClock(settings=config.schedule, steps_per_epoch=1.0).minutes
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
    shape = (
        parent.config
        if parent is not None
        else model_config(
            derived.model,
            depth=derived.model.depth,
            vocab_size=prepared.tokenizer.vocab_size,
            end_of_text_id=prepared.end_of_text_id,
        )
    )
    return Plan(
        config=derived,
        hardware=hardware,
        shape=shape,
        prepared=prepared,
        parent=parent,
        minutes=minutes,
        checkpoints_path=run.checkpoints_path,
        is_length_changed=is_length_changed,
    )


def record_plan(
    run: RunDirectory, plan: Plan, *, asked: dict[str, object], preset: str
) -> dict[str, object]:
    """Write down what was asked for and what was decided; returns it.

    Raises:
        RunDirectoryError: The disk refused it.
    """
    record: dict[str, object] = {
        "asked": asked,
        "preset": preset,
        "decided": {
            "hardware": asdict(plan.hardware),
            "depth": plan.config.model.depth,
            "schedule": asdict(plan.config.schedule),
        },
    }
    run.record_settings(record)
    return record


def asked_facts(
    config: TrainingConfig, *, prepared: Prepared, parent: Artifact | None, processes: Processes
) -> dict[str, object]:
    """Everything that has to be equal for a resumed run to be the same run."""
    settings = asdict(config)
    for name in _FREE_RUN_SETTINGS:
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
