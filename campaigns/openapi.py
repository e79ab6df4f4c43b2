"""Requests drawn from the OpenAPI page, valid and broken. `make campaign-openapi`.

schemathesis sends every example, every odd value of each parameter and random bodies to a running
server: no answer may be a fault of ours, none may differ from its schema, and what breaks a schema
is refused. With --control the page denies a field that answers have; the status is 3 when the run
fails and names that field.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from campaigns.broken_builds.denying_page import DENIED
from campaigns.live.server_process import REPOSITORY, running_server
from campaigns.live.tiny_model import publish_tiny_model
from campaigns.verdict import control_status

__all__ = ["main"]

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "unsupported_method", "negative_data_rejection"),
)
SEED = 20261123


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 0 when nothing was found, 3 when the control was noticed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.openapi", description=__doc__)
    parser.add_argument("--examples", type=int, default=50, help="random bodies for each route")
    parser.add_argument("--control", action="store_true", help="let the page deny a field")
    chosen = parser.parse_args(arguments)
    module = ("campaigns.broken_builds.denying_page",) if chosen.control else ("service",)
    with tempfile.TemporaryDirectory() as root:
        folder = publish_tiny_model(Path(root) / "tiny")
        with running_server("--model", f"tiny={folder}", "--threads", "1", module=module) as server:
            done = subprocess.run(
                [
                    str(Path(sys.executable).with_name("schemathesis")),
                    *("--config-file", str(REPOSITORY / "tests/contract/schemathesis.toml")),
                    *("run", f"{server.rest}/openapi.json", "--checks", ",".join(CHECKS)),
                    *("--phases", "examples,coverage,fuzzing", "--seed", str(SEED)),
                    *("--max-examples", str(chosen.examples), "--generation-database", "none"),
                ],
                check=False,
                cwd=root,  # where it leaves what it has found
                stdout=subprocess.PIPE if chosen.control else None,
                text=True,
            )
    if not chosen.control:
        return 1 if done.returncode else 0
    print(done.stdout)
    if done.returncode not in (0, 1):
        return 1  # it fell over
    # Other findings show whole answers, in which the field stands too.
    complaint = f"('{DENIED}' was unexpected)"
    named = [line.strip() for line in done.stdout.splitlines() if complaint in line]
    return control_status(named if done.returncode else [])


if __name__ == "__main__":
    sys.exit(main())
