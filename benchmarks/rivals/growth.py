"""How speed changes as a load grows, one quantity at a time, with llama.cpp's server beside.

    python benchmarks/rivals/growth.py --llama-server FILE --models FOLDER --picture growth.png

FOLDER is filled with what is missing: models of random weights, and their GGUF files by
`nextword-model export`. Contestants take turns at every point; each point is the median of the
rounds. Points of our own alone (parameters, a shared prefix) have no rival's curve.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure

# The script is run by its path; benchmarks stands beside nothing that is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.rivals.contestants import Contestant, Level, LlamaServer, Ours, Sample
from benchmarks.rivals.model_files import ready_model
from benchmarks.rivals.random_models import SHAPES
from benchmarks.rivals.results import processor_name

STREAMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXTS = (64, 128, 256, 512, 768, 960)
PROMPTS = (16, 32, 64, 128, 256, 512, 960)
VOCABULARIES = (258, 1_024, 8_192, 32_768, 131_072)
PARAMETERS = {
    "greedy": {"temperature": 0},
    "temperature": {"temperature": 0.8},
    "top-k 50": {"temperature": 0.8, "top_k": 50},
    "top-p 0.9": {"temperature": 0.8, "top_p": 0.9},
    "min-p 0.05": {"temperature": 0.8, "min_p": 0.05},
    "penalties": {"temperature": 0.8, "repetition_penalty": 1.1, "frequency_penalty": 0.2},
    "all": {
        "temperature": 0.8,
        "top_k": 50,
        "top_p": 0.9,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.2,
    },
}
SHARED_PREFIXES = (0, 128, 256, 512, 896)
CONTEXT_TOKENS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured place of a curve; x is a number, or a word where there is no order."""

    series: str
    x: int | str
    contestant: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A curve: what grows, what is read off, and how the axes are called."""

    name: str
    x_label: str
    y_label: str
    read: Callable[[Sample], float]


def _rate(sample: Sample) -> float:
    return sample.tokens_per_second


def _between(sample: Sample) -> float:
    assert sample.between_p50 is not None
    return sample.between_p50 * 1e3


def _first(sample: Sample) -> float:
    assert sample.first_token_p50 is not None
    return sample.first_token_p50 * 1e3


SERIES = {
    series.name: series
    for series in (
        Series(name="streams", x_label="streams at once", y_label="tokens/s", read=_rate),
        Series(name="context", x_label="tokens before", y_label="ms a token", read=_between),
        Series(name="prompt", x_label="prompt, tokens", y_label="first token, ms", read=_first),
        Series(name="vocabulary", x_label="vocabulary", y_label="ms a token", read=_between),
        Series(name="parameters", x_label="", y_label="tokens/s, 16 streams", read=_rate),
        Series(
            name="shared prefix",
            x_label="of 960 prompt tokens shared",
            y_label="first token, ms",
            read=_first,
        ),
    )
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the series, draw them, keep the points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--llama-server", type=Path, required=True, help="llama.cpp's program")
    parser.add_argument("--models", type=Path, required=True, help="where models are, or go")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(SERIES))
    parser.add_argument("--picture", type=Path, required=True)
    options = parser.parse_args(arguments)
    points: list[Point] = []
    for name in options.only.split(","):
        for point in _MEASURE[name](options):
            points.append(point)
            print(f"{name} {point.x} {point.contestant}: {point.value:.4g}", flush=True)
    options.picture.with_suffix(".json").write_text(
        json.dumps([asdict(point) for point in points], indent=1) + "\n"
    )
    _draw(points, options.picture)


def _streams(options: argparse.Namespace) -> list[Point]:
    folder, gguf = ready_model(options.models, "S")
    points: list[Point] = []
    for streams in STREAMS:
        level = _level(streams=streams, requests=max(4, streams), max_tokens=64)
        contestants = (
            Ours(folder, dtype="bf16", context_tokens=128, max_running=256),
            LlamaServer(options.llama_server, gguf, streams=streams, context_tokens=128),
        )
        points += _in_turns("streams", streams, contestants, level, options.rounds)
    return points


def _contexts(options: argparse.Namespace) -> list[Point]:
    return _over_prompts("context", CONTEXTS, 33, options)


def _prompts(options: argparse.Namespace) -> list[Point]:
    return _over_prompts("prompt", PROMPTS, 2, options)


def _over_prompts(
    series: str, lengths: Sequence[int], max_tokens: int, options: argparse.Namespace
) -> list[Point]:
    folder, gguf = ready_model(options.models, "S")
    points: list[Point] = []
    for length in lengths:
        level = _level(requests=6, prompt_tokens=length, max_tokens=max_tokens)
        contestants = (
            Ours(folder, dtype="bf16", context_tokens=CONTEXT_TOKENS),
            LlamaServer(options.llama_server, gguf, streams=1, context_tokens=CONTEXT_TOKENS),
        )
        points += _in_turns(series, length, contestants, level, options.rounds)
    return points


def _vocabularies(options: argparse.Namespace) -> list[Point]:
    points: list[Point] = []
    for size in VOCABULARIES:
        folder, gguf = ready_model(options.models, "S", vocabulary_size=size)
        level = replace(_level(requests=4, max_tokens=64), vocabulary_size=size)
        contestants = (
            Ours(folder, dtype="bf16", context_tokens=CONTEXT_TOKENS),
            LlamaServer(options.llama_server, gguf, streams=1, context_tokens=CONTEXT_TOKENS),
        )
        points += _in_turns("vocabulary", size, contestants, level, options.rounds)
    return points


def _parameters(options: argparse.Namespace) -> list[Point]:
    folder, gguf = ready_model(options.models, "S")
    points: list[Point] = []
    for name, parameters in PARAMETERS.items():
        level = replace(_level(streams=16, requests=32, max_tokens=64), parameters=parameters)
        contestants = (
            Ours(folder, dtype="bf16", context_tokens=CONTEXT_TOKENS),
            LlamaServer(options.llama_server, gguf, streams=16, context_tokens=CONTEXT_TOKENS),
        )
        points += _in_turns("parameters", name, contestants, level, options.rounds)
    return points


def _shared_prefixes(options: argparse.Namespace) -> list[Point]:
    folder, gguf = ready_model(options.models, "S")
    points: list[Point] = []
    for length in SHARED_PREFIXES:
        level = replace(
            _level(requests=6, prompt_tokens=960, max_tokens=2), shared_prefix_tokens=length
        )
        contestants = (
            Ours(folder, dtype="bf16", context_tokens=CONTEXT_TOKENS),
            LlamaServer(options.llama_server, gguf, streams=1, context_tokens=CONTEXT_TOKENS),
        )
        points += _in_turns("shared prefix", length, contestants, level, options.rounds)
    return points


_MEASURE: dict[str, Callable[[argparse.Namespace], list[Point]]] = {
    "streams": _streams,
    "context": _contexts,
    "prompt": _prompts,
    "vocabulary": _vocabularies,
    "parameters": _parameters,
    "shared prefix": _shared_prefixes,
}


def _level(*, streams: int = 1, requests: int, prompt_tokens: int = 32, max_tokens: int) -> Level:
    return Level(
        streams=streams,
        requests=requests,
        prompt_tokens=prompt_tokens,
        max_tokens=max_tokens,
        vocabulary_size=SHAPES["S"].vocabulary_size,
    )


def _in_turns(
    series: str, x: int | str, contestants: Sequence[Contestant], level: Level, rounds: int
) -> list[Point]:
    read = SERIES[series].read
    values: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    try:
        for number in range(rounds):
            for contestant in contestants:
                # Another seed: what was asked before is in the caches of both.
                sample = contestant.measure(replace(level, seed=number + 1))
                values[contestant.name].append(read(sample))
    finally:
        for contestant in contestants:
            contestant.close()
    return [
        Point(series=series, x=x, contestant=name, value=statistics.median(each))
        for name, each in values.items()
    ]


def _draw(points: Sequence[Point], picture: Path) -> None:
    names = [name for name in SERIES if any(point.series == name for point in points)]
    figure = Figure(figsize=(5 * min(3, len(names)), 3.6 * -(-len(names) // 3)))
    figure.set_layout_engine("constrained")
    figure.suptitle(processor_name())
    for place, name in enumerate(names):
        series = SERIES[name]
        axes = figure.add_subplot(-(-len(names) // 3), min(3, len(names)), place + 1)
        contestants = sorted({point.contestant for point in points if point.series == name})
        for contestant in reversed(contestants):
            own = [p for p in points if p.series == name and p.contestant == contestant]
            axes.plot([str(p.x) for p in own], [p.value for p in own], marker="o", label=contestant)
        axes.set_title(name)
        axes.set_xlabel(series.x_label)
        axes.set_ylabel(series.y_label)
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", rotation=30)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    main()
