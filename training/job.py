"""The whole job, from the settings to a published version: the composition root of training.

``run_job`` reads as the job goes: open the run's folder, read the corpus, make tokenizer and
tokens, train the n-gram model, decide what was left open, train the network, publish the best.
Of several processes the first does all of it; the others only train.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from model.artifact import Artifact, read_artifact
from model.transformer import Transformer
from model.weights import load_transformer
from training.checkpoint import CheckpointStore
from training.computation import Computation
from training.config import TrainingConfig
from training.corpus import load_corpus
from training.derive import expectations
from training.ngram.training import TrainedNgram
from training.optimizer import Optimizer
from training.parallel import Processes
from training.plan import Plan, decide, recall
from training.preparation import discard_preparation, ngram_baseline, prepare, reopen
from training.presets import preset_for
from training.progress import Progress
from training.publishing import Publication, publish_version
from training.run_directory import RunDirectory
from training.samples import Samples
from training.stop_request import stop_on_signals
from training.trainer import Outcome, Trainer
from training.training_state import load_model

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
    """The result: where the version is, and how the run ended."""

    directory: Path
    outcome: Outcome


def run_job(request: JobRequest, processes: Processes) -> Published | None:
    """Run the job; None in every process but the first.

    Raises:
        ConfigurationError, CorpusError, TokenizerError, NgramError, DatasetError, ArtifactError,
        RunDirectoryError, CheckpointError, NotFiniteError, PublishingError, MetricsPortError:
            Each is one line for the user.
    """
    parent = None if request.parent is None else read_artifact(request.parent)
    if not processes.is_first:
        processes.wait()
        _follow(request, parent, processes)
        return None
    # Some settings are needed before the preset is known, which depends on the corpus's size.
    first_preset = "quickstart" if request.preset == "auto" else request.preset
    early = request.make_config(first_preset)
    with RunDirectory.open(request.out, announce=print, command=request.command) as run:
        if not request.resume:
            previous = run.set_aside()
            if previous is not None:
                print(f"an earlier run was moved to {previous}")
            discard_preparation(run.path)
        with Progress(run.log_path, metrics_port=early.run.metrics_port or None) as progress:
            return _lead(request, early, parent, processes, run, progress)


def _lead(
    request: JobRequest,
    early: TrainingConfig,
    parent: Artifact | None,
    processes: Processes,
    run: RunDirectory,
    progress: Progress,
) -> Published:
    """Everything that only the first process does, around the training."""
    corpus = load_corpus(early.corpus, announce=progress.announce)
    preset = request.preset
    if preset == "auto":
        preset = preset_for(corpus.statistics.train_bytes, has_parent=parent is not None)
        progress.announce(f"preset: {preset}, by the size of the text")
    config = request.make_config(preset)
    parent_directory = None if parent is None else parent.directory
    prepared = prepare(config, corpus, run.path, parent=parent_directory, progress=progress)
    recorded = run.read_settings() if request.resume else None
    if recorded is None:
        plan = decide(
            config,
            prepared=prepared,
            parent=parent,
            processes=processes,
            run=run,
            preset=preset,
            announce=progress.announce,
        )
    else:
        plan = recall(
            config,
            recorded,
            prepared=prepared,
            parent=parent,
            processes=processes,
            force=request.force,
        )
    processes.wait()
    ngram = ngram_baseline(plan.config.ngram, prepared, run.path, progress=progress)
    for line in expectations(
        hardware=plan.hardware,
        minutes=plan.minutes,
        num_processes=processes.count,
        num_parameters=plan.shape.num_parameters,
        num_train_tokens=int(prepared.files.train.size),
        train_bytes=prepared.files.train_bytes,
        has_parent=parent is not None,
    ):
        progress.event("note", text=line)
    progress.event("start", **_start_facts(request, plan))
    store = CheckpointStore(
        run.checkpoints_path, keep=plan.config.run.keep_checkpoints, announce=progress.announce
    )
    computation, optimizer = _build(plan, processes, progress.announce)
    samples = Samples(
        computation=computation,
        tokenizer=prepared.tokenizer,
        files=prepared.files,
        prompt=plan.config.run.sample_prompt,
        max_tokens=plan.config.run.sample_tokens,
        seed=plan.config.schedule.seed,
        progress=progress,
    )
    checkpoint = store.latest() if request.resume else None
    if request.resume and checkpoint is None:
        progress.announce("there is no checkpoint yet: starts from the beginning")
    if checkpoint is not None:
        progress.event("resume", step=checkpoint.step)
    with stop_on_signals(progress.announce) as stop:
        trainer = Trainer(
            plan.config,
            computation=computation,
            optimizer=optimizer,
            files=prepared.files,
            first_id=prepared.end_of_text_id,
            processes=processes,
            store=store,
            progress=progress,
            show=samples.show,
            stop=stop,
            started=request.started,
        )
        if checkpoint is not None:
            trainer.resume(checkpoint.state, checkpoint.tensors)
        outcome = trainer.run()
        best = store.best()
        assert best is not None, "the first evaluation always saves a best checkpoint"
        load_model(trainer.model, best.tensors)
        trainer.model.eval()
        samples.write(best.step, num_samples=plan.config.run.final_samples)
        directory = _publish(request, plan, run, progress, trainer, best.step, ngram, outcome)
    return Published(directory=directory, outcome=outcome)


def _follow(request: JobRequest, parent: Artifact | None, processes: Processes) -> None:
    """Train beside the first process, on what it left in the run's folder."""
    out = request.out.absolute()
    run = RunDirectory(out, out / "run")
    recorded = run.read_settings()
    assert recorded is not None, "the first process records the settings before it waits"
    preset = str(recorded.get("preset", request.preset))
    prepared = reopen(run.path, parent=None if parent is None else parent.directory)
    plan = recall(
        request.make_config(preset),
        recorded,
        prepared=prepared,
        parent=parent,
        processes=processes,
        force=True,
    )
    computation, optimizer = _build(plan, processes, _say_nothing)
    store = CheckpointStore(run.checkpoints_path, announce=_say_nothing)
    with stop_on_signals(_say_nothing) as stop:
        trainer = Trainer(
            plan.config,
            computation=computation,
            optimizer=optimizer,
            files=prepared.files,
            first_id=prepared.end_of_text_id,
            processes=processes,
            store=store,
            progress=None,
            show=_show_nothing,
            stop=stop,
            started=request.started,
        )
        checkpoint = store.latest() if request.resume else None
        if checkpoint is not None:
            trainer.resume(checkpoint.state, checkpoint.tensors)
        trainer.run()


