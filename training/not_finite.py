"""What ends a run whose numbers went wrong."""

from training.config import OptimizerSettings

__all__ = ["NotFiniteError"]


class NotFiniteError(RuntimeError):
    """The loss or the gradients became NaN or infinite; checkpoints keep the last good state."""

    def __init__(self, step: int, settings: OptimizerSettings) -> None:
        super().__init__(
            f"the loss is not finite at step {step}; checkpoints keep the last good state. Go on "
            f"with --resume --force and a smaller optimizer.learning_rate "
            f"(now {settings.learning_rate:g}) or optimizer.adam_learning_rate "
            f"(now {settings.adam_learning_rate:g})"
        )
