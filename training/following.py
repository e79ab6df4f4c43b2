"""Every process of a parallel run but the first: trains beside it and shows nothing."""

from collections.abc import Callable
from pathlib import Path

from model.artifact import Artifact
from training.config import TrainingConfig
from training.model_shape import fit_to_parent
from training.parallel import Processes
from training.preparation import reopen
from training.recollection import recall
from training.run_directory import RunDirectory
from training.session import Session
from training.stop_request import stop_on_signals

__all__ = ["follow"]


def follow(
    make_config: Callable[[str], TrainingConfig],
    *,
    out: Path,
    parent: Artifact | None,
    processes: Processes,
    wants_resume: bool,
    started: float,
) -> None:
    """Wait for what the first process leaves in the run's folder, and train on it.

    Args:
        make_config: From a preset's name to the checked settings.
        out: ROOT/NAME.
        parent: Artifact to start from, None for a fresh model.
        processes: Those of the run.
        wants_resume: Whether the run goes on from its newest checkpoint.
        started: Time of the command's start, on ``time.monotonic``'s clock.

    Raises:
        ParallelError: The first process has ended.
    """
    processes.wait()
    run = RunDirectory(out, out / "run")
    recorded = run.read_settings()
    assert recorded is not None, "the first process records the settings before it waits"
    config = make_config(str(recorded["preset"]))
    plan, _, _ = recall(
        fit_to_parent(config, None if parent is None else parent.config),
        recorded,
        prepared=reopen(run.path, parent=None if parent is None else parent.directory),
        parent=parent,
        processes=processes,
        run=run,
        force=True,
        announce=_say_nothing,
    )
    with stop_on_signals(is_first=False) as stop:
        session = Session.build(
            plan,
            processes=processes,
            progress=None,
            stop=stop,
            started=started,
            wants_resume=wants_resume,
        )
        session.trainer.run()


def _say_nothing(line: str) -> None:
    del line
