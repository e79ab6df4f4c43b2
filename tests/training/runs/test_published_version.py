"""What a finished run leaves: the best weights, in a folder that others read alike (H128)."""

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from model.artifact import read_artifact
from model.generate import generate
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import load_transformer
from training.checkpoint import CheckpointStore
from training.command_line import main
from training.dataset import open_token_files
from training.run_log.events import Evaluation
from training.run_log.log import read_history
from training.training_state import load_model

Train = Callable[..., Path]


class ForeignOutput(Protocol):
    """What transformers' models answer."""

    logits: torch.Tensor


class ForeignModel(Protocol):
    """What is used of transformers' models."""

    def __call__(self, ids: torch.Tensor) -> ForeignOutput: ...

    def generate(self, ids: torch.Tensor, **options: object) -> torch.Tensor: ...


PROMPTS = ("The old king", "her brother lost", "", "Near the sea, the winter")


def evaluations(out: Path) -> list[Evaluation]:
    """The evaluations that count."""
    events = [timed.event for timed in read_history(out / "run" / "log.jsonl").events]
    return [event for event in events if isinstance(event, Evaluation)]


def manifest(version: Path) -> dict[str, object]:
    """The version's manifest."""
    return json.loads((version / "manifest.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def learned(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/NAME of a model that has learned something."""
    return train(
        tmp_path_factory.mktemp("learned") / "tiny", "--steps", "120", run__keep_checkpoints=1
    )


def test_learning_beats_what_word_counts_alone_can_know(learned: Path) -> None:
    files, _ = open_token_files(learned / "run" / "tokens")
    counts = Counter(int(token) for token in files.held_out)
    total = sum(counts.values())
    unigram_nats = -sum(n / total * math.log(n / total) for n in counts.values())
    first, last = evaluations(learned)[0], evaluations(learned)[-1]
    assert last.loss < 0.75 * unigram_nats
    assert last.loss < 0.6 * first.loss


def test_the_best_checkpoint_is_published_not_the_last(train: Train, tmp_path: Path) -> None:
    # A rate that ruins what was learned: the best lies somewhere before the end.
    out = train(
        tmp_path / "tiny",
        "--steps",
        "40",
        schedule__warmup_steps=38,
        schedule__evaluations=8,
        schedule__patience=0,
        schedule__decay_fraction=0.0,
        optimizer__learning_rate=3.0,
        optimizer__adam_learning_rate=0.5,
    )
    found = evaluations(out)
    best = min(found, key=lambda evaluation: evaluation.loss)
    assert 0 < best.step < 40
    training = manifest(out / "1")["training"]
    assert isinstance(training, dict)
    assert training["best_step"] == best.step
    store = CheckpointStore(out / "run" / "checkpoints")
    checkpoint = store.best()
    assert checkpoint is not None
    config = read_artifact(out / "1").config
    trained = Transformer(config).eval()
    load_model(trained, checkpoint.tensors)
    ids = torch.arange(30)[None]
    with torch.no_grad():
        assert torch.equal(load_transformer(out / "1")(ids), trained(ids))
        latest = store.latest()
        assert latest is not None
        load_model(trained, latest.tensors)
        assert not torch.equal(load_transformer(out / "1")(ids), trained(ids))


@pytest.mark.parametrize(("dtype", "tolerance"), [("f32", 1e-4), ("bf16", 0.15)])
def test_transformers_reads_the_same_model(
    dtype: str, tolerance: float, learned: Path, train: Train, tmp_path: Path
) -> None:
    out = tmp_path / "tiny"
    shutil.copytree(learned / "run", out / "run")
    train(
        out,
        "--steps",
        "120",
        "--resume",
        run__keep_checkpoints=1,
        run__export_dtype=dtype,
        run__max_shard_megabytes=0.1,
    )
    version = out / "1"
    shards = sorted(version.glob("*.safetensors"))
    assert len(shards) > 1 if dtype == "f32" else shards
    assert all(path.stat().st_size <= 100_000 for path in shards)
    theirs = cast(
        "ForeignModel", AutoModelForCausalLM.from_pretrained(version, dtype=torch.float32).eval()
    )
    their_tokenizer = cast(
        "Callable[..., Mapping[str, list[int]]]", AutoTokenizer.from_pretrained(version)
    )
    ours, tokenizer = load_transformer(version), Tokenizer.load(version)
    trained = load_transformer(learned / "1")
    end = tokenizer.end_of_text_id
    assert end is not None
    for prompt in PROMPTS:
        ids = [end, *tokenizer.encode(prompt)]
        assert their_tokenizer(prompt, add_special_tokens=False)["input_ids"] == ids[1:]
        batch = torch.tensor([ids])
        with torch.no_grad():
            their_logits = theirs(batch).logits
            # The same stored weights, and those that were trained.
            assert (their_logits - ours(batch)).abs().max() < 1e-4
            assert (their_logits - trained(batch)).abs().max() < tolerance
        greedy = list(
            generate(
                ours,
                ids,
                max_tokens=12,
                temperature=0.0,
                top_k=0,
                generator=torch.Generator(),
                end_token_ids=(end,),
            )
        )
        written = theirs.generate(batch, max_new_tokens=12, do_sample=False, pad_token_id=end)
        assert written[0, len(ids) :].tolist() == greedy


def test_going_on_from_a_model_begins_where_it_ended(
    learned: Path, train: Train, tmp_path: Path
) -> None:
    parent = learned / "1"
    out = tmp_path / "child"
    main(
        [
            *["--corpus", str(_text_of(learned)), "--out", str(out), "--init-from", str(parent)],
            *["--steps", "10", "--set", "run.final_samples=0", "--set", "run.sample_tokens=0"],
            *["--set", "run.threads=1", "--set", "run.compile=off", "--set", "ngram.order=0"],
            *["--set", "schedule.batch_tokens=256"],
        ]
    )
    first = evaluations(out)[0]
    assert first.loss == pytest.approx(evaluations(learned)[-1].loss, abs=1e-4)
    assert evaluations(out)[-1].loss < first.loss + 0.05
    assert manifest(out / "1")["parent"] == {"name": "tiny", "version": "1"}
    assert (out / "1" / "tokenizer.json").read_bytes() == (parent / "tokenizer.json").read_bytes()
    assert read_artifact(out / "1").config == read_artifact(parent).config
    assert not (out / "1" / "ngram").exists()


def _text_of(out: Path) -> Path:
    settings = json.loads((out / "run" / "settings.json").read_text("utf-8"))
    return Path(settings["asked"]["settings"]["corpus"]["sources"][0])


@pytest.mark.parametrize(
    ("setting", "limit"),
    [
        ("model.depth=5", "model.depth must be that of the model to start from (2), got 5"),
        ("model.rope_theta=500", "model.rope_theta must be that of the model to start from"),
        ("model.context_length=64", "model.context_length must be at most that of the model"),
        ("tokenizer.vocabulary_size=999", "tokenizer.vocabulary_size must be that of the model"),
    ],
)
def test_settings_against_the_parent_are_one_line(
    setting: str, limit: str, learned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "child"
    with pytest.raises(SystemExit) as exit_:
        main(
            [
                *["--corpus", str(_text_of(learned)), "--out", str(out), "--steps", "3"],
                *["--init-from", str(learned / "1"), "--set", setting],
            ]
        )
    assert exit_.value.code == 2
    assert limit in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()


def test_patience_stops_a_run_that_learns_nothing(train: Train, tmp_path: Path) -> None:
    out = train(
        tmp_path / "tiny",
        "--steps",
        "100",
        schedule__patience=2,
        schedule__evaluations=25,
        optimizer__learning_rate=0.0,
        optimizer__adam_learning_rate=0.0,
        run__keep_checkpoints=1,
    )
    training = manifest(out / "1")["training"]
    assert isinstance(training, dict)
    assert training["reason"] == "early stopping: the held-out loss no longer fell"
    assert training["steps"] < 100
    assert len(evaluations(out)) == 3


def test_the_target_loss_stops_a_run(train: Train, tmp_path: Path) -> None:
    out = train(
        tmp_path / "tiny", "--steps", "100", schedule__target_loss=5.0, run__keep_checkpoints=1
    )
    training = manifest(out / "1")["training"]
    assert isinstance(training, dict)
    assert training["reason"] == "the target loss was reached"
    assert evaluations(out)[-1].loss < 5.0
    assert all(evaluation.loss >= 5.0 for evaluation in evaluations(out)[:-1])


@pytest.mark.parametrize("kind", ["words", "characters", "bytes"])
def test_every_kind_of_tokenizer_goes_all_the_way(kind: str, train: Train, tmp_path: Path) -> None:
    out = train(
        tmp_path / kind,
        "--steps",
        "6",
        tokenizer__kind=kind,
        tokenizer__vocabulary_size=0,
        run__keep_checkpoints=1,
        run__sample_tokens=5,
    )
    artifact = read_artifact(out / "1")
    tokenizer = Tokenizer.load(artifact.directory)
    assert artifact.config.vocab_size == tokenizer.vocab_size
    text = "Her brother saw seven stones."
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_limit_counts_and_the_shortest_wins(train: Train, tmp_path: Path) -> None:
    out = train(
        tmp_path / "tiny",
        *["--minutes", "30", "--epochs", "0.2", "--steps", "1000"],
        run__keep_checkpoints=1,
    )
    training = manifest(out / "1")["training"]
    assert isinstance(training, dict)
    files, _ = open_token_files(out / "run" / "tokens")
    num_windows = (files.train.size - 1) // 32 - 1
    assert training["steps"] == round(0.2 * num_windows / 8)


def test_a_time_limit_is_kept_and_the_number_of_steps_recorded(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Less than publishing takes: the fewest steps that can be measured.
    out = train(tmp_path / "tiny", "--minutes", "0.05", schedule__steps=0, run__keep_checkpoints=1)
    training = manifest(out / "1")["training"]
    assert isinstance(training, dict)
    assert f"{training['steps']} steps fit the limit of 0.05 minutes" in capsys.readouterr().err
