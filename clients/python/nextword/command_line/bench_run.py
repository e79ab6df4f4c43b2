"""Runs a load test on a terminal: its plan, a live line for each level, the table, the reports."""

import asyncio
import json
import signal
import sys
from pathlib import Path

from nextword.bench.html_report import render_page
from nextword.bench.level_run import measure_level
from nextword.bench.plan import Level, Plan
from nextword.bench.report import make_report
from nextword.bench.results import LevelResult, summarize
from nextword.bench.server_facts import ServerFacts, ask_server
from nextword.bench.sweep import SweepResult, sweep
from nextword.command_line.bench_progress import LevelProgress, print_sweep_step
from nextword.command_line.bench_table import print_plan, print_results, print_sweeps
from nextword.command_line.exit_codes import ExitCode

__all__ = ["run_bench"]


def run_bench(plan: Plan, *, output: Path | None, html: Path | None, as_json: bool) -> ExitCode:
    """Run every level and report.

    Raises:
        NextwordError: A server does not answer before the first level.
    """
    servers = [ask_server(address, plan) for address in plan.addresses]
    print_plan(plan, servers)
    bench = _Bench(plan, servers)
    asyncio.run(bench.run())
    report = make_report(plan, servers, bench.results, bench.sweeps)
    if output is not None:
        output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if html is not None:
        html.write_text(render_page(plan, servers, bench.results, bench.sweeps), encoding="utf-8")
    if as_json:
        print(json.dumps(report))
    else:
        print_results(plan, bench.results)
        print_sweeps(plan.objective, bench.sweeps)
    if bench.was_stopped:
        print("[interrupted: running requests were cancelled]", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if plan.is_sweep:
        is_good = all(found.held_rate is not None for found in bench.sweeps)
    else:
        is_good = all(result.num_ok and not result.errors for result in bench.results)
    return ExitCode.DONE if is_good else ExitCode.FAILED


class _Bench:
    """The levels of a plan, one after another, until the first Ctrl-C."""

    def __init__(self, plan: Plan, servers: list[ServerFacts]) -> None:
        self._plan = plan
        self._vocabulary_sizes = {server.url: server.vocabulary_size for server in servers}
        self._stop = asyncio.Event()
        self.results: list[LevelResult] = []
        self.sweeps: list[SweepResult] = []

    @property
    def was_stopped(self) -> bool:
        """Whether Ctrl-C ended it."""
        return self._stop.is_set()

    async def run(self) -> None:
        """Measure."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._stop.set)
        if self._plan.is_sweep:
            for address in self._plan.addresses:
                if not self.was_stopped:
                    found = await sweep(self._plan, address, measure=self._measure_step)
                    self.sweeps.append(found)
            return
        for level in self._plan.levels():
            await self._measure(level)
            if self.was_stopped:
                return

    async def _measure_step(self, level: Level) -> LevelResult | None:
        result = await self._measure(level)
        if result is not None:
            print_sweep_step(result)
        return None if self.was_stopped else result

    async def _measure(self, level: Level) -> LevelResult | None:
        plan = self._plan
        vocabulary_size = plan.vocabulary_size or self._vocabulary_sizes[level.address.url]
        with LevelProgress(plan, level) as progress:
            measured = await measure_level(
                plan,
                level,
                vocabulary_size=None if plan.api == "openai-chat" else vocabulary_size,
                on_start=progress.follow,
                stop=self._stop,
                gives_up=plan.is_sweep and level.rate is not None,
            )
        if not measured.records:
            return None
        result = summarize(measured, plan.objective)
        self.results.append(result)
        return result
