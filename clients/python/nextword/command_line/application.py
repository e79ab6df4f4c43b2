"""The commands of `nextword` put together, and their errors as one line each."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, TypeAlias

import typer

from nextword.command_line.bench import bench
from nextword.command_line.chat import chat
from nextword.command_line.exit_codes import ExitCode, describe, exit_code_of
from nextword.command_line.generate import generate
from nextword.command_line.health import health
from nextword.command_line.inspection import inspect
from nextword.command_line.models import models
from nextword.command_line.tokens import tokens
from nextword.errors import NextwordError

__all__ = ["run"]

_EPILOG = (
    "Exit codes: 0 done, 1 the server failed, 2 the command or the request is wrong, "
    "3 no server, or it is full or not ready, 4 the time was over, 130 Ctrl-C."
)

_application = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ask a Nextword server for the next words of a text.",
    epilog=_EPILOG,
)
Command: TypeAlias = Callable[..., int | None]


def _ends_with_its_reader(command: Command) -> Command:
    """The command, but quiet when whoever reads its output leaves, as `head` does."""

    @wraps(command)
    def guarded(**options: object) -> int | None:
        try:
            code = command(**options)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python would complain when it flushes the closed output at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OUTPUT_CLOSED
        return code

    return guarded


_COMMANDS: tuple[Command, ...] = (generate, chat, inspect, tokens, models, health, bench)
for _command in _COMMANDS:
    _application.command(epilog=_EPILOG)(_ends_with_its_reader(_command))


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        # Slow to import, and no other command needs it.
        from importlib import metadata

        print(f"nextword {metadata.version('nextword')}")
        raise typer.Exit


@_application.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    # A terminal that cannot show a character gets it spelled out, and no traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _application(list(arguments), prog_name="nextword", standalone_mode=False)
        return code or ExitCode.DONE
    except typer.TyperException as error:
        print(f"nextword: {error.format_message()}", file=sys.stderr)
        return ExitCode.WRONG_REQUEST
    except NextwordError as error:
        print(f"nextword: {describe(error)}", file=sys.stderr)
        return exit_code_of(error)
    except UnicodeDecodeError:
        print("nextword: the standard input is not UTF-8", file=sys.stderr)
        return ExitCode.WRONG_REQUEST
