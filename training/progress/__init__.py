"""The run as it happens: the log is written, the screen and the metrics port show it."""

from training.progress.recorder import Progress

__all__ = ["Progress"]
