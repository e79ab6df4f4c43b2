"""Whole training runs on a made-up text, small enough for a few seconds each."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.training.nursery import Ended, Nursery
from training.command_line import main
from training.report.drawing import Chart
from training.report.markup import Markup
from training.report.palette import Palette

Train: TypeAlias = Callable[..., Path]

# Every step leaves a checkpoint, and all of them stay.
TINY = {
    "model.hidden_size": "32",
    "model.context_length": "32",
    "model.dropout": "0.1",
    "ngram.order": "2",
    "schedule.batch_tokens": "256",
    "schedule.micro_batch_tokens": "128",
    "schedule.warmup_steps": "3",
    "run.threads": "1",
    "run.sample_tokens": "0",
    "run.final_samples": "0",
    "run.checkpoint_minutes": "0",
    "run.keep_checkpoints": "1000",
}


def options_of(**changed: object) -> list[str]:
    """Flags for tiny settings; ``section__field`` changes one."""
    settings = TINY | {name.replace("__", "."): str(value) for name, value in changed.items()}
    assignments = [f"{name}={value}" for name, value in settings.items()]
    return ["--preset", "smoke", *[flag for a in assignments for flag in ("--set", a)]]


def made_up_text(seed: int, num_sentences: int) -> str:
    """Sentences with a grammar to learn."""
    rng = random.Random(seed)
    subjects = ["the old king", "a small fox", "her brother", "the miller", "no one"]
    verbs = ["saw", "found", "carried", "lost", "remembered"]
    objects = ["a golden key", "the river", "seven stones", "his own shadow", "the winter"]
    places = ["in the forest", "behind the mill", "at night", "near the sea"]
    sentences = (
        f"{rng.choice(subjects)} {rng.choice(verbs)} {rng.choice(objects)} {rng.choice(places)}."
        for _ in range(num_sentences)
    )
    return "\n".join(sentence.capitalize() for sentence in sentences) + "\n"


@pytest.fixture(autouse=True, scope="module")
def quick_pictures() -> Iterator[None]:
    """Drawing takes three quarters of a tiny run; what is drawn is looked at in report/.

    Runs in processes of their own draw for real.
    """

    def inline(chart: Chart) -> Markup:
        return Markup(chart.name)

    def png(chart: Chart, palette: Palette) -> bytes:
        return chart.name.encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.report.page.inline_svg", inline)
        patch.setattr("training.report.writer.png", png)
        yield


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of about 40 kB."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(made_up_text(1, 900), "utf-8")
    return path


@pytest.fixture(scope="session")
def train(text: Path) -> Train:
    """Runs the command in this process; the tiny settings change by ``section__field=value``."""

    def run(out: Path, *flags: str, corpus: Path | None = None, **changed: object) -> Path:
        source = ["--corpus", str(corpus or text), "--out", str(out)]
        main([*source, *options_of(**changed), *flags])
        return out

    return run


@pytest.fixture(scope="session")
def finished(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/NAME of a finished run of 24 steps; not to be changed."""
    return train(tmp_path_factory.mktemp("store") / "tiny", "--steps", "24")


@pytest.fixture(scope="session")
def run_apart(nursery: Nursery, text: Path) -> Callable[..., Ended]:
    """Runs a program, which runs the command, in a process of its own."""

    def run(out: Path, *flags: str, program: str, **changed: object) -> Ended:
        source = ["--corpus", str(text), "--out", str(out)]
        return nursery.run(program, [*source, *options_of(**changed), *flags])

    return run
