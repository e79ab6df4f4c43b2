"""The table and the file of a comparison: medians, ratios of the same rounds, what was run."""

import importlib.metadata
import json
import os
import platform
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.rivals.contestants import Sample

__all__ = ["Row", "processor_name", "write_results"]

OURS = "nextword"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One load, and what every contestant made of it in each round.

    Attributes:
        rounds: By the contestant's name.
        foreign_cores: Processors that others kept busy in each round.
        num_thrown_away: Rounds that were disturbed and are not here.
        versions: What the contestants say of themselves, by name.
    """

    model: str
    weights: str
    streams: int
    prompt_tokens: int
    max_tokens: int
    rounds: Sequence[dict[str, Sample]]
    foreign_cores: Sequence[float]
    num_thrown_away: int
    versions: Mapping[str, str]

    @property
    def names(self) -> Sequence[str]:
        """Contestants in their order; none where no round was quiet."""
        return list(self.rounds[0]) if self.rounds else []

    def rate(self, name: str) -> float:
        """Median of the rounds, in tokens/s."""
        return statistics.median(each[name].tokens_per_second for each in self.rounds)

    def ratio(self, name: str) -> float:
        """Median over the rounds of ours divided by another's."""
        return statistics.median(
            each[OURS].tokens_per_second / each[name].tokens_per_second for each in self.rounds
        )

    def line(self) -> str:
        """The row for a person who waits."""
        label = f"{self.model} {self.weights} {self.streams} streams"
        if not self.rounds:
            return f"{label}: every round was disturbed ({self.num_thrown_away})"
        rates = ", ".join(f"{name} {self.rate(name):,.0f}" for name in sorted(self.names))
        ratios = ", ".join(
            f"{self.ratio(name):.2f} of {name}" for name in sorted(self.names) if name != OURS
        )
        return f"{label}: {rates} tokens/s; {ratios}"


def write_results(path: Path, rows: Sequence[Row], *, command: Sequence[str]) -> None:
    """Write a JSON file, and the table beside it as Markdown."""
    facts = {
        "command": shlex.join(command),
        "processor": processor_name(),
        "processors": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
    }
    path.write_text(json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    path.with_suffix(".md").write_text(_page(facts, rows))


def _page(facts: Mapping[str, object], rows: Sequence[Row]) -> str:
    names = sorted({name for row in rows for name in row.names if name != OURS})
    versions = {name: version for row in rows for name, version in row.versions.items()}
    lines = [
        f"{facts['processor']}, {facts['processors']} processors, torch {facts['torch']}.",
        "",
        f"    {facts['command']}",
        "",
        *(f"- {name}: {version}" for name, version in versions.items()),
        "",
        "Tokens/s, median of the rounds; in brackets the median of the rounds' ratios, ours to it.",
        "",
        f"| model | weights | streams | {OURS} | {' | '.join(names)} | rounds | other load |",
        "| --- " * (6 + len(names)) + "|",
    ]
    for row in rows:
        if not row.rounds:
            continue
        rivals = [
            f"{row.rate(name):,.0f} ({row.ratio(name):.2f})" if name in row.names else "-"
            for name in names
        ]
        lines.append(
            f"| {row.model} | {row.weights} | {row.streams} | {row.rate(OURS):,.0f} | "
            f"{' | '.join(rivals)} | {len(row.rounds)} | {max(row.foreign_cores):.2f} |"
        )
    return "\n".join(lines) + "\n"


def processor_name() -> str:
    """As Linux calls it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
