"""Nextword beside llama.cpp's server and OpenVINO GenAI: same weights, loads, machine; in turns.

    python benchmarks/rivals/compare.py --llama-server FILE --openvino-python FILE --models FOLDER

FOLDER is filled with what is missing: models of random weights, in each contestant's form. Every
row is measured in rounds: each contestant has a turn, the order changes from round to round, and
the table holds medians over rounds and the median of the rounds' ratios. A round during which
other processes kept more than a share of a processor busy is thrown away and repeated. Exits with
2 if a rival is missing.
"""

import argparse
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

# The script is run by its path; benchmarks stands beside nothing that is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.rivals.contestants import (
    Contestant,
    Level,
    LlamaServer,
    OpenVino,
    Ours,
    RivalMissingError,
    Sample,
)
from benchmarks.rivals.foreign_load import ForeignLoad
from benchmarks.rivals.model_files import ready_model, ready_quantized
from benchmarks.rivals.random_models import SHAPES
from benchmarks.rivals.results import Row, write_results

CONTEXT_TOKENS = 512
RESULTS = Path(__file__).resolve().parents[1] / "results"
OUTPUT = RESULTS / f"{datetime.now(tz=UTC):%Y-%m-%d}-rivals.json"
MODELS = Path(tempfile.gettempdir()) / "nextword-random-models"
MAX_ATTEMPTS = 3
# Of every stream in a turn: so many that a turn takes seconds, not minutes.
REQUESTS_PER_STREAM = {"S": 2, "M": 1, "L": 1}
MIN_REQUESTS = {"S": 6, "M": 3, "L": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A row of the table before it is measured."""

    model: str
    weights: str
    streams: int
    prompt_tokens: int = 32
    max_tokens: int = 128

    @property
    def level(self) -> Level:
        """The load."""
        requests = self.streams * REQUESTS_PER_STREAM[self.model]
        return Level(
            streams=self.streams,
            requests=max(requests, MIN_REQUESTS[self.model]),
            prompt_tokens=self.prompt_tokens,
            max_tokens=self.max_tokens,
            vocabulary_size=SHAPES[self.model].vocabulary_size,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all rows and write the results; the exit status says whether it came to the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--llama-server", type=Path, help="llama.cpp's program")
    parser.add_argument("--openvino-python", type=Path, help="a Python that has openvino_genai")
    parser.add_argument("--without-openvino", action="store_true")
    parser.add_argument("--models", type=Path, default=MODELS, help="where models are, or go")
    parser.add_argument("--only", default="S,M", help="of S, M and L")
    parser.add_argument("--weights", default="bf16", help="bf16, int8 or both")
    parser.add_argument("--streams", default="1,16,64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--max-foreign-cores",
        type=float,
        default=0.15,
        help="rounds during which others kept more of a processor busy are thrown away",
    )
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--ours", default="", help="more options of nextword-serve")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="a JSON file; its table goes beside it as .md"
    )
    options = parser.parse_args(arguments)
    if options.llama_server is None:
        parser.error("--llama-server is missing: a llama-server, with llama-quantize beside it")
    if not options.without_openvino and options.openvino_python is None:
        parser.error("--openvino-python is missing (or say --without-openvino)")
    rows: list[Row] = []
    try:
        for setting in _settings(options):
            rows.append(_measured(setting, options))
            print(rows[-1].line(), flush=True)
    except RivalMissingError as missing:
        print(f"a rival is missing: {missing}", file=sys.stderr)
        return 2
    write_results(options.output, rows, command=sys.argv)
    print(f"written: {options.output} and {options.output.with_suffix('.md')}")
    return 0


def _settings(options: argparse.Namespace) -> Iterator[Setting]:
    for model in options.only.split(","):
        for weights in options.weights.split(","):
            for streams in options.streams.split(","):
                yield Setting(
                    model=model,
                    weights=weights,
                    streams=int(streams),
                    prompt_tokens=options.prompt_tokens,
                    max_tokens=options.max_tokens,
                )


@contextmanager
def _running(setting: Setting, options: argparse.Namespace) -> Generator[list[Contestant]]:
    weights, gguf = ready_model(options.models, setting.model)
    if setting.weights == "int8":
        gguf = _quantized(setting, "q8_0", options)
    with ExitStack() as stack:
        contestants: list[Contestant] = []

        def join(contestant: Contestant) -> None:
            contestants.append(contestant)
            stack.callback(contestant.close)

        join(
            Ours(
                weights,
                dtype=setting.weights,
                context_tokens=CONTEXT_TOKENS,
                options=options.ours.split(),
            )
        )
        join(
            LlamaServer(
                options.llama_server,
                gguf,
                streams=setting.streams,
                context_tokens=CONTEXT_TOKENS,
            )
        )
        if not options.without_openvino:
            # It takes no bf16 files; from f16 ones it computes in what the processor is best at.
            read = gguf if setting.weights == "int8" else _quantized(setting, "f16", options)
            join(OpenVino(options.openvino_python, read, streams=setting.streams))
        yield contestants


def _quantized(setting: Setting, kind: str, options: argparse.Namespace) -> Path:
    return ready_quantized(options.models, setting.model, kind, llama_server=options.llama_server)


def _measured(setting: Setting, options: argparse.Namespace) -> Row:
    with _running(setting, options) as contestants:
        for contestant in contestants:
            contestant.measure(setting.level)
        rounds: list[dict[str, Sample]] = []
        foreign: list[float] = []
        attempts = 0
        while len(rounds) < options.rounds and attempts < options.rounds * MAX_ATTEMPTS:
            # Another place in the order each time: a machine that slows down harms all alike.
            turn = attempts % len(contestants)
            attempts += 1
            load = ForeignLoad(tuple(contestant.process_id for contestant in contestants))
            # Other prompts each time, the same for all: what was asked before is in their caches.
            level = replace(setting.level, seed=attempts)
            samples = {
                contestant.name: contestant.measure(level)
                for contestant in contestants[turn:] + contestants[:turn]
            }
            cores = load.cores()
            if cores <= options.max_foreign_cores:
                rounds.append(samples)
                foreign.append(cores)
        return Row(
            model=setting.model,
            weights=setting.weights,
            streams=setting.streams,
            prompt_tokens=setting.prompt_tokens,
            max_tokens=setting.max_tokens,
            rounds=rounds,
            foreign_cores=foreign,
            num_thrown_away=attempts - len(rounds),
            versions={contestant.name: contestant.version for contestant in contestants},
        )


if __name__ == "__main__":
    sys.exit(main())
