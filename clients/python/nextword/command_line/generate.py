"""`nextword generate`: the next words of a text as they come."""

from collections.abc import Sequence
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

__all__ = ["generate"]

_SAMPLING = "Sampling (what is not given is the model's default)"


def generate(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The text to continue; - reads it from the standard input."),
    ] = None,
    prompt_ids: Annotated[
        str | None,
        typer.Option("--prompt-ids", metavar="IDS", help="Token ids instead: '5, 17, 9'."),
    ] = None,
    model: ModelOption = None,
    url: UrlOption = DEFAULT_REST_URL,
    key_file: KeyFileOption = None,
    ca_file: CaFileOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary at the end.")] = False,
    timeout: TimeoutOption = 600.0,
    parse_special_tokens: Annotated[
        bool,
        typer.Option("--parse-special-tokens", help="Read names of control tokens as those."),
    ] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(metavar="N", help="Tokens to make at most.", rich_help_panel=_SAMPLING),
    ] = None,
    min_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Tokens before which nothing ends it.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            "-t",
            metavar="X",
            help="0 takes the likeliest token, 1 draws as the model says.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(metavar="K", help="Only the K likeliest; 0: all.", rich_help_panel=_SAMPLING),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="Only the likeliest that reach P together.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Only those at least P times as likely as the likeliest.",
            rich_help_panel=_SAMPLING,
        ),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Above 1: what was there is less likely.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    presence_penalty: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Taken from tokens already written.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    frequency_penalty: Annotated[
        float | None,
        typer.Option(metavar="X", help="The same for each time.", rich_help_panel=_SAMPLING),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="The same seed, the same text.", rich_help_panel=_SAMPLING),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="End before this text; repeatable.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    stop_token_id: Annotated[
        list[int] | None,
        typer.Option(
            metavar="ID", help="End before this token; repeatable.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", "-n", metavar="N", help="Continuations.", rich_help_panel=_SAMPLING),
    ] = None,
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID=X", help="Added to a token's logit; repeatable.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    logprobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Tell each token's N likeliest rivals.", rich_help_panel=_SAMPLING
        ),
    ] = None,
    echo: Annotated[
        bool | None,
        typer.Option("--echo", help="Begin with the prompt.", rich_help_panel=_SAMPLING),
    ] = None,
    ignore_eos: Annotated[
        bool | None,
        typer.Option("--ignore-eos", help="Go on past the end of text.", rich_help_panel=_SAMPLING),
    ] = None,
) -> int:
    """Print the next words of a text as the server makes them.

    The text goes to the standard output; how it ended, the rate and the seed to the standard error.
    Ctrl-C cancels the request.
    """
    if (prompt is None) == (prompt_ids is None):
        raise typer.BadParameter("give a PROMPT or --prompt-ids, one of the two")
    # Help, mistakes in options and other commands do not wait for what only this one needs.
    from nextword.command_line.generation_output import print_generation, print_stream
    from nextword.request import SamplingParameters

    parameters = SamplingParameters(
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        seed=seed,
        stop=stop or None,
        stop_token_ids=stop_token_id or None,
        n=n,
        logit_bias=_biases(logit_bias or ()),
        logprobs=logprobs,
        echo=echo,
        ignore_eos=ignore_eos,
    )
    with open_client(url, key_file=key_file, ca_file=ca_file) as client:
        stream = client.stream(
            read_text(prompt) if prompt is not None else read_ids(prompt_ids or ""),
            parameters=parameters,
            model=model,
            timeout_seconds=timeout,
            parse_special_tokens=parse_special_tokens,
        )
        if as_json:
            return print_generation(stream)
        return print_stream(stream, is_quiet=quiet)


def read_ids(text: str) -> list[int]:
    """Token ids in decimal, separated by commas or white space.

    Raises:
        BadParameter: A word of it is no whole number.
    """
    words = text.replace(",", " ").split()
    for word in words:
        if not word.removeprefix("-").isdecimal():
            raise typer.BadParameter(f"token ids are whole numbers, not {word!r}")
    return [int(word) for word in words]


def _biases(entries: Sequence[str]) -> dict[int, float] | None:
    biases: dict[int, float] = {}
    for entry in entries:
        token_id, _, value = entry.partition("=")
        try:
            biases[int(token_id)] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"--logit-bias is ID=X, such as 50=-100, not {entry!r}"
            ) from None
    return biases or None
