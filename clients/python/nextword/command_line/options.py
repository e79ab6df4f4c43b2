"""Options that several commands share."""

from typing import Annotated

import typer

from nextword.address import DEFAULT_GRPC_URL, DEFAULT_REST_URL

__all__ = ["DEFAULT_REST_URL", "JsonOption", "ModelOption", "TimeoutOption", "UrlOption"]

UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="NEXTWORD_URL",
        metavar="URL",
        help=f"The server: http(s):// for REST, grpc:// for gRPC (such as {DEFAULT_GRPC_URL}).",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="NAME[@VERSION]", help="Which model is asked."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.001, max=86400, help="When to give up."),
]
