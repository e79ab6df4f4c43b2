"""A log such as a real run leaves: falling losses, a resume, samples, a followed sentence."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Facts = dict[str, Any]
NUM_STEPS = 2_000
LINES = ["The", " keep", "er", " clim", "bed", " the", " st", "airs", ".", "\n", "He", " lit", "."]
RUSSIAN = "\u041f\u0440\u0438\u0432\u0435\u0442"
CHINESE = "\u4f60\u597d"
ARABIC = "\u0645\u0631\u062d\u0628\u0627"
SMILE = "\U0001f642"
CANARY = "<script>alert('canary')</script>"


def write_events(path: Path, events: list[Facts]) -> Path:
    lines = [
        json.dumps({"time": f"2026-01-02T03:04:{index % 60:02d}.000+00:00", **event})
        for index, event in enumerate(events)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def start_event(**changes: Any) -> Facts:
    return {
        "event": "start",
        "command": "nextword-train --corpus lighthouse.txt --out artifacts/lighthouse --minutes 5",
        "name": "lighthouse",
        "parameters": 3_214_592,
        "model_config": {
            "hidden_size": 192,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "vocab_size": 2048,
            "eos_token_ids": [0],
        },
        "settings": {
            "optimizer": {"peak_learning_rate": 0.002, "weight_decay": 0.1},
            "batch_tokens": 8192,
            "dropout": 0.1,
            "seed": 1,
        },
        "device": "cpu",
        "dtype": "float32",
        "torch_version": "2.13.0",
        "num_threads": 2,
        "compiled": False,
        "parent": None,
        **changes,
    }


def preparation_events() -> list[Facts]:
    return [
        start_event(),
        {
            "event": "corpus",
            "description": "lighthouse.txt",
            "documents": 48,
            "bytes": 1_163_000,
            "train_bytes": 1_046_700,
            "held_out_bytes": 116_300,
            "removed": {"licence and header": 19_200, "hard line breaks": 21_911},
            "sha256": "9f2c" * 16,
            "train_tokens": 290_750,
            "held_out_tokens": 32_305,
            "notes": ["1 document was empty and was skipped."],
        },
        {
            "event": "tokenizer",
            "kind": "byte_bpe",
            "vocab_size": 2048,
            "bytes_per_token": 3.6,
            "examples": [
                [
                    "The keeper climbed the stairs.\nHe lit.",
                    LINES,
                ],
                [RUSSIAN + CHINESE + SMILE, [RUSSIAN[:3], RUSSIAN[3:], *CHINESE, SMILE]],
                [ARABIC, [ARABIC[:2], ARABIC[2:]]],
                [f"Is {CANARY} text?", ["Is", " ", CANARY, " text", "?"]],
            ],
        },
        {
            "event": "ngram",
            "order": 5,
            "bits_per_byte": 1.787,
            "nats_per_token": 4.459,
            "perplexity": 86.4,
            "size_bytes": 7_340_032,
            "seconds": 3.4,
            "contexts": 812_345,
        },
    ]


def loss_at(step: int) -> float:
    return 3.35 + 4.3 * math.exp(-step / 90) + 0.9 * math.exp(-step / 600)


def held_out_at(step: int) -> float:
    return loss_at(step) + 0.55 * (step / NUM_STEPS) ** 1.5 + 0.05


def step_event(step: int, rng: random.Random, **changes: Any) -> Facts:
    return {
        "event": "step",
        "step": step,
        "num_steps": NUM_STEPS,
        "loss": loss_at(step) + rng.gauss(0, 0.09),
        "learning_rate": 0.002 * min(step / 100, 0.1 + 0.9 * (1 - step / NUM_STEPS)),
        "gradient_norm": 0.4 + 2 * math.exp(-step / 50) + abs(rng.gauss(0, 0.08)),
        "tokens": step * 8192,
        "tokens_per_second": 54_000 + rng.gauss(0, 900) - (9_000 if step < 4 else 0),
        "elapsed_seconds": step * 8192 / 54_000 + step // 100 * 0.8,
        **changes,
    }


def evaluation_event(step: int, *, is_best: bool) -> Facts:
    loss = held_out_at(step)
    return {
        "event": "evaluation",
        "step": step,
        "loss": loss,
        "bits_per_byte": loss * 1.787 / 4.459,
        "perplexity": math.exp(loss),
        "train_loss": loss_at(step),
        "elapsed_seconds": step * 8192 / 54_000,
        "is_best": is_best,
    }


FLASHES = "Far out a ship answered with two short flashes"
SAMPLES = {
    50: " the the of, and wand he. lam the\nof keep s the the ing and a",
    200: " the lamp and the sea was the keeper of the stairs. He lit, and the said the night.",
    600: " stood by the window and listened. The lamp was lit, and he was the stairs of it.",
    1200: " climbed the stairs as he did each night, and lit the lamp. "
    f"{FLASHES}.\n\n'She is late,' he said to the gull.",
    2000: " climbed the stairs as he did each night, and counted them, though he knew how many "
    f"there were.\n\n{FLASHES}, and he wrote its name into the book.",
}
SENTENCE = "The| keep|er| clim|bed| the| st|airs| and| lit| the| lamp| before| the| fog| came|."
TOKENS = SENTENCE.split("|")


def surprise_event(step: int) -> Facts:
    rng = random.Random(7)
    scale = 0.30 + 0.9 * math.exp(-step / 300)
    hard = [9, 13, 3, 12, 2, 4, 9, 2, 4, 9, 3, 8, 11, 3, 14, 8, 3]
    return {
        "event": "surprise",
        "step": step,
        "text": "".join(TOKENS),
        "tokens": TOKENS,
        "bits": [max(0.05, bits * scale + rng.gauss(0, 0.3)) for bits in hard],
    }


def run_events(*, num_steps: int = NUM_STEPS, step_stride: int = 4) -> list[Facts]:
    """A whole run up to `num_steps`, without an end."""
    rng = random.Random(1)
    events = preparation_events()
    best = math.inf
    for step in range(1, num_steps + 1):
        if step % step_stride == 0 or step == 1:
            events.append(step_event(step, rng))
        if step % 100 == 0:
            loss = held_out_at(step)
            events.append(evaluation_event(step, is_best=loss < best))
            best = min(best, loss)
        if step in SAMPLES:
            events.append(
                {
                    "event": "sample",
                    "step": step,
                    "prompt": "The keeper",
                    "text": SAMPLES[step],
                    "temperature": 0.8,
                    "top_k": 50,
                    "seed": 1,
                }
            )
            events.append(surprise_event(step))
    return events


def end_event(events: list[Facts]) -> Facts:
    best = [event for event in events if event["event"] == "evaluation" and event["is_best"]][-1]
    last = [event for event in events if event["event"] == "step"][-1]
    return {
        "event": "end",
        "reason": "all planned steps are done",
        "steps": last["step"],
        "best_step": best["step"],
        "best_loss": best["loss"],
        "best_bits_per_byte": best["bits_per_byte"],
        "elapsed_seconds": last["elapsed_seconds"] + 4,
        "tokens": last["tokens"],
        "tokens_per_second": 53_812.0,
    }


@pytest.fixture(scope="session")
def events() -> list[Facts]:
    """A run of 2,000 steps, without its end. Not to be changed in place."""
    return run_events()


@pytest.fixture
def log_of(tmp_path: Path) -> Callable[[list[Facts]], Path]:
    """Writes a log of given events."""
    return lambda events: write_events(tmp_path / "log.jsonl", events)


@pytest.fixture(scope="session")
def finished_log(events: list[Facts], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "log.jsonl"
    return write_events(path, [*events, end_event(events)])
