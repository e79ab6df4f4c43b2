"""`nextword tokens`: the tokens of a text, or the text of tokens."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from nextword.command_line.generate import read_ids
from nextword.command_line.options import (
    DEFAULT_REST_URL,
    CaFileOption,
    JsonOption,
    KeyFileOption,
    ModelOption,
    UrlOption,
    open_client,
)
from nextword.command_line.terminal_text import read_text, visible

__all__ = ["tokens"]


def tokens(
    text: Annotated[
        str, typer.Argument(help="A text (or ids with --ids); - reads the standard input.")
    ],
    ids: Annotated[
        bool, typer.Option("--ids", help="TEXT holds token ids: print the text they stand for.")
    ] = False,
    model: ModelOption = None,
    url: UrlOption = DEFAULT_REST_URL,
    key_file: KeyFileOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the tokens of a text with their ids and bytes, or with --ids the text of tokens."""
    given = read_text(text)
    with open_client(url, key_file=key_file, ca_file=ca_file) as client:
        if ids:
            found = client.detokenize(read_ids(given), model=model)
            print(json.dumps({"text": found}) if as_json else visible(found))
            return
        parts = client.tokenize(given, model=model)
    if as_json:
        print(json.dumps({"count": len(parts), "tokens": [asdict(part) for part in parts]}))
    else:
        from nextword.command_line.token_table import print_tokens

        print_tokens(given, parts)
