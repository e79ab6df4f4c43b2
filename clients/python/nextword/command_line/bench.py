"""`nextword bench`: how fast a server is, seen from its clients."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nextword.address import DEFAULT_REST_URL, parse_address
from nextword.command_line.options import JsonOption, KeyFileOption, ModelOption, api_key_of

__all__ = ["bench"]


def bench(
    url: Annotated[
        list[str] | None,
        typer.Option(
            "--url",
            envvar="NEXTWORD_URL",
            metavar="URL",
            help="A server, http(s):// or grpc(s)://; repeatable, measured one after another. "
            f"Default: {DEFAULT_REST_URL}.",
        ),
    ] = None,
    key_file: KeyFileOption = None,
    api: Annotated[
        Literal["native", "openai"],
        typer.Option(
            help="openai: the /v1/completions of any server; tokens counted by its usage."
        ),
    ] = "native",
    model: ModelOption = None,
    concurrency: Annotated[
        str,
        typer.Option("--concurrency", "-c", metavar="LIST", help="Numbers of clients: '1,4,16'."),
    ] = "1,4",
    requests: Annotated[
        int | None, typer.Option("--requests", "-n", metavar="N", help="Requests of each level.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", "-s", metavar="S", help="Or its length in seconds (10 if neither)."
        ),
    ] = None,
    prompt_tokens: Annotated[
        int, typer.Option(metavar="N", help="Length of each prompt, random and never twice.")
    ] = 32,
    max_tokens: Annotated[
        int, typer.Option(metavar="N", help="Tokens that each request must get, exactly.")
    ] = 64,
    warmup: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Requests before each level that do not count.  [default: one per client]",
        ),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="X", help="As in generate.  [default: the server's]")
    ] = None,
    vocabulary_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="openai: prompts are ids below N instead of words."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Chooses prompts and seeds.")] = 0,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, max=86400, help="For each request."),
    ] = 120.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the report as JSON."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Measure a server in a closed loop: each client sends a request when its last one has ended.

    Reports the time to the first token, between tokens and of whole requests, tokens/s, requests/s,
    failures by kind, and how busy the client itself was. A request that brings other than exactly
    the tokens asked for is a failure.
    """
    if output is not None and not output.parent.is_dir():
        raise typer.BadParameter(f"--output {output}: there is no folder {output.parent}")
    # Other commands do not wait for what only this one needs.
    from nextword.bench.plan import Plan
    from nextword.command_line.bench_run import run_bench

    plan = Plan(
        addresses=tuple(parse_address(text) for text in url or (DEFAULT_REST_URL,)),
        api=api,
        model=model,
        concurrencies=_concurrencies(concurrency),
        num_requests=requests,
        seconds=10.0 if requests is None and seconds is None else seconds,
        num_prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        num_warmup_requests=warmup,
        temperature=temperature,
        vocabulary_size=vocabulary_size,
        seed=seed,
        timeout_seconds=timeout,
        api_key=api_key_of(key_file),
    )
    return run_bench(plan, output=output, as_json=as_json)


def _concurrencies(text: str) -> tuple[int, ...]:
    words = text.replace(",", " ").split()
    for word in words:
        if not word.isdecimal():
            raise typer.BadParameter(f"--concurrency is a list such as 1,4,16, not {text!r}")
    return tuple(int(word) for word in words)
