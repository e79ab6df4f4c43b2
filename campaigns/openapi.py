"""Requests drawn from the OpenAPI page, valid and broken. `make campaign-openapi`.

schemathesis sends every example, every odd value of each parameter and random bodies to a running
server: no answer may be a fault of ours, none may differ from its schema, and what breaks a schema
is refused. With --control the page denies a field that answers have, and the run must fail.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from campaigns.server_process import REPOSITORY, running_server
from campaigns.tiny_model import publish_tiny_model

__all__ = ["main"]

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "unsupported_method", "negative_data_rejection"),
)
SEED = 20261123


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; schemathesis's own status, 0 when it found nothing."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.openapi", description=__doc__)
    parser.add_argument("--examples", type=int, default=50, help="random bodies for each route")
    parser.add_argument("--control", action="store_true", help="let the page deny a field")
    chosen = parser.parse_args(arguments)
    module = ("campaigns.denying_page",) if chosen.control else ("service",)
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
            )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
