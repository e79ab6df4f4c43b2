"""`nextword bench`: how fast a server is, seen from its clients."""

import json
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from nextword.address import DEFAULT_REST_URL, parse_address
from nextword.command_line.options import (
    CaFileOption,
    JsonOption,
    KeyFileOption,
    ModelOption,
    api_key_of,
)

__all__ = ["bench"]


def bench(
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            envvar="NEXTWORD_URL",
            metavar="URL",
            help="A server, http(s):// or grpc(s)://; repeatable, measured in turns. "
            f"Default: {DEFAULT_REST_URL}.",
        ),
    ] = None,
    key_file: KeyFileOption = None,
    ca_file: CaFileOption = None,
    api: Annotated[
        Literal["native", "openai", "openai-chat"],
        typer.Option(
            help="openai: /v1/completions of any server, openai-chat: its chat completions; "
            "tokens counted by its usage."
        ),
    ] = "native",
    model: ModelOption = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency",
            "-c",
            metavar="LIST",
            help="Closed loops: numbers of clients, '1,4,16'.  [default: 1,4 without --rate]",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option("--rate", "-r", metavar="LIST", help="Open loops: requests/s, '0.5,2,8'."),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Look for the highest rate that keeps --objective.")
    ] = False,
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="BOUNDS",
            help="What requests must keep: 'ttft=300ms,itl=50ms' (also tpot, e2e, share=99%).",
        ),
    ] = None,
    arrivals: Annotated[
        Literal["poisson", "constant"], typer.Option(help="How an open loop spreads requests.")
    ] = "poisson",
    requests: Annotated[
        int | None, typer.Option("--requests", "-n", metavar="N", help="Requests of each level.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", "-s", metavar="S", help="Or its length in seconds (10 if neither)."
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Requests before each level that do not count.  "
            "[default: one per client, or one second of them]",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(metavar="N", help="How often, in turns; the table shows medians.")
    ] = 1,
    prompt_tokens: Annotated[
        str,
        typer.Option(metavar="N", help="Length of prompts, random and never twice; or '16-512'."),
    ] = "32",
    shared_prefix_tokens: Annotated[
        int, typer.Option(metavar="N", help="So many at the beginning of prompts are the same.")
    ] = 0,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead: a prompt a line, or .jsonl with prompt (text or ids), max_tokens.",
        ),
    ] = None,
    max_tokens: Annotated[
        str, typer.Option(metavar="N", help="Tokens that each request must get, exactly; or '8-64'")
    ] = "64",
    temperature: Annotated[
        float | None, typer.Option(metavar="X", help="As in generate.  [default: the server's]")
    ] = None,
    vocabulary_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="openai: prompts are ids below N.  [default: the server's, else words]",
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=JSON",
            help="A sampling parameter, such as top_k=40; repeatable. openai: any field.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Chooses prompts, seeds and arrivals.")
    ] = 0,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, max=86400, help="For each request."),
    ] = 120.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the report as JSON."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write it as a page with plots."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure a server under load.

    In a closed loop each client sends a request when its last one has ended. In an open loop
    requests come at a rate, whatever the server does, and times count from when each was due.
    A request that brings other than exactly the tokens asked for is a failure.
    """
    for option, path in (("--output", output), ("--html", html)):
        if path is not None and not path.parent.is_dir():
            raise typer.BadParameter(f"{option} {path}: there is no folder {path.parent}")
    # Other commands do not wait for what only this one needs.
    from nextword.bench.objective import parse_objective
    from nextword.bench.plan import Plan
    from nextword.bench.prompts import PromptSource, parse_lengths, read_prompts
    from nextword.command_line.bench_run import run_bench

    if concurrency is None and rate is None and not sweep:
        concurrency = "1,4"
    plan = Plan(
        addresses=tuple(parse_address(text) for text in url or (DEFAULT_REST_URL,)),
        api=api,
        model=model,
        concurrencies=tuple(int(word) for word in _words("--concurrency", concurrency)),
        rates=tuple(float(word) for word in _words("--rate", rate)),
        is_sweep=sweep,
        arrivals=arrivals,
        num_requests=requests,
        seconds=10.0 if requests is None and seconds is None else seconds,
        num_warmup_requests=warmup,
        num_repeats=repeats,
        prompts=PromptSource(
            prompt_tokens=parse_lengths(prompt_tokens, option="--prompt-tokens"),
            shared_prefix_tokens=shared_prefix_tokens,
            max_tokens=parse_lengths(max_tokens, option="--max-tokens"),
            file=None if prompts is None else str(prompts),
            given=() if prompts is None else read_prompts(prompts),
        ),
        objective=None if objective is None else parse_objective(objective),
        temperature=temperature,
        vocabulary_size=vocabulary_size,
        parameters=dict(_parameter(text) for text in parameter or ()),
        seed=seed,
        timeout_seconds=timeout,
        api_key=api_key_of(key_file),
        ca_file=ca_file,
    )
    return run_bench(plan, output=output, html=html, as_json=as_json)


def _words(option: str, text: str | None) -> list[str]:
    """The numbers of a list, which may be empty."""
    if text is None:
        return []
    words = text.replace(",", " ").split()
    for word in words:
        digits = word.replace(".", "", 1) if option == "--rate" else word
        if not (digits.isascii() and digits.isdecimal()):
            raise typer.BadParameter(f"{option} is a list of numbers such as 1,4,16, not {text!r}")
    if not words:
        raise typer.BadParameter(f"{option} is a list of numbers such as 1,4,16, not empty")
    return words


def _parameter(text: str) -> tuple[str, object]:
    name, separator, value = text.partition("=")
    try:
        if name and separator:
            return name, cast("object", json.loads(value))
    except (ValueError, RecursionError):
        pass
    raise typer.BadParameter(f"--parameter is NAME=JSON, such as top_k=40, not {text[:80]!r}")
