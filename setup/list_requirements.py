"""Prints what parts of this tree need from the package index, one requirement a line.

Run as ``python setup/list_requirements.py pyproject.toml:service pyproject.toml:training``.
An image installs these before it gets the code, so that a change of the code installs nothing.
"""

import sys
import tomllib
from pathlib import Path


def requirements(file: Path, extra: str) -> list[str]:
    """What a distribution needs, with one of its extras.

    Raises:
        KeyError: It has no such extra.
    """
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *project["optional-dependencies"][extra]]


def main() -> int:
    """Print the requirements of each FILE:EXTRA of the command line."""
    for argument in sys.argv[1:]:
        file, _, extra = argument.partition(":")
        try:
            print(*requirements(Path(file), extra), sep="\n")
        except (OSError, KeyError) as error:
            print(f"{argument}: no such file or extra: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
