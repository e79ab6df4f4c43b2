"""`nextword tokens`: the tokens of a text, or the text of tokens."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from nextword.answers import Token
from nextword.command_line.generate import read_ids
from nextword.command_line.options import DEFAULT_REST_URL, JsonOption, ModelOption, UrlOption
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
    as_json: JsonOption = False,
) -> None:
    """Show the tokens of a text with their ids and bytes, or with --ids the text of tokens."""
    given = read_text(text)
    from nextword.client import Client

    with Client(url) as client:
        if ids:
            found = client.detokenize(read_ids(given), model=model)
            print(json.dumps({"text": found}) if as_json else visible(found))
            return
        parts = client.tokenize(given, model=model)
    if as_json:
        print(json.dumps({"count": len(parts), "tokens": [asdict(part) for part in parts]}))
    else:
        _print_table(given, parts)


def _print_table(text: str, parts: tuple[Token, ...]) -> None:
    from nextword.command_line.tables import new_table, print_table

    table = new_table("place", "id", "text", "bytes", numbers=("place", "id", "bytes"))
    encoded = text.encode()
    for place, part in enumerate(parts):
        span = f"{part.start}..{part.end}"
        table.add_row(str(place), str(part.id), _shown(part, encoded), span)
    print_table(table)
    print(f"{len(parts)} tokens for {len(encoded)} bytes")


def _shown(part: Token, encoded: bytes) -> str:
    """The token's own characters in quotes; its bytes where it holds no whole ones."""
    if part.start == part.end:
        return visible(part.text)
    piece = encoded[part.start : part.end]
    try:
        return repr(piece.decode())
    except UnicodeDecodeError:
        return f"<{piece.hex(' ').upper()}>"
