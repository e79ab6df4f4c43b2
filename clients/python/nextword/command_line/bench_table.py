"""What a load test is about to do, and its figures as a table, a column for each level."""

import sys
from collections.abc import Callable, Sequence

from nextword.bench.distribution import Distribution
from nextword.bench.objective import Objective
from nextword.bench.plan import Plan, clients
from nextword.bench.repeats import median_of, whole_levels
from nextword.bench.results import Goodput, LevelResult
from nextword.bench.server_facts import ServerFacts
from nextword.bench.sweep import SweepResult
from nextword.command_line.tables import new_table, print_table

__all__ = ["print_plan", "print_results", "print_sweeps"]

# A cell of the table, out of a level's repeats.
_Cell = Callable[[list[LevelResult]], str]
_Row = tuple[str, _Cell]


def print_plan(plan: Plan, servers: Sequence[ServerFacts]) -> None:
    """Say on the standard error what is about to be done."""
    for server in servers:
        version = "" if server.model_version is None else f"@{server.model_version}"
        how = f", computed by {server.computed_by}" if server.computed_by else ""
        print(f"{server.url}: {server.model}{version}{how}, {plan.api} API", file=sys.stderr)
    length = f"{plan.num_requests} requests" if plan.seconds is None else f"{plan.seconds:g} s"
    sampling = "the server's" if plan.temperature is None else f"{plan.temperature:g}"
    counted = "token ids" if plan.api == "native" else "the server's usage"
    repeats = f", {plan.num_repeats} times in turns" if plan.num_repeats > 1 else ""
    print(
        f"{_loops(plan)}; {_prompts(plan, servers)}, exactly {plan.prompts.max_tokens.label} "
        f"tokens out (counted by {counted}), temperature {sampling}, seed {plan.seed}; each level "
        f"{length} after {_warmup(plan)}{repeats}",
        file=sys.stderr,
    )
    if plan.objective is not None:
        print(f"objective: {plan.objective.label}", file=sys.stderr)


def _loops(plan: Plan) -> str:
    closed = "closed loop, a connection for each client"
    opened = f"open loop, {plan.arrivals} arrivals"
    if plan.is_sweep:
        return f"sweep, {opened}"
    loops = (closed if plan.concurrencies else "", opened if plan.rates else "")
    return " and ".join(loop for loop in loops if loop)


def _prompts(plan: Plan, servers: Sequence[ServerFacts]) -> str:
    if plan.prompts.given:
        return f"{len(plan.prompts.given)} prompts of {plan.prompts.file}"
    has_ids = plan.vocabulary_size is not None or all(server.vocabulary_size for server in servers)
    unit = "tokens" if has_ids and plan.api != "openai-chat" else "words"
    return f"prompts of {plan.prompts.prompt_tokens.label} random {unit}"


def _warmup(plan: Plan) -> str:
    if plan.num_warmup_requests is not None:
        return f"{plan.num_warmup_requests} warm-up requests"
    closed = "one warm-up request per client"
    opened = "one second of warm-up"
    return (
        opened if not plan.concurrencies else closed if not plan.rates else f"{closed} or {opened}"
    )


def print_results(plan: Plan, results: Sequence[LevelResult]) -> None:
    """Print a table for each server, and below it what went wrong."""
    for url in dict.fromkeys(result.url for result in results):
        levels: dict[str, list[LevelResult]] = {}
        for result in results:
            if result.url == url:
                levels.setdefault(_name(result), []).append(result)
        table = new_table(url, *levels, numbers=tuple(levels))
        for name, show in _ROWS if plan.objective is None else (*_ROWS, *_OBJECTIVE_ROWS):
            table.add_row(name, *(show(repeats) for repeats in levels.values()))
        print()
        print_table(table)
        for name, repeats in levels.items():
            for level in repeats:
                _print_remarks(level, name)


def print_sweeps(objective: Objective | None, sweeps: Sequence[SweepResult]) -> None:
    """Print what each server holds."""
    for found in sweeps:
        bounds = "" if objective is None else f": {objective.label}"
        print(f"\n{found.url} {found.verdict}{bounds}")


def _name(level: LevelResult) -> str:
    return clients(level.concurrency) if level.rate is None else f"{level.rate:.4g}/s"


def _print_remarks(level: LevelResult, name: str) -> None:
    for error in level.errors:
        print(f"{name}: {error.count} x {error.code}: {error.example}")
    if level.num_warmup_failures:
        print(f"{name}: {level.num_warmup_failures} requests of the warm-up failed")
    if level.is_given_up:
        print(f"{name}: ended early, since it could no longer keep the objective")
    elif not level.is_complete:
        print(f"{name}: stopped after {level.seconds:.1f} s")
    if level.is_client_busy:
        print(
            f"{name}: this process used {level.client_cpu_share:.0%} of a core, so its own work "
            "is part of these figures"
        )
    if level.is_client_late:
        delay = _milliseconds(level.send_delay_seconds.p99 or 0.0)
        print(
            f"{name}: requests left this process up to {delay} ms after they were due (p99), "
            "which is part of these figures"
        )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _sum(pick: Callable[[LevelResult], int]) -> _Cell:
    return lambda levels: str(sum(pick(level) for level in levels))


def _median(pick: Callable[[LevelResult], float | None], show: Callable[[float], str]) -> _Cell:
    """The median of the repeats, and behind it the lowest and the highest."""

    def cell(levels: list[LevelResult]) -> str:
        found = median_of([pick(level) for level in whole_levels(levels)])
        if found.median is None or found.lowest is None or found.highest is None:
            return "-"
        if len(levels) == 1:
            return show(found.median)
        return f"{show(found.median)} ({show(found.lowest)}-{show(found.highest)})"

    return cell


def _spread(name: str, pick: Callable[[LevelResult], Distribution]) -> list[_Row]:
    return [
        (f"{name}, p50 ms", _median(lambda level: pick(level).p50, _milliseconds)),
        ("    p90", _median(lambda level: pick(level).p90, _milliseconds)),
        ("    p99", _median(lambda level: pick(level).p99, _milliseconds)),
    ]


def _goodput(pick: Callable[[Goodput], float], show: Callable[[float], str]) -> _Cell:
    return _median(lambda level: None if level.goodput is None else pick(level.goodput), show)


_ROWS: list[_Row] = [
    ("requests ok", _sum(lambda level: level.num_ok)),
    ("requests failed", _sum(lambda level: level.num_requests - level.num_ok)),
    ("seconds", _median(lambda level: level.seconds, "{:.1f}".format)),
    ("requests/s", _median(lambda level: level.requests_per_second, "{:.2f}".format)),
    ("tokens/s", _median(lambda level: level.output_tokens_per_second, "{:.1f}".format)),
    *_spread("first token", lambda level: level.first_token_seconds),
    *_spread("between tokens", lambda level: level.between_tokens_seconds),
    *_spread("whole request", lambda level: level.request_seconds),
    ("most running", _median(lambda level: level.max_running, "{:.0f}".format)),
    ("client's CPU", _median(lambda level: level.client_cpu_share, "{:.0%}".format)),
]
_OBJECTIVE_ROWS: list[_Row] = [
    ("within objective", _goodput(lambda goodput: goodput.share, "{:.1%}".format)),
    ("    requests/s", _goodput(lambda goodput: goodput.requests_per_second, "{:.2f}".format)),
]
