"""The command `nextword`: what a person asks a server from a terminal.

Everything that a command prints for programs goes to the standard output, all remarks to the
standard error.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command and leave with its exit code."""
    try:
        from nextword.command_line.application import run
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.exit(f"nextword: {error.name} is missing: pip install 'nextword[cli]'")
    sys.exit(run(sys.argv[1:]))
