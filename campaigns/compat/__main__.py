"""Campaign 9: programs that people already use, unmodified. `make compat`.

Each package is installed into an environment of its own and tries a running server that asks for a
key; the table of what was tried with which version is written into docs/clients.md. With --control
the server answers carelessly, and the status is 3 when every program noticed.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from campaigns.compat.clients import CLIENTS, Client
from campaigns.compat.environments import (
    Environment,
    EnvironmentFailedError,
    node_environment,
    python_environment,
)
from campaigns.compat.table import write_table
from campaigns.live.server_process import REPOSITORY, ServerProcess, running_server
from campaigns.live.tiny_model import CHAT_TEMPLATE, publish_tiny_model
from campaigns.verdict import NOTICED, control_status

__all__ = ["main"]

CONTEXT_TOKENS = 4096
KEY = "a-key-of-the-campaign-0123456789"
MODEL = "tiny"
PROGRAM_SECONDS = 1200
CARELESS = "campaigns.broken_builds.careless_server"


@dataclass(frozen=True, slots=True)
class Trial:
    """How one package's program ended.

    Attributes:
        status: 0 when everything held, NOTICED when something did not, else it fell over.
        version: Of the package.
        word: Its last line: how many checks held, or which did not.
    """

    client: Client
    status: int
    version: str
    word: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 0 when every package works, 3 when the control was noticed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.compat", description=__doc__)
    names = [client.name for client in CLIENTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these packages")
    parser.add_argument(
        "--environments",
        type=Path,
        default=REPOSITORY / "build" / "compat",
        help="where they are installed, to be used again",
    )
    parser.add_argument("--control", action="store_true", help="against a careless server")
    chosen = parser.parse_args(arguments)
    clients = [client for client in CLIENTS if client.name in chosen.only]
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory() as root:
        folder = publish_tiny_model(
            Path(root) / MODEL, context_tokens=CONTEXT_TOKENS, chat_template=CHAT_TEMPLATE
        )
        keys = Path(root) / "keys"
        keys.touch(mode=0o600)
        keys.write_text(f"{KEY} campaign\n")
        with running_server(
            *("--model", str(folder), "--device", "cpu", "--dtype", "f32", "--threads", "1"),
            *("--api-key-file", str(keys), "--max-running", "8", "--max-queued", "64"),
            module=(CARELESS if chosen.control else "service",),
        ) as server:
            for client in clients:
                began = time.monotonic()
                trial = _try(client, chosen.environments / client.name, server, folder)
                trials.append(trial)
                seconds = time.monotonic() - began
                verdict = {0: "works", NOTICED: "WRONG"}.get(trial.status, "FELL OVER")
                print(f"{client.name} {trial.version}: {verdict} ({trial.word}), {seconds:.0f} s")
                sys.stdout.flush()
    if chosen.control:
        return _judge_control(trials)
    if any(trial.status for trial in trials):
        return 1
    rows = [(trial.client, trial.version, trial.word) for trial in trials]
    write_table(REPOSITORY / "docs" / "clients.md", rows)
    return 0


def _judge_control(trials: Sequence[Trial]) -> int:
    if fallen := [trial.client.name for trial in trials if trial.status not in (0, NOTICED)]:
        print(f"fell over: {', '.join(fallen)}")
        return 1
    noticed = [f"{trial.client.name}: {trial.word}" for trial in trials if trial.status]
    return control_status(noticed, is_complete=len(noticed) == len(trials))


def _try(client: Client, folder: Path, server: ServerProcess, model_folder: Path) -> Trial:
    make = node_environment if client.is_node else python_environment
    try:
        environment = make(folder, client.packages)
    except EnvironmentFailedError as error:
        return Trial(client, 1, "?", str(error))
    version = next(iter(environment.versions.values()))
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            _command(client, environment, Path(scratch)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PROGRAM_SECONDS,
            cwd=scratch,
            env={
                # Nothing of ours may help or hinder a foreign program.
                **{name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
                "COMPAT_REST": server.rest,
                "COMPAT_GRPC": server.grpc,
                "COMPAT_KEY": KEY,
                "COMPAT_MODEL": MODEL,
                "COMPAT_MODEL_FOLDER": str(model_folder),
                "COMPAT_SCRATCH": scratch,
            },
        )
    lines = done.stdout.strip().splitlines() or ["said nothing"]
    if done.returncode not in (0, NOTICED):
        print("\n".join(lines[-12:]))
    word = lines[-1]
    if client.command:
        return _of_command(client, done.returncode, version, done.stdout)
    if done.returncode == 0 and not re.fullmatch(r"[1-9][0-9]*", word):
        return Trial(client, 1, version, f"held no check: {word}")
    return Trial(client, done.returncode, version, word)


def _command(client: Client, environment: Environment, scratch: Path) -> list[str]:
    if client.command:
        name, *words = client.command
        return [str(Path(environment.program).with_name(name)), *words, str(client.path)]
    if client.is_node:
        # Node looks for packages beside the program, not where it is run.
        copy = environment.folder / client.program
        copy.write_text(client.path.read_text())
        return [environment.program, str(copy)]
    del scratch
    return [environment.program, str(client.path)]


def _of_command(client: Client, status: int, version: str, output: str) -> Trial:
    """A command has a status of its own for checks that did not hold, and counts them."""
    held = re.search(r"checks_succeeded\.*: [0-9.]+% (\d+) out of (\d+)", output)
    crossed = "thresholds on metrics" in output
    if held is None:
        return Trial(client, 1, version, "counted no checks")
    word = held[1] if status == 0 else f"{held[1]} of {held[2]} checks held"
    if status and crossed and int(held[2]):
        return Trial(client, NOTICED, version, word)
    return Trial(client, status, version, word)


if __name__ == "__main__":
    sys.exit(main())
