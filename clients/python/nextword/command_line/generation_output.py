"""A continuation on the terminal: words as they come, then how it ended."""

import json
import sys
import time
from dataclasses import asdict

from nextword.answers import Summary, TextPiece, TokenLogprob
from nextword.command_line.exit_codes import ExitCode
from nextword.command_line.logprob_table import print_logprobs
from nextword.command_line.terminal_text import visible
from nextword.text_stream import TextStream

__all__ = ["print_generation", "print_stream"]


def print_generation(stream: TextStream) -> ExitCode:
    """Print the whole answer as JSON, in the shape that the REST route gives it."""
    try:
        with stream:
            generation = stream.read_all()
    except KeyboardInterrupt:
        print("nextword: interrupted; the request is cancelled", file=sys.stderr)
        return ExitCode.INTERRUPTED
    summary = asdict(generation.summary)
    answer = {name: summary.pop(name) for name in ("id", "model", "model_version")}
    choices = [asdict(choice) for choice in generation.choices]
    for choice in choices:
        if not choice["logprobs"]:
            del choice["logprobs"]
    # The bytes of a token are a list of numbers in JSON.
    print(json.dumps({**answer, "choices": choices, **summary}, default=list))
    return ExitCode.DONE


def print_stream(stream: TextStream, *, is_quiet: bool) -> ExitCode:
    """Print words as they come; with several continuations, each in its turn."""
    started = time.monotonic()
    screen = _Screen()
    try:
        with stream:
            for piece in stream:
                screen.show(piece)
    except KeyboardInterrupt:
        screen.end()
        remark = f"cancelled after {screen.num_tokens} tokens: the server was told to stop"
        print(f"[{remark}]", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BaseException:
        # What has come is kept; the error's line begins on a line of its own.
        screen.end()
        raise
    screen.end()
    if screen.logprobs:
        print_logprobs(screen.logprobs)
    if stream.summary is not None and not is_quiet:
        seconds = time.monotonic() - started
        remark = _remark(stream.summary, reasons=screen.reasons, seconds=seconds)
        print(f"[{remark}]", file=sys.stderr)
    return ExitCode.DONE


class _Screen:
    """Shows the first continuation that has not ended as it grows, and keeps the others back."""

    def __init__(self) -> None:
        self.num_tokens = 0
        self.reasons: dict[int, str] = {}
        self.logprobs: list[tuple[int, TokenLogprob]] = []
        self._is_terminal = sys.stdout.isatty()
        self._waiting: dict[int, str] = {}
        self._current = 0
        self._last = "\n"

    def show(self, piece: TextPiece) -> None:
        """Take in a piece."""
        self.num_tokens += 0 if piece.is_prompt else len(piece.token_ids)
        self.logprobs += [(piece.index, entry) for entry in piece.logprobs]
        if piece.finish_reason is not None:
            self.reasons[piece.index] = piece.finish_reason
        if piece.index == self._current:
            self._write(piece.text)
        else:
            self._waiting[piece.index] = self._waiting.get(piece.index, "") + piece.text
        while self._current in self.reasons and self._waiting:
            self._current += 1
            self._write(f"\n--- {self._current + 1} ---\n{self._waiting.pop(self._current, '')}")

    def end(self) -> None:
        """Finish the line, on a terminal: what goes into a file stays as it was made."""
        if self._is_terminal and self._last != "\n":
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(visible(text) if self._is_terminal else text)
            sys.stdout.flush()
            self._last = text[-1]


def _remark(summary: Summary, *, reasons: dict[int, str], seconds: float) -> str:
    num_tokens = summary.usage.completion_tokens
    rate = num_tokens / seconds if seconds > 0 else 0.0
    how = ", ".join(reason for _, reason in sorted(reasons.items()))
    first = summary.timings.first_token_seconds
    after = "" if first is None else f", the first after {first * 1000:.0f} ms"
    return (
        f"{how}: {num_tokens} tokens in {seconds:.2f} s, {rate:.1f} tokens/s{after}; "
        f"seed {summary.parameters.seed}, {summary.model}@{summary.model_version}"
    )
