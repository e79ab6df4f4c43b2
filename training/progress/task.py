"""A long preparation, such as reading a corpus or tokenizing, and the words for how far it is."""

from dataclasses import dataclass, field

from training.quantities import format_bytes, format_clock, format_duration


@dataclass(slots=True)
class Task:
    """A long preparation, such as tokenizing: how far it is."""

    description: str
    total_bytes: int | None
    begin_seconds: float
    done_bytes: int = 0
    is_finished: bool = field(default=False)

    def figures(self, now_seconds: float) -> list[str]:
        """Returns size, rate and time left in words."""
        seconds = now_seconds - self.begin_seconds
        if self.total_bytes is None:
            figures = [format_bytes(self.done_bytes)]
        else:
            figures = [f"{format_bytes(self.done_bytes)} of {format_bytes(self.total_bytes)}"]
        if seconds > 0 and self.done_bytes:
            rate = self.done_bytes / seconds
            figures.append(f"{format_bytes(rate)}/s")
            if self.total_bytes is not None and not self.is_finished:
                left = max(0, self.total_bytes - self.done_bytes) / rate
                figures.append(f"ETA {format_clock(left)}")
        return figures

    def summary(self, now_seconds: float) -> str:
        """Returns the line that stays when the task has ended."""
        seconds = format_duration(now_seconds - self.begin_seconds)
        outcome = "" if self.is_finished else " (not finished)"
        if not self.done_bytes:
            return f"{self.description}{outcome}: {seconds}"
        return f"{self.description}{outcome}: {format_bytes(self.done_bytes)} in {seconds}"
