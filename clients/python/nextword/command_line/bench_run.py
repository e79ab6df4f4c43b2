"""Runs a load test on a terminal: its plan, a live line for each level, the table, the report."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from nextword.bench.level_run import measure_level
from nextword.bench.measurement import Measurement
from nextword.bench.plan import Plan
from nextword.bench.report import make_report
from nextword.bench.results import LevelResult, summarize
from nextword.bench.server_facts import ServerFacts, ask_server
from nextword.command_line.bench_progress import LevelProgress
from nextword.command_line.bench_table import print_plan, print_results
from nextword.command_line.exit_codes import ExitCode

__all__ = ["run_bench"]


def run_bench(plan: Plan, *, output: Path | None, as_json: bool) -> ExitCode:
    """Run every level and report.

    Raises:
        NextwordError: A server does not answer before the first level.
    """
    servers = [ask_server(address, plan) for address in plan.addresses]
    print_plan(plan, servers)
    results, was_stopped = asyncio.run(_run_levels(plan, servers))
    report = make_report(plan, servers, results)
    if output is not None:
        output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps(report))
    else:
        print_results(results)
    if was_stopped:
        print("[interrupted: running requests were cancelled]", file=sys.stderr)
        return ExitCode.INTERRUPTED
    is_good = all(result.num_ok and not result.errors for result in results)
    return ExitCode.DONE if is_good else ExitCode.FAILED


async def _run_levels(plan: Plan, servers: list[ServerFacts]) -> tuple[list[LevelResult], bool]:
    """The levels one after another, until the first Ctrl-C."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    vocabulary_sizes = {server.url: server.vocabulary_size for server in servers}
    results: list[LevelResult] = []
    for level in plan.levels():
        with LevelProgress(plan) as progress:

            def show(measured: Measurement, progress: LevelProgress = progress) -> None:
                progress.follow(measured)

            measured = await measure_level(
                plan,
                level,
                vocabulary_size=plan.vocabulary_size or vocabulary_sizes[level.address.url],
                on_start=show,
                stop=stop,
            )
        if measured.records:
            results.append(summarize(measured))
        if stop.is_set():
            break
    return results, stop.is_set()
