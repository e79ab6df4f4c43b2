"""One process's part of a run: model, arithmetic, optimizer and trainer, built from the plan.

Every random number comes from the run's seed. The same in the first process, which also shows
and saves, and in all others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.transformer import Transformer
from model.weights import load_transformer
from training.checkpoint import Checkpoint, CheckpointError, CheckpointStore
from training.computation import Computation
from training.dataset import TrainingWindows
from training.held_out import HeldOut
from training.memory_reuse import keep_freed_memory
from training.optimizer import Optimizer
from training.parallel import Processes
from training.plan import Plan
from training.progress import Progress
from training.samples import Samples
from training.stop_request import StopRequest
from training.trainer import Trainer
from training.training_state import TrainingState, load_model

__all__ = ["Session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What trains in this process.

    Attributes:
        trainer: Ready to run.
        store: The run's checkpoints.
        samples: Shows what the model writes; None in all processes but the first.
        announce: Tells the user, in the first process.
    """

    trainer: Trainer
    store: CheckpointStore
    samples: Samples | None
    announce: Callable[[str], None]

    @staticmethod
    def build(
        plan: Plan,
        *,
        processes: Processes,
        progress: Progress | None,
        stop: StopRequest,
        started: float,
        wants_resume: bool,
    ) -> "Session":
        """Build everything, and take over the newest checkpoint where the run is resumed.

        Raises:
            DatasetError: The text is shorter than two windows.
            CheckpointError: No checkpoint is undamaged, or it is of another model.
        """
        announce = _say_nothing if progress is None else progress.announce
        settings = plan.config.run
        store = CheckpointStore(
            plan.checkpoints_path, keep=settings.keep_checkpoints, announce=announce
        )
        checkpoint = store.latest() if wants_resume else None
        context_length = plan.config.model.context_length
        windows = TrainingWindows(
            plan.prepared.files.train,
            context_length=context_length,
            batch_size=plan.config.schedule.batch_tokens // context_length,
            seed=plan.config.schedule.seed,
        )
        torch.set_num_threads(plan.hardware.num_threads)
        keep_freed_memory()
        computation = Computation(
            _initial_model(plan),
            hardware=plan.hardware,
            processes=processes,
            micro_batch_size=plan.config.schedule.micro_batch_tokens // context_length,
            announce=announce,
        )
        samples = None if progress is None else Samples.of(plan, computation, progress)
        trainer = Trainer(
            plan.config,
            computation=computation,
            optimizer=Optimizer(computation.model, plan.config.optimizer),
            windows=windows,
            held_out=HeldOut(
                computation,
                plan.prepared.files,
                context_length=context_length,
                first_id=plan.prepared.end_of_text_id,
                max_tokens=plan.config.schedule.evaluation_tokens,
            ),
            processes=processes,
            store=None if progress is None else store,
            progress=progress,
            show=_show_nothing if samples is None else samples.show,
            stop=stop,
            started=started,
        )
        session = Session(trainer=trainer, store=store, samples=samples, announce=announce)
        if checkpoint is not None:
            session._take_over(checkpoint, plan)
        elif wants_resume:
            announce("there is no checkpoint yet: starts from the beginning")
        # Nobody writes a checkpoint before all have read theirs.
        processes.wait()
        return session

    def load_best(self) -> int:
        """Give the model the best weights that can be read; returns their step.

        Raises:
            CheckpointError: No checkpoint is undamaged.
        """
        best = self.store.best() or self.store.latest()
        if best is None:
            raise CheckpointError("the run's checkpoints have disappeared; nothing is published")
        if best.step != self.trainer.state.best_step:
            self.announce(
                f"the best checkpoint (step {self.trainer.state.best_step}) cannot be read; "
                f"publishes that of step {best.step}"
            )
        load_model(self.trainer.model, best.tensors)
        self.trainer.model.eval()
        return best.step

    def _take_over(self, checkpoint: Checkpoint, plan: Plan) -> None:
        self.trainer.resume(checkpoint, is_length_changed=plan.is_length_changed)
        state, best = self.trainer.state, self.store.best()
        if best is None or best.step != state.best_step:
            self.announce(
                f"the best checkpoint (step {state.best_step}) cannot be read; the best is "
                f"{'measured anew' if best is None else f'now that of step {best.step}'}"
            )
            state.take_best_from(None if best is None else TrainingState.from_json(best.state))


def _initial_model(plan: Plan) -> Transformer:
    model = Transformer(plan.shape, dropout=plan.config.model.dropout)
    if plan.parent is None:
        model.initialize(torch.Generator().manual_seed(plan.config.schedule.seed))
    else:
        model.load_state_dict(load_transformer(plan.parent.directory).state_dict())
    return model.to(plan.hardware.device)


def _say_nothing(line: str) -> None:
    del line


def _show_nothing(step: int) -> None:
    del step
