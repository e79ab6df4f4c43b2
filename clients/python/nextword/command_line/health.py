"""`nextword health`: whether a server takes requests, for people, probes and containers."""

import json
import sys
import time
from dataclasses import asdict
from typing import Annotated

import typer

from nextword.address import DEFAULT_GRPC_URL, DEFAULT_REST_URL, parse_address
from nextword.command_line.exit_codes import ExitCode
from nextword.command_line.options import CaFileOption, JsonOption
from nextword.health import Health, check_health

__all__ = ["health"]

_PAUSE_SECONDS = 0.2


def health(
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="A server to ask, http(s):// or grpc(s)://; repeatable. "
            f"Default: {DEFAULT_REST_URL} and {DEFAULT_GRPC_URL}.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.001, max=3600, help="For each answer."),
    ] = 3.0,
    wait: Annotated[
        float,
        typer.Option("--wait", metavar="SECONDS", min=0, max=86400, help="Until all are ready."),
    ] = 0.0,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> int:
    """Exit with 0 when the server takes requests over every given URL, with 1 when not.

    Serves as a container's health check: HEALTHCHECK CMD ["nextword", "health"].
    """
    addresses = [parse_address(text) for text in url or (DEFAULT_REST_URL, DEFAULT_GRPC_URL)]
    ends_at = time.monotonic() + wait
    while True:
        found = [
            check_health(address, timeout_seconds=timeout, ca_file=ca_file) for address in addresses
        ]
        are_ready = all(answer.is_ready for answer in found)
        if are_ready or time.monotonic() + _PAUSE_SECONDS > ends_at:
            break
        time.sleep(_PAUSE_SECONDS)
    _print(found, as_json=as_json)
    return ExitCode.DONE if are_ready else ExitCode.FAILED


def _print(found: list[Health], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(answer) for answer in found]))
        return
    for answer in found:
        # What is wrong must be seen where the output goes to a log of errors only.
        stream = sys.stdout if answer.is_ready else sys.stderr
        print(f"{answer.url}: {answer.status}", file=stream)
