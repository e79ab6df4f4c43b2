"""`nextword models`: which models a server has."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from nextword.command_line.options import (
    DEFAULT_REST_URL,
    CaFileOption,
    JsonOption,
    KeyFileOption,
    UrlOption,
    open_client,
)
from nextword.command_line.terminal_text import visible

__all__ = ["models"]


def models(
    name: Annotated[
        str | None, typer.Argument(help="NAME or NAME@VERSION: print this model's card.")
    ] = None,
    url: UrlOption = DEFAULT_REST_URL,
    key_file: KeyFileOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the served models, or show the card of one."""
    with open_client(url, key_file=key_file, ca_file=ca_file) as client:
        if name is not None:
            model = client.get_model(name)
            print(json.dumps(asdict(model)) if as_json else visible(model.card))
            return
        found = client.list_models()
    if as_json:
        print(json.dumps([asdict(model) for model in found]))
    else:
        from nextword.command_line.model_table import print_models

        print_models(found)
