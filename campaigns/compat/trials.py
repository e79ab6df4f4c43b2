"""One package tried against a running server: its program, then the blocks of its section."""

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from campaigns.compat.clients import Client
from campaigns.compat.environments import (
    Environment,
    EnvironmentFailedError,
    node_environment,
    python_environment,
)
from campaigns.compat.page import Block, Place, blocks_of
from campaigns.verdict import NOTICED

__all__ = ["Scene", "Trial", "try_client"]

PROGRAM_SECONDS = 1200
MAX_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Trial:
    """How one package's program and blocks ended.

    Attributes:
        status: 0 when everything held, NOTICED when something did not, else it fell over.
        version: Of the package.
        word: How many checks held, or what did not.
    """

    client: Client
    status: int
    version: str
    word: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Where packages are tried.

    Attributes:
        place: The server.
        key: What it asks for.
        page: The page whose blocks are run; empty for none.
    """

    place: Place
    key: str
    page: str


def try_client(client: Client, folder: Path, scene: Scene) -> Trial:
    """Install a package where it is missing, and try it."""
    make = node_environment if client.is_node else python_environment
    try:
        environment = make(folder, client.packages)
    except EnvironmentFailedError as error:
        return Trial(client, 1, "?", str(error))
    version = next(iter(environment.versions.values()))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            status, word = _try_all(client, environment, Path(scratch), scene)
    except subprocess.TimeoutExpired as error:
        # One package that hangs must not take the others' results with it.
        program = Path(error.cmd[0]).name
        return Trial(client, 1, version, f"{program} did not end within {error.timeout:g} s")
    return Trial(client, status, version, word)


def _try_all(
    client: Client, environment: Environment, scratch: Path, scene: Scene
) -> tuple[int, str]:
    status, word = _run_program(client, environment, scratch, scene)
    if status == 0 and scene.page:
        for command in _block_commands(client, environment, scratch, scene):
            done = _run(command, scratch, environment, scene)
            if done.returncode:
                print("\n".join(done.stdout.strip().splitlines()[-MAX_SHOWN:]))
                return 1, f"a block of {client.section!r} fell over"
    return status, word


def _run_program(
    client: Client, environment: Environment, scratch: Path, scene: Scene
) -> tuple[int, str]:
    done = _run(_program_command(client, environment), scratch, environment, scene)
    lines = done.stdout.strip().splitlines() or ["said nothing"]
    if done.returncode not in (0, NOTICED) and not client.command:
        print("\n".join(lines[-MAX_SHOWN:]))
    if client.command:
        return _of_command(done.returncode, done.stdout)
    if done.returncode == 0 and not re.fullmatch(r"[1-9][0-9]*", lines[-1]):
        return 1, f"held no check: {lines[-1]}"
    return done.returncode, lines[-1].removeprefix("WRONG ")


def _of_command(status: int, output: str) -> tuple[int, str]:
    """A command has a status of its own for checks that did not hold, and counts them."""
    held = re.search(r"checks_succeeded\.*: [0-9.]+% +(\d+) out of (\d+)", output)
    if held is None or not int(held[2]):
        print("\n".join(output.strip().splitlines()[:MAX_SHOWN]))
        return 1, "counted no checks"
    if status == 0:
        return 0, held[1]
    is_noticed = "thresholds on metrics" in output
    return (NOTICED if is_noticed else 1), f"{held[1]} of {held[2]} checks held"


def _program_command(client: Client, environment: Environment) -> list[str]:
    if client.command:
        return [*_own_command(client, environment), str(client.path)]
    if client.is_node:
        # Node looks for packages beside the program, not where it is run.
        copy = environment.folder / client.program
        copy.write_text(client.path.read_text())
        return [environment.program, str(copy)]
    return [environment.program, str(client.path)]


def _own_command(client: Client, environment: Environment) -> list[str]:
    name, *words = client.command
    return [str(Path(environment.program).with_name(name)), *words]


def _block_commands(
    client: Client, environment: Environment, scratch: Path, scene: Scene
) -> Iterator[list[str]]:
    for number, block in enumerate(blocks_of(scene.page, client.section, scene.place)):
        yield _block_command(client, environment, scratch / f"block-{number}", block)


def _block_command(client: Client, environment: Environment, path: Path, block: Block) -> list[str]:
    match block.language:
        case "sh":
            path.write_text(block.text)
            return ["sh", "-eu", str(path)]
        case "js" if client.is_node:
            beside = environment.folder / f"{path.name}.mjs"
            beside.write_text(block.text)
            return [environment.program, str(beside)]
        case "js":
            script = path.with_suffix(".js")
            script.write_text(block.text)
            return [*_own_command(client, environment), str(script)]
        case _:
            path.write_text(block.text)
            return [environment.program, str(path)]


def _run(
    command: list[str], scratch: Path, environment: Environment, scene: Scene
) -> subprocess.CompletedProcess[str]:
    # Nothing of ours may help or hinder a foreign program.
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    programs = Path(environment.program).parent
    own: Mapping[str, str] = {
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "NEXTWORD_API_KEY": scene.key,
        "LLM_USER_PATH": str(scratch),
        "COMPAT_REST": scene.place.rest,
        "COMPAT_GRPC": scene.place.grpc,
        "COMPAT_KEY": scene.key,
        "COMPAT_MODEL": scene.place.model,
        "COMPAT_MODEL_FOLDER": scene.place.model_folder,
        "COMPAT_SCRATCH": str(scratch),
    }
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=scratch,
        env={**kept, **own},
        start_new_session=True,
    ) as running:
        try:
            output, _ = running.communicate(timeout=PROGRAM_SECONDS)
        except BaseException:
            # With whatever it has started: that would hold the pipe open, and us with it.
            os.killpg(running.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, running.returncode, output)
