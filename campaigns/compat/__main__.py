"""Campaign 9: programs that people already use, unmodified. `make compat`.

Each package is installed into an environment of its own and tries a running server that asks for a
key, with a program and with the blocks of docs/clients.md, where the table of what was tried with
which version is then written. With --control the server answers carelessly, and the status is 3
when every program noticed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from campaigns.compat.clients import CLIENTS
from campaigns.compat.page import Place
from campaigns.compat.table import write_table
from campaigns.compat.trials import Scene, Trial, try_client
from campaigns.live.server_process import REPOSITORY, running_server
from campaigns.live.tiny_model import CHAT_TEMPLATE, publish_tiny_model
from campaigns.verdict import NOTICED, control_status

__all__ = ["main"]

CONTEXT_TOKENS = 4096
KEY = "a-key-of-the-campaign-0123456789"
MODEL = "tiny"
CARELESS = "campaigns.broken_builds.careless_server"
PAGE = REPOSITORY / "docs" / "clients.md"


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
            place = Place(server.rest, server.grpc, MODEL, str(folder))
            scene = Scene(place, KEY, "" if chosen.control else PAGE.read_text("utf-8"))
            for client in CLIENTS:
                if client.name in chosen.only:
                    began = time.monotonic()
                    trials.append(try_client(client, chosen.environments / client.name, scene))
                    _report(trials[-1], seconds=time.monotonic() - began)
    if chosen.control:
        return _judge_control(trials)
    if any(trial.status for trial in trials):
        return 1
    write_table(PAGE, [(trial.client, trial.version, trial.word) for trial in trials])
    return 0


def _report(trial: Trial, *, seconds: float) -> None:
    verdict = {0: "works", NOTICED: "WRONG"}.get(trial.status, "FELL OVER")
    print(f"{trial.client.name} {trial.version}: {verdict} ({trial.word}), {seconds:.0f} s")
    sys.stdout.flush()


def _judge_control(trials: Sequence[Trial]) -> int:
    if fallen := [trial.client.name for trial in trials if trial.status not in (0, NOTICED)]:
        print(f"fell over: {', '.join(fallen)}")
        return 1
    noticed = [f"{trial.client.name}: {trial.word}" for trial in trials if trial.status]
    return control_status(noticed, is_complete=len(noticed) == len(trials))


if __name__ == "__main__":
    sys.exit(main())
