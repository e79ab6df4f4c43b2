"""Options that several commands share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from nextword.address import DEFAULT_GRPC_URL, DEFAULT_REST_URL

if TYPE_CHECKING:
    from nextword.answers import Model
    from nextword.client import Client

__all__ = [
    "DEFAULT_REST_URL",
    "CaFileOption",
    "JsonOption",
    "KeyFileOption",
    "ModelOption",
    "TimeoutOption",
    "UrlOption",
    "api_key_of",
    "open_client",
]

KEY_VARIABLE = "NEXTWORD_API_KEY"

UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="NEXTWORD_URL",
        metavar="URL",
        help=f"The server: http(s):// for REST, grpc(s):// for gRPC (such as {DEFAULT_GRPC_URL}).",
    ),
]


def _served_models(context: typer.Context, incomplete: str) -> list[str]:
    """What a shell offers after --model: the server's own names, where it answers soon."""
    from nextword.client import Client
    from nextword.errors import NextwordError

    params = cast("dict[str, object]", context.params)
    url = params.get("url") or os.environ.get("NEXTWORD_URL") or DEFAULT_REST_URL
    key_file = params.get("key_file") or os.environ.get("NEXTWORD_KEY_FILE")
    try:
        key = api_key_of(None if key_file is None else Path(str(key_file)))
        with Client(str(url), timeout_seconds=2.0, api_key=key, max_retries=0) as client:
            models = client.list_models()
    except NextwordError:
        return []
    names = [name for model in models for name in (model.id, *_with_versions(model))]
    return [name for name in names if name.startswith(incomplete)]


def _with_versions(model: "Model") -> list[str]:
    return [f"{model.id}@{version}" for version in model.versions]


ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME[@VERSION]",
        help="Which model is asked.",
        autocompletion=_served_models,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="NEXTWORD_KEY_FILE",
        metavar="FILE",
        help=f"Holds the API key, where the server asks for one; or set {KEY_VARIABLE}.",
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        envvar="NEXTWORD_CA_FILE",
        metavar="FILE",
        help="Certificates (PEM) to trust with https:// and grpcs://, instead of this machine's.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TimeoutOption = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", min=0.001, max=86400, help="When to give up."),
]


def api_key_of(key_file: Path | None) -> str | None:
    """The key to show: the file's, else the environment's; None where neither has one.

    There is no option for the key itself: what is typed stays in the shell's history, and every
    user of the machine can read the arguments of a process.

    Raises:
        NotPossibleError: The file has none.
    """
    if key_file is None:
        return os.environ.get(KEY_VARIABLE) or None
    from nextword.api_key import read_key_file

    return read_key_file(key_file)


def open_client(url: str, *, key_file: Path | None, ca_file: Path | None) -> "Client":
    """A client of the server that the options name.

    It asks once: a person sees at once what is wrong, and a script decides itself what to repeat.

    Raises:
        NotPossibleError: An option cannot be.
    """
    # Help, mistakes in options and other commands do not wait for it.
    from nextword.client import Client

    return Client(url, api_key=api_key_of(key_file), max_retries=0, ca_file=ca_file)
