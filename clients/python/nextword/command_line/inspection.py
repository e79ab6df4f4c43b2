"""`nextword inspect`: how the tokens of a text were chosen, or might have been."""

from typing import Annotated

import typer

from nextword.command_line.options import (
    DEFAULT_REST_URL,
    CaFileOption,
    JsonOption,
    KeyFileOption,
    ModelOption,
    TimeoutOption,
    UrlOption,
    open_client,
)
from nextword.command_line.terminal_text import read_text

__all__ = ["inspect"]

_SAMPLING = "Sampling (what is not given is the model's default)"


def inspect(
    text: Annotated[str, typer.Argument(help="A text; - reads the standard input.")],
    model: ModelOption = None,
    url: UrlOption = DEFAULT_REST_URL,
    key_file: KeyFileOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = 600.0,
    candidates: Annotated[
        int, typer.Option("--candidates", "-c", metavar="N", help="Likeliest tokens to show.")
    ] = 3,
    make: Annotated[
        int | None,
        typer.Option("--make", metavar="N", help="Continue the text by N tokens and show those."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "-t", metavar="X", rich_help_panel=_SAMPLING),
    ] = None,
    top_k: Annotated[int | None, typer.Option(metavar="K", rich_help_panel=_SAMPLING)] = None,
    top_p: Annotated[float | None, typer.Option(metavar="P", rich_help_panel=_SAMPLING)] = None,
    min_p: Annotated[float | None, typer.Option(metavar="P", rich_help_panel=_SAMPLING)] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", rich_help_panel=_SAMPLING)] = None,
) -> None:
    """Show how likely each token of a text was, what else might have come, and which number chose.

    With --make the tokens of a continuation, as they were chosen.
    """
    given = read_text(text)
    from nextword.request import InspectionRequest, SamplingParameters

    wanted = InspectionRequest(candidates=candidates)
    parameters = SamplingParameters(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed, max_tokens=make
    )
    with open_client(url, key_file=key_file, ca_file=ca_file) as client:
        if make is None:
            inspections = client.glass_box.inspect_text(
                given, parameters=parameters, inspect=wanted, model=model, timeout_seconds=timeout
            ).inspections
        else:
            (choice,) = client.generate(
                given, parameters=parameters, inspect=wanted, model=model, timeout_seconds=timeout
            ).choices
            inspections = choice.inspections
    from nextword.command_line.inspection_table import inspections_json, print_inspections

    if as_json:
        print(inspections_json(inspections))
    else:
        print_inspections(inspections)
