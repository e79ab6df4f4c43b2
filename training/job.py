"""The whole job, from the settings to a published version: the composition root of training.

``run_job`` reads as the job goes: open the run's folder, read the corpus, make tokenizer and
tokens, train the n-gram model, decide what was left open, train the network, publish the best.
Of several processes the first does all of it; the others only train.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from model.artifact import Artifact, read_artifact
from training.checkpoint import CheckpointStore
from training.completion import complete_run, parent_facts
from training.config import TrainingConfig
from training.corpus import Corpus, load_corpus
from training.following import follow
from training.model_shape import fit_to_parent
from training.not_finite import NotFiniteError
from training.parallel import Processes
from training.plan import Plan, asked_facts, decide, record_plan
from training.preflight import corpus_bytes_needed, model_bytes_needed
from training.preparation import discard_preparation, ngram_baseline, prepare
from training.presets import preset_for
from training.printable import printable_line
from training.progress import Progress
from training.recollection import recall
from training.run_directory import RunDirectory, RunDirectoryError
from training.run_log.facts import JsonValue
from training.session import Session
from training.stop_request import stop_on_signals

__all__ = ["JobRequest", "Published", "run_job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What the user asked for.

    Attributes:
        make_config: From a preset's name to the checked settings.
        preset: A preset's name, or "auto" to take one by the corpus's size.
        out: ROOT/NAME of a model store.
        parent: Artifact to start from, None for a fresh model.
        resume: Whether to go on with the run in ``out``.
        force: Whether to resume although settings or text changed.
        text_status: What the user says about the texts, for the card.
        command: The exact command line.
        started: Time of the command's start, on ``time.monotonic``'s clock.
    """

    make_config: Callable[[str], TrainingConfig]
    preset: str
    out: Path
    parent: Path | None
    resume: bool
    force: bool
    text_status: str | None
    command: str
    started: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The result: where the version is, and what was done."""

    directory: Path
    summary: str


def run_job(request: JobRequest, processes: Processes) -> Published | None:
    """Run the job; None in every process but the first.

    Raises:
        ConfigurationError, CorpusError, TokenizerError, NgramError, DatasetError, ArtifactError,
        RunDirectoryError, CheckpointError, NotFiniteError, PublishingError, MetricsPortError,
        ParallelError: Each is one line for the user.
    """
    parent = None if request.parent is None else read_artifact(request.parent)
    if not processes.is_first:
        follow(
            request.make_config,
            out=request.out.absolute(),
            parent=parent,
            processes=processes,
            wants_resume=request.resume,
            started=request.started,
        )
        return None
    if request.resume and not (request.out / "run").is_dir():
        raise RunDirectoryError(f"--resume: there is no run in {request.out.absolute()}")
    # Some settings are needed before the preset is known, which depends on the corpus's size.
    early = request.make_config("quickstart" if request.preset == "auto" else request.preset)
    with RunDirectory.open(request.out, announce=_tell, command=request.command) as run:
        # Before anything of an earlier run is touched.
        corpus = load_corpus(early.corpus, announce=_tell)
        recorded = run.read_settings() if request.resume else None
        preset = _preset(request, recorded, corpus)
        config = request.make_config(preset)
        config = fit_to_parent(config, None if parent is None else parent.config)
        run.require_space(
            corpus_bytes_needed(corpus.statistics.num_bytes, kind=config.tokenizer.kind)
        )
        if not request.resume:
            previous = run.set_aside()
            if previous is not None:
                _tell(f"an earlier run was moved to {previous}")
            discard_preparation(run.path)
        try:
            port = config.run.metrics_port or None
            host = config.run.metrics_host
            with Progress(run.log_path, metrics_port=port, metrics_host=host) as progress:
                return _lead(
                    request, config, preset, corpus, recorded, parent, processes, run, progress
                )
        except BaseException:
            if recorded is None and not run.checkpoints_path.exists():
                # Nothing was trained: leave nothing half-written.
                discard_preparation(run.path)
                for path in (run.log_path, run.settings_path):
                    path.unlink(missing_ok=True)
            raise


def _lead(
    request: JobRequest,
    config: TrainingConfig,
    preset: str,
    corpus: Corpus,
    recorded: Mapping[str, object] | None,
    parent: Artifact | None,
    processes: Processes,
    run: RunDirectory,
    progress: Progress,
) -> Published:
    """Everything that only the first process does, around the training."""
    parent_directory = None if parent is None else parent.directory
    prepared = prepare(config, corpus, run.path, parent=parent_directory, progress=progress)
    if recorded is None:
        plan = decide(
            config,
            prepared=prepared,
            parent=parent,
            processes=processes,
            run=run,
            announce=progress.announce,
        )
        asked = asked_facts(config, prepared=prepared, parent=parent, processes=processes)
        is_changed = True
    else:
        plan, asked, is_changed = recall(
            config,
            recorded,
            prepared=prepared,
            parent=parent,
            processes=processes,
            run=run,
            force=request.force,
            announce=progress.announce,
        )
        if is_changed and recorded.get("not_finite_step") is not None:
            # What came just before the loss was lost is finite, but hardly worth keeping.
            step = CheckpointStore(run.checkpoints_path).go_back_to_best()
            progress.announce(f"goes back to the best checkpoint, of step {step}")
    # Besides those kept: the best and one being written; of a resumed run most are there.
    num_checkpoints = 2 if recorded else plan.config.run.keep_checkpoints + 2
    run.require_space(
        model_bytes_needed(plan.shape.num_parameters, num_checkpoints=num_checkpoints)
    )
    if recorded is None or is_changed:
        recorded = record_plan(run, plan, asked=asked, preset=preset)
    processes.wait()
    ngram = ngram_baseline(plan.config.ngram, prepared, run.path, progress=progress)
    for line in plan.expectations(num_processes=processes.count):
        progress.event("note", text=line)
    with stop_on_signals(is_first=True) as stop:
        session = Session.build(
            plan,
            processes=processes,
            progress=progress,
            stop=stop,
            started=request.started,
            wants_resume=request.resume,
        )
        ended = session.trainer.reason_to_end()
        earlier = _published(run, recorded, step=session.trainer.state.step)
        if ended is not None and earlier is not None:
            summary = f"nothing to do ({ended}): the run is published as {earlier}"
            return Published(directory=earlier, summary=summary)
        progress.event("start", **_start_facts(request, plan))
        if step := session.trainer.state.step:
            progress.event("resume", step=step)
        try:
            reason = session.trainer.run()
        except NotFiniteError:
            run.record_settings({**recorded, "not_finite_step": session.trainer.state.step})
            raise
        directory = complete_run(
            plan,
            session,
            run=run,
            progress=progress,
            ngram=ngram,
            reason=reason,
            command=request.command,
            text_status=request.text_status,
        )
    step = session.trainer.state.step
    run.record_settings({**recorded, "published_version": directory.name, "published_step": step})
    return Published(directory=directory, summary=f"{reason}: published {directory}")


def _preset(request: JobRequest, recorded: Mapping[str, object] | None, corpus: Corpus) -> str:
    if request.preset != "auto":
        return request.preset
    if recorded is not None:
        return str(recorded.get("preset"))
    preset = preset_for(corpus.statistics.train_bytes, has_parent=request.parent is not None)
    _tell(f"preset: {preset}, by the size of the text")
    return preset


def _published(run: RunDirectory, recorded: Mapping[str, object], *, step: int) -> Path | None:
    """The version that was published from this very step of the run, if it is still there."""
    if recorded.get("published_step") != step:
        return None
    directory = run.model_directory / str(recorded.get("published_version"))
    return directory if directory.is_dir() else None


def _start_facts(request: JobRequest, plan: Plan) -> dict[str, JsonValue]:
    return {
        "command": request.command,
        "name": request.out.absolute().name,
        "parameters": plan.shape.num_parameters,
        "model_config": json.loads(json.dumps(plan.shape.to_dict())),
        "settings": json.loads(json.dumps(asdict(plan.config))),
        "device": plan.hardware.device,
        "dtype": plan.hardware.dtype,
        "torch_version": str(torch.__version__),
        "num_threads": plan.hardware.num_threads,
        "compiled": plan.hardware.is_compiled,
        "parent": parent_facts(plan),
    }


def _tell(line: str) -> None:
    """Show a line before the display is there."""
    print(printable_line(line), file=sys.stderr, flush=True)