def _build(
    plan: Plan, processes: Processes, announce: Callable[[str], None]
) -> tuple[Computation, Optimizer]:
    """Model, arithmetic and optimizer; every random number comes from the run's seed."""
    seed = plan.config.schedule.seed
    torch.set_num_threads(plan.hardware.num_threads)
    # Dropout differs between processes, weights do not.
    torch.manual_seed(seed + processes.rank)
    model = Transformer(plan.shape, dropout=plan.config.model.dropout)
    if plan.parent is None:
        model.initialize(torch.Generator().manual_seed(seed))
    else:
        model.load_state_dict(load_transformer(plan.parent.directory).state_dict())
    model.to(plan.hardware.device)
    computation = Computation(
        model,
        hardware=plan.hardware,
        processes=processes,
        micro_batch_size=plan.config.schedule.micro_batch_tokens
        // plan.config.model.context_length,
        announce=announce,
    )
    return computation, Optimizer(model, plan.config.optimizer)


def _publish(
    request: JobRequest,
    plan: Plan,
    run: RunDirectory,
    progress: Progress,
    trainer: Trainer,
    best_step: int,
    ngram: TrainedNgram | None,
    outcome: Outcome,
) -> Path:
    """Score the best weights on the whole held-out text, end the log, publish."""
    state = outcome.state
    score = trainer.score()
    elapsed = time.monotonic() - trainer.started
    progress.event(
        "end",
        reason=outcome.reason,
        steps=state.step,
        best_step=best_step,
        best_loss=score.nats_per_token,
        best_bits_per_byte=score.bits_per_byte,
        elapsed_seconds=elapsed,
        tokens=state.tokens,
        tokens_per_second=state.tokens / max(elapsed, 1e-9),
    )
    summary: dict[str, object] = {
        "reason": outcome.reason,
        "steps": state.step,
        "best_step": best_step,
        "tokens": state.tokens,
        "nats_per_token": score.nats_per_token,
        "bits_per_byte": score.bits_per_byte,
        "elapsed_seconds": round(elapsed, 1),
        "command": request.command,
    }
    manifest: dict[str, object] = {
        "corpus_sha256": plan.prepared.corpus_sha256,
        "tokenizer_sha256": plan.prepared.tokenizer_sha256,
        "training": summary,
        "parent": parent_facts(plan.parent),
    }
    publication = Publication(
        tokenizer=plan.prepared.backend,
        ngram=ngram,
        log_path=run.log_path,
        export_dtype=plan.config.run.export_dtype,
        max_shard_bytes=int(plan.config.run.max_shard_megabytes * 1e6),
        manifest=manifest,
        probe_ids=[int(token) for token in plan.prepared.files.held_out[:48]],
        text_status=request.text_status,
    )
    return publish_version(run.model_directory, trainer.model, publication)


def _start_facts(request: JobRequest, plan: Plan) -> dict[str, object]:
    return {
        "command": request.command,
        "name": request.out.absolute().name,
        "parameters": plan.shape.num_parameters,
        "model_config": plan.shape.to_dict(),
        "settings": json.loads(json.dumps(asdict(plan.config))),
        "device": plan.hardware.device,
        "dtype": plan.hardware.dtype,
        "torch_version": str(torch.__version__),
        "num_threads": plan.hardware.num_threads,
        "compiled": plan.hardware.is_compiled,
        "parent": parent_facts(plan.parent),
    }


def parent_facts(parent: Artifact | None) -> Mapping[str, object] | None:
    """What a version records of the one it was made from."""
    if parent is None:
        return None
    return {"name": parent.name, "version": parent.version}


def _say_nothing(line: str) -> None:
    del line


def _show_nothing(step: int) -> None:
    del step
