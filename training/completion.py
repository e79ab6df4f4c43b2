"""A run's last part: the best weights, measured on everything held out, become a version."""

from pathlib import Path

from training.ngram.training import TrainedNgram
from training.plan import Plan
from training.progress import Progress
from training.publishing import Publication, publish_version
from training.quantities import format_duration
from training.run_directory import RunDirectory
from training.run_log.facts import JsonValue
from training.session import Session

__all__ = ["complete_run", "parent_facts"]

_WORTH_TELLING_SECONDS = 5.0


def complete_run(
    plan: Plan,
    session: Session,
    *,
    run: RunDirectory,
    progress: Progress,
    ngram: TrainedNgram | None,
    reason: str,
    command: str,
    text_status: str | None,
) -> Path:
    """Load the best weights, write samples, score them, end the log, publish.

    Args:
        plan: The run.
        session: After its training.
        run: The run's folder.
        progress: Where events go.
        ngram: None where none was trained.
        reason: Why training ended.
        command: The exact command line.
        text_status: What the user says about the texts, for the card.

    Returns:
        The new version's folder.

    Raises:
        CheckpointError: No checkpoint can be read.
        ArtifactError, PublishingError: The version could not be written as it should.
    """
    best_step = session.load_best()
    assert session.samples is not None, "the first process has samples"
    session.samples.write_more(best_step, num_samples=plan.config.run.final_samples)
    trainer, state = session.trainer, session.trainer.state
    seconds = trainer.held_out.seconds_of_all
    if seconds > _WORTH_TELLING_SECONDS:
        progress.announce(f"scoring all held-out text: about {format_duration(seconds)}")
    score = trainer.held_out.score_all()
    elapsed = trainer.elapsed_seconds()
    facts: dict[str, JsonValue] = {
        "reason": reason,
        "steps": state.step,
        "best_step": best_step,
        "tokens": state.tokens,
        "elapsed_seconds": round(elapsed, 3),
    }
    progress.event(
        "end",
        **facts,
        best_loss=score.nats_per_token,
        best_bits_per_byte=score.bits_per_byte,
        tokens_per_second=state.tokens / max(elapsed, 1e-9),
    )
    manifest: dict[str, object] = {
        "corpus_sha256": plan.prepared.corpus_sha256,
        "tokenizer_sha256": plan.prepared.tokenizer_sha256,
        "training": {
            **facts,
            "nats_per_token": score.nats_per_token,
            "bits_per_byte": score.bits_per_byte,
            "command": command,
        },
        "parent": parent_facts(plan),
    }
    publication = Publication(
        tokenizer=plan.prepared.backend,
        ngram=ngram,
        log_path=run.log_path,
        export_dtype=plan.config.run.export_dtype,
        max_shard_bytes=int(plan.config.run.max_shard_megabytes * 1e6),
        manifest=manifest,
        probe_ids=[int(token) for token in plan.prepared.files.held_out[:48]],
        text_status=text_status,
    )
    return publish_version(run.model_directory, trainer.model, publication)


def parent_facts(plan: Plan) -> dict[str, JsonValue] | None:
    """What a version records of the one it was made from."""
    if plan.parent is None:
        return None
    return {"name": plan.parent.name, "version": plan.parent.version}
