"""llama.cpp beside us: the same prompts continued greedily, the same windows scored."""

import json
import math
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from campaigns.compat.environments import Environment
from campaigns.live.server_process import REPOSITORY, ServerProcess
from model.artifact import read_artifact
from model.tokenizer import Tokenizer
from model.weights import load_transformer

__all__ = [
    "PROMPTS",
    "Greedy",
    "greedy_by_llama_cpp",
    "greedy_by_server",
    "our_perplexity",
    "perplexity_by_llama_cpp",
    "perplexity_by_program",
    "windows_of",
]

PROGRAM = REPOSITORY / "campaigns" / "compat" / "programs" / "llama_in_node.mjs"
SECONDS = 3600
NUM_TOKENS = 40
WINDOW_TOKENS = 256
# Words, digits, runs of spaces, other scripts and marks: all that a tokenizer cuts in its own way.
PROMPTS = (
    "Once upon a time",
    'The king\'s daughter said: "I will go," and',
    "In 1887, 12345 people",
    "   leading spaces and\n\nnew lines",
    "caf\u00e9 na\u00efve \u6f22\u5b57 \U0001f680!",
    "He'll say they've gone; I'm sure.",
    "A",
    "the wolf ate the",
    "\tTabs\tand trailing spaces   ",
    "What is the capital of France?",
)


@dataclass(frozen=True, slots=True)
class Greedy:
    """A prompt's ids and what follows, without a token that ends the text."""

    prompt_ids: list[int]
    ids: list[int]


def greedy_by_llama_cpp(llama_cpp: Environment, file: Path) -> list[Greedy]:
    """What llama.cpp makes of `PROMPTS`, its own tokenizer included."""
    lines = _in_node(llama_cpp, "greedy", file, PROMPTS, str(NUM_TOKENS))
    return [Greedy(line["prompt"], line["ids"]) for line in map(json.loads, lines)]


def greedy_by_server(server: ServerProcess, folder: Path, *, name: str) -> list[Greedy]:
    """What our server makes of them with the model of a name."""
    tokenizer = Tokenizer.load(folder)
    ends = {*read_artifact(folder, verify=False).end_token_ids, tokenizer.end_of_text_id}
    found: list[Greedy] = []
    for text in PROMPTS:
        body = {"model": name, "prompt": text, "temperature": 0, "max_tokens": NUM_TOKENS}
        (choice,) = server.post("/v1/generate", body).json()["choices"]
        ids = [token_id for token_id in choice["token_ids"] if token_id not in ends]
        found.append(Greedy([*tokenizer.prefix_ids, *tokenizer.encode(text)], ids))
    return found


def windows_of(text: str, tokenizer: Tokenizer, *, num_windows: int) -> list[list[int]]:
    """The first windows of a text's ids."""
    ids = tokenizer.encode(text)
    return [
        ids[first : first + WINDOW_TOKENS]
        for first in range(0, num_windows * WINDOW_TOKENS, WINDOW_TOKENS)
    ]


def our_perplexity(folder: Path, windows: Sequence[Sequence[int]]) -> float:
    """Perplexity of the second half of each window, given the first, as llama.cpp counts it."""
    model = load_transformer(folder)
    half, total, count = WINDOW_TOKENS // 2, 0.0, 0
    for ids in windows:
        with torch.inference_mode():
            hidden_TC = model.hidden_states(torch.tensor([ids]))[0, half:-1]
            losses_T = torch.nn.functional.cross_entropy(
                model.logits(hidden_TC), torch.tensor(ids[half + 1 :]), reduction="none"
            )
        total += float(losses_T.double().sum())
        count += losses_T.numel()
    return math.exp(total / count)


def perplexity_by_llama_cpp(
    llama_cpp: Environment, file: Path, windows: Sequence[Sequence[int]]
) -> float:
    """The same from the package for Node, whose every probability becomes an object: minutes."""
    lines = _in_node(llama_cpp, "loss", file, windows)
    losses = [loss for line in lines for loss in json.loads(line)]
    return math.exp(math.fsum(losses) / len(losses))


def perplexity_by_program(program: Path, file: Path, text: str, *, num_windows: int) -> float:
    """The same from llama.cpp's own program ``llama-perplexity``, which cuts the text itself."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "text"
        path.write_text(text, encoding="utf-8")
        options = ("-c", str(WINDOW_TOKENS), "-b", str(WINDOW_TOKENS), "-fa", "off")
        command = [str(program), "-m", str(file), "-f", str(path), *options]
        command += ["--chunks", str(num_windows), "-ctk", "f32", "-ctv", "f32"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=SECONDS, errors="replace"
        )
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", done.stdout + done.stderr)
    if found is None:
        raise ValueError(f"{program} gave no final estimate: {done.stderr[-300:]}")
    return float(found[1])


def _in_node(llama_cpp: Environment, task: str, file: Path, given: object, *more: str) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "input.json"
        path.write_text(json.dumps(given))
        done = subprocess.run(
            [llama_cpp.program, str(PROGRAM), task, str(file.resolve()), str(path), *more],
            cwd=llama_cpp.folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
    return [line for line in done.stdout.splitlines() if line.startswith(("{", "["))]
