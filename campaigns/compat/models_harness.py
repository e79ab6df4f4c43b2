"""lm-evaluation-harness against our server, and the same log-likelihoods from transformers.

Two tasks with data made here: opposites (choices, the part after a context) and passages (whole
texts, rolling).
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from campaigns.compat.environments import Environment
from campaigns.live.server_process import REPOSITORY

__all__ = ["Likelihood", "harness_likelihoods", "transformers_likelihoods"]

SECONDS = 3600
MAX_CONTEXT = 1024
NUM_PASSAGES = 8
OPPOSITES = (
    ("hot", "cold"),
    ("big", "small"),
    ("up", "down"),
    ("day", "night"),
    ("fast", "slow"),
    ("old", "young"),
    ("rich", "poor"),
    ("light", "dark"),
    ("happy", "sad"),
    ("open", "closed"),
    ("wet", "dry"),
    ("north", "south"),
    ("full", "empty"),
    ("early", "late"),
    ("strong", "weak"),
    ("left", "right"),
)
TASKS = {
    "nextword_opposites": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "doc_to_choice": "{{choices}}",
        "metric_list": [{"metric": "acc"}],
    },
    "nextword_passages": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    },
}


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What one text was scored with.

    Attributes:
        context: Text before it, empty for a passage.
        text: The text that is scored.
        value: Its log-likelihood, in nats.
    """

    context: str
    text: str
    value: float


def harness_likelihoods(harness: Environment, *, rest: str, folder: Path) -> list[Likelihood]:
    """Run the harness's ``local-completions`` on both tasks.

    Args:
        harness: Where it is installed.
        rest: Address of a server with the one model.
        folder: The model's folder, for its tokenizer.
    """
    with tempfile.TemporaryDirectory() as scratch:
        _write_tasks(Path(scratch))
        arguments = {
            "model": "smollm2",
            "base_url": f"{rest}/v1/completions",
            "tokenizer_backend": "huggingface",
            "tokenizer": folder.resolve(),
            "num_concurrent": 4,
            "max_length": MAX_CONTEXT,
        }
        command = [harness.program, "-m", "lm_eval", "--model", "local-completions"]
        command += ["--model_args", ",".join(f"{key}={value}" for key, value in arguments.items())]
        command += ["--tasks", ",".join(TASKS), "--include_path", ".", "--batch_size", "1"]
        command += ["--output_path", "out", "--log_samples"]
        subprocess.run(
            command,
            cwd=scratch,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
        )
        paths = sorted((Path(scratch) / "out").rglob("samples_*.jsonl"))
        lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    return [each for line in lines for each in _likelihoods(json.loads(line))]


def transformers_likelihoods(folder: Path, asked: list[Likelihood]) -> list[float]:
    """The log-likelihoods of the same texts from transformers, in f32."""
    tokenizer = AutoTokenizer.from_pretrained(folder)  # pyright: ignore
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found: list[float] = []
    for each in asked:
        # A passage is scored after the token that begins a text.
        before = (
            cast("list[int]", tokenizer(each.context)["input_ids"])
            if each.context
            else [cast("int", tokenizer.bos_token_id)]
        )
        whole = cast("list[int]", tokenizer(each.context + each.text)["input_ids"])
        ids = whole if each.context else [*before, *whole]
        with torch.inference_mode():
            logits = cast("torch.Tensor", model(torch.tensor([ids]))["logits"])[0, :-1]
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])
        found.append(float(chosen[len(before) - 1 :].double().sum()))
    return found


def _write_tasks(folder: Path) -> None:
    for name, task in TASKS.items():
        data = folder / f"{name}.jsonl"
        rows = _opposites() if name == "nextword_opposites" else _passages()
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        whole = task | {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
        }
        # JSON is YAML.
        (folder / f"{name}.yaml").write_text(json.dumps(whole), encoding="utf-8")


def _opposites() -> Iterator[Mapping[str, object]]:
    for number, (word, opposite) in enumerate(OPPOSITES):
        wrong = [OPPOSITES[(number + step) % len(OPPOSITES)][1] for step in (3, 7, 11)]
        place = number % 4
        yield {
            "question": f"The opposite of {word} is",
            "choices": [*wrong[:place], opposite, *wrong[place:]],
            "answer": place,
        }


def _passages() -> Iterator[Mapping[str, object]]:
    paragraphs = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("\n\n")
    plain = [text.strip() for text in paragraphs if 200 < len(text) < 1200]
    for text in [text for text in plain if text[0].isalpha()][:NUM_PASSAGES]:
        yield {"text": text}


def _likelihoods(sample: dict[str, dict[str, dict[str, str]]]) -> Iterator[Likelihood]:
    answers = cast("list[list[object]]", sample["resps"])
    for given, (answer,) in zip(sample["arguments"].values(), answers, strict=True):
        value = cast("list[str]", answer)[0] if isinstance(answer, list) else cast("str", answer)
        context, text = (
            (given["arg_0"], given["arg_1"]) if "arg_1" in given else ("", given["arg_0"])
        )
        yield Likelihood(context, text, float(value))
