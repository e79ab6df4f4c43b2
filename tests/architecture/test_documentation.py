"""What the documents tell a reader to type exists: targets, flags, variables, files, Python."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)[^)]*\)")
INLINE_TARGET = re.compile(r"`make ([a-z-]+)`")
GROUPS_OF_COMMANDS = {
    "nextword-model": ("import", "export", "verify"),
    "nextword-train": ("evaluate",),
    "nextword": ("generate", "chat", "inspect", "tokens", "models", "health", "bench"),
}


@pytest.fixture(scope="session")
def documents(tracked_files: list[Path], repository: Path) -> dict[str, str]:
    """Every Markdown file that a person reads; model cards are made by the trainer."""
    pages = [path for path in tracked_files if path.suffix == ".md"]
    names = {str(path.relative_to(repository)): path for path in pages}
    written = {name: path for name, path in names.items() if not name.startswith("artifacts/")}
    return {name: path.read_text(encoding="utf-8") for name, path in written.items()}


def shell_commands(documents: dict[str, str]) -> Iterator[list[str]]:
    """The words of each command in a block of shell, continued lines joined."""
    for text in documents.values():
        for language, block in BLOCK.findall(text):
            if language in {"sh", "bash", "console"}:
                for line in block.replace("\\\n", " ").splitlines():
                    if words := shlex.split(line.removeprefix("$ "), comments=True):
                        yield words


@cache
def help_of(name: str, *subcommand: str) -> str:
    """The help of a command installed beside the Python that runs the tests."""
    program = Path(sys.executable).parent / name
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    result = subprocess.run(
        [program, *subcommand, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_every_make_target_and_variable_exists(documents: dict[str, str], repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.* ## ", makefile, re.MULTILINE))
    variables = {*re.findall(r"^override (\w+) ", makefile, re.MULTILINE), "ARGS"}
    named = {name for text in documents.values() for name in INLINE_TARGET.findall(text)}
    used: set[str] = set()
    for command, *words in shell_commands(documents):
        if command == "make":
            named |= {word for word in words if "=" not in word}
            used |= {word.split("=")[0] for word in words if "=" in word}
    assert {"install", "train", "serve", "test"} <= named
    assert named <= targets
    assert {"TEXT", "NAME", "MINUTES"} <= used
    assert used <= variables


def test_every_flag_of_our_commands_exists(documents: dict[str, str]) -> None:
    num_flags = 0
    for command, *words in shell_commands(documents):
        name = Path(command).name
        if not name.startswith("nextword"):
            continue
        subcommand = [word for word in words[:1] if word in GROUPS_OF_COMMANDS.get(name, ())]
        offered = set(re.findall(r"--[a-z][a-z-]+", help_of(name, *subcommand)))
        flags = {word.split("=")[0] for word in words if word.startswith("--")}
        assert flags <= offered, f"{name}: {sorted(flags - offered)}"
        num_flags += len(flags)
    assert num_flags > 5


def test_every_setting_named_after_set_exists(documents: dict[str, str]) -> None:
    known = help_of("nextword-train")
    named = {
        name
        for text in documents.values()
        for name in re.findall(r"--set[ =]([a-z_]+\.[a-z_]+)=", text)
    }
    assert named
    assert not {name for name in named if name not in known}


def test_every_link_to_a_file_leads_somewhere(documents: dict[str, str], repository: Path) -> None:
    links = [
        (name, link, (repository / name).parent / link)
        for name, text in documents.items()
        for link in LINK.findall(text)
    ]
    assert len(links) > 3
    assert not [(name, link) for name, link, path in links if not path.exists()]


def test_every_block_of_python_can_be_read(documents: dict[str, str]) -> None:
    blocks = [
        (name, block)
        for name, text in documents.items()
        for language, block in BLOCK.findall(text)
        if language == "python"
    ]
    assert blocks
    for name, block in blocks:
        ast.parse(block, filename=name)


def test_the_tree_in_the_readme_is_the_tree(documents: dict[str, str], repository: Path) -> None:
    drawn = re.search(r"## The tree\n\n```\n(.*?)```", documents["README.md"], re.DOTALL)
    assert drawn
    rooms = {line.split()[0].split("/")[0] for line in drawn[1].splitlines()}
    made_by_use = {"artifacts"}  # holds the bundled model, or what the first training leaves
    assert not {room for room in rooms - made_by_use if not (repository / room).is_dir()}
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    folders = {name.split("/")[0] for name in listed.stdout.split("\0") if "/" in name}
    assert {name for name in folders if not name.startswith(".")} <= rooms
