"""What a load test is about to do, and its figures as a table, a column for each level."""

import sys
from collections.abc import Callable, Sequence

from nextword.bench.distribution import Distribution
from nextword.bench.plan import Plan, clients
from nextword.bench.results import LevelResult
from nextword.bench.server_facts import ServerFacts
from nextword.command_line.tables import new_table, print_table

__all__ = ["print_plan", "print_results"]

_Row = tuple[str, Callable[[LevelResult], str]]


def print_plan(plan: Plan, servers: Sequence[ServerFacts]) -> None:
    """Say on the standard error what is about to be done."""
    length = f"{plan.num_requests} requests" if plan.seconds is None else f"{plan.seconds:g} s"
    warmup = plan.num_warmup_requests
    sampling = "the server's" if plan.temperature is None else f"{plan.temperature:g}"
    counted = "token ids" if plan.api == "native" else "the server's usage"
    for server in servers:
        version = "" if server.model_version is None else f"@{server.model_version}"
        how = f", computed by {server.computed_by}" if server.computed_by else ""
        print(f"{server.url}: {server.model}{version}{how}, {plan.api} API", file=sys.stderr)
    has_ids = plan.vocabulary_size is not None or all(server.vocabulary_size for server in servers)
    unit = "tokens" if has_ids else "words"
    print(
        f"closed loop, streamed, one connection per client; prompts of {plan.num_prompt_tokens} "
        f"random {unit}, exactly {plan.max_tokens} tokens out (counted by {counted}), "
        f"temperature {sampling}, seed {plan.seed}; each level {length} after "
        f"{'one warm-up request per client' if warmup is None else f'{warmup} warm-up requests'}",
        file=sys.stderr,
    )


def print_results(results: Sequence[LevelResult]) -> None:
    """Print a table for each server, and below it what went wrong."""
    for url in dict.fromkeys(result.url for result in results):
        levels = [result for result in results if result.url == url]
        names = [f"{clients(level.concurrency)}" for level in levels]
        table = new_table(url, *names, numbers=tuple(names))
        for name, show in _ROWS:
            table.add_row(name, *(show(level) for level in levels))
        print()
        print_table(table)
        for level in levels:
            _print_remarks(level)


def _print_remarks(level: LevelResult) -> None:
    for error in level.errors:
        print(f"{clients(level.concurrency)}: {error.count} x {error.code}: {error.example}")
    if not level.is_complete:
        print(f"{clients(level.concurrency)}: stopped after {level.seconds:.1f} s")
    if level.is_client_busy:
        print(
            f"{clients(level.concurrency)}: this process used {level.client_cpu_share:.0%} of a "
            "core, so its own work is part of these figures"
        )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"


def _spread(name: str, pick: Callable[[LevelResult], Distribution]) -> list[_Row]:
    return [
        (f"{name}, p50 ms", lambda level: _milliseconds(pick(level).p50)),
        ("    p90", lambda level: _milliseconds(pick(level).p90)),
        ("    p99", lambda level: _milliseconds(pick(level).p99)),
    ]


_ROWS: list[_Row] = [
    ("requests ok", lambda level: str(level.num_ok)),
    ("requests failed", lambda level: str(level.num_requests - level.num_ok)),
    ("seconds", lambda level: f"{level.seconds:.1f}"),
    ("requests/s", lambda level: f"{level.requests_per_second:.2f}"),
    ("tokens/s", lambda level: f"{level.output_tokens_per_second:.1f}"),
    *_spread("first token", lambda level: level.first_token_seconds),
    *_spread("between tokens", lambda level: level.between_tokens_seconds),
    *_spread("whole request", lambda level: level.request_seconds),
    ("client's CPU", lambda level: f"{level.client_cpu_share:.0%}"),
]
