"""What a reader of a report should know before believing its numbers, in plain sentences.

Each remark follows from the facts; none is decoration. An empty list means nothing unusual
happened.
"""

from training.quantities import format_bytes, format_count, format_number
from training.report.run_facts import RunFacts

# A model that has seen its text this often, or does this much better on it than on unseen text,
# recites.
_MANY_EPOCHS = 20
_MEMORISED_GAP_NATS = 0.5
_SMALL_TRAIN_BYTES = 1_000_000


def remarks(facts: RunFacts) -> list[str]:
    """Returns the remarks on a run, the gravest first."""
    return [
        *_outcome(facts),
        *_quality(facts),
        *_memorising(facts),
        *_record(facts),
    ]


def _outcome(facts: RunFacts) -> list[str]:
    found: list[str] = []
    bad, last = facts.first_bad_step, facts.last_step
    if bad is not None:
        found.append(
            f"The loss stopped being a finite number at step {format_count(bad.step)}. "
            "Weights from there on are worthless; what was kept is from before."
        )
    if last is None:
        found.append("No training step was finished.")
    elif facts.end is None:
        planned = f" of {format_count(last.num_steps)}" if last.num_steps else ""
        found.append(
            f"The log ends at step {format_count(last.step)}{planned} without a last word: "
            "the run was killed, or it was still going."
        )
    elif last.step < last.num_steps:
        found.append(
            f"The run ended at step {format_count(last.step)} of "
            f"{format_count(last.num_steps)} planned steps."
        )
    return found


def _quality(facts: RunFacts) -> list[str]:
    found: list[str] = []
    if facts.best is None and facts.last_step is not None:
        found.append(
            "The held-out text was never measured with a finite result: "
            "nothing is known about how well the model does on unseen text."
        )
    if facts.ngram is None and facts.last_step is not None:
        found.append("There is no n-gram model to compare with.")
    saving = facts.saving_over_ngram
    if saving is not None and saving <= 0:
        found.append(
            "The n-gram model is still better on the held-out text: counting word sequences does "
            "more than this model has learned. It needs more steps, more text or another size."
        )
    return found


def _memorising(facts: RunFacts) -> list[str]:
    found: list[str] = []
    corpus, best = facts.corpus, facts.best
    size = None if corpus is None else corpus.train_bytes or corpus.bytes
    if size is not None and size < _SMALL_TRAIN_BYTES:
        found.append(
            f"{format_bytes(size)} is little text to learn a language from: such a model memorises "
            "passages and repeats them."
        )
    if facts.epochs is not None and facts.epochs >= _MANY_EPOCHS:
        found.append(
            f"The training text was seen {format_number(facts.epochs, digits=0)} times; "
            "expect whole sentences of it in what the model writes."
        )
    train_loss = facts.train_loss_at_best
    if best is not None and train_loss is not None:
        gap = best.loss - train_loss
        if gap >= _MEMORISED_GAP_NATS:
            found.append(
                f"At its best point the model is {format_number(gap, digits=2)} nats per token "
                "better on its training text than on unseen text: it has begun to memorise."
            )
    return found


def _record(facts: RunFacts) -> list[str]:
    found: list[str] = []
    if facts.resumed_steps:
        steps = ", ".join(format_count(step) for step in facts.resumed_steps)
        again = (
            f" {format_count(facts.num_superseded_steps)} steps were done twice and count once."
            if facts.num_superseded_steps
            else ""
        )
        found.append(f"The run was resumed from step {steps}.{again}")
    if facts.num_missing_events:
        found.append(
            f"{format_count(facts.num_missing_events)} events could not be logged; "
            "the curves have gaps there."
        )
    if facts.num_unreadable_lines:
        found.append(
            f"{format_count(facts.num_unreadable_lines)} unreadable lines of the log were skipped "
            "(a killed process leaves one)."
        )
    return found
