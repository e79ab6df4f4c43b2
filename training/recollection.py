"""Going on with a run as it was decided when it began, or, forced, with what may change of it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, cast

from model.artifact import Artifact
from training.config import TrainingConfig
from training.hardware import Hardware, choose_hardware, has_cuda
from training.parallel import Processes
from training.plan import Plan, asked_facts, complete_plan
from training.preparation import Prepared
from training.run_directory import RunDirectory, RunDirectoryError, check_resumable
from training.schedule import StepClock

__all__ = ["Recollection", "recall"]

# Checkpoints fit no other values of these.
_FIXED = (
    "format",
    "parent",
    "tokenizer_sha256",
    "settings.tokenizer.",
    "settings.model.",
    "settings.optimizer.name",
)
_FREE_OF_FIXED = ("settings.model.dropout",)
_HARDWARE = tuple(f"settings.run.{name}" for name in ("device", "dtype", "compile", "threads"))
_LENGTH = (
    "processes",
    "corpus_sha256",
    *(f"settings.schedule.{name}" for name in ("minutes", "epochs", "steps", "batch_tokens")),
)


class Recollection(NamedTuple):
    """A plan as recorded, what was asked for now, and whether anything was changed by force."""

    plan: Plan
    asked: dict[str, object]
    is_changed: bool


def recall(
    config: TrainingConfig,
    recorded: Mapping[str, object],
    *,
    prepared: Prepared,
    parent: Artifact | None,
    processes: Processes,
    run: RunDirectory,
    force: bool,
    announce: Callable[[str], None],
) -> Recollection:
    """Take what an earlier session, or the first process, decided.

    Args:
        config: As the user gives it now.
        recorded: What ``record_plan`` recorded.
        prepared: As it is now.
        parent: As it is now.
        processes: As they are now.
        run: The run's folder.
        force: Whether to go on although something differs.
        announce: Told what is done otherwise than asked.

    Raises:
        RunDirectoryError: Settings, text, tokenizer, processes or the machine differ; names the
            difference.
    """
    asked = asked_facts(config, prepared=prepared, parent=parent, processes=processes)
    differences = check_resumable(cast("Mapping[str, object]", recorded.get("asked", {})), asked)
    for difference in differences:
        if difference.startswith(_FIXED) and not difference.startswith(_FREE_OF_FIXED):
            raise RunDirectoryError(
                f"--resume: {difference}; the checkpoints fit no other, --force or not: start a "
                "new run without --resume"
            )
        if not force:
            raise RunDirectoryError(
                f"--resume: {difference} (--force goes on all the same; without --resume a new "
                "run starts)"
            )
        announce(f"goes on by force although {difference}")
    changed = {difference.partition(":")[0] for difference in differences}
    decided = cast("Mapping[str, Mapping[str, object]]", recorded["decided"])
    schedule = {
        name: value
        for name, value in decided["schedule"].items()
        if f"settings.schedule.{name}" not in changed
    }
    recalled = replace(
        config,
        model=replace(config.model, depth=cast("int", decided["depth"])),
        schedule=replace(config.schedule, **schedule),  # pyright: ignore[reportArgumentType]
    )
    hardware = Hardware(**decided["hardware"])  # pyright: ignore[reportArgumentType]
    if changed & set(_HARDWARE) or (hardware.is_gpu and not has_cuda()):
        if not force:
            raise RunDirectoryError(
                "--resume: the run began on a CUDA device, but torch finds none here "
                "(--force goes on on the CPU)"
            )
        hardware = choose_hardware(
            config.run,
            minutes=StepClock(settings=config.schedule, steps_per_epoch=1.0).minutes,
            processes=processes,
            announce=announce,
        )
    else:
        announce(f"goes on with {hardware.description}, as the run began")
    if hardware.is_gpu:
        hardware = replace(hardware, device=f"cuda:{processes.local_rank}")
    plan = complete_plan(
        recalled,
        hardware=hardware,
        prepared=prepared,
        parent=parent,
        processes=processes,
        run=run,
        is_length_changed=bool(changed & set(_LENGTH)),
    )
    return Recollection(plan=plan, asked=asked, is_changed=bool(differences))
