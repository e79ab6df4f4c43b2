"""Loading and asking a stored n-gram model: agreement of its answers, and damaged files."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.ngram import NgramModel
from model.ngram_description import NgramError
from model.ngram_explanation import explain
from model.ngram_tables import ARRAY_NAMES
from training.ngram.training import train_ngram

VOCAB_SIZE = 20
END = 3


def quiet(line: str) -> None:
    """Takes announcements that a test does not look at."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    stream = np.minimum(rng.geometric(0.2, size=5000), VOCAB_SIZE) - 1
    train_ngram([stream], vocab_size=VOCAB_SIZE, end_of_text_id=END, order=4, announce=quiet).save(
        tmp_path
    )
    return tmp_path


def test_log_probabilities_agree_with_probabilities(directory: Path) -> None:
    model = NgramModel.load(directory)
    ids = np.random.default_rng(1).integers(0, VOCAB_SIZE, size=200).tolist()
    logs = model.log_probabilities(ids)
    for place, token in enumerate(ids):
        assert math.exp(logs[place]) == pytest.approx(model.probabilities(ids[:place])[token])


def test_a_context_continues_what_stands_before(directory: Path) -> None:
    model = NgramModel.load(directory)
    ids = np.random.default_rng(2).integers(0, VOCAB_SIZE, size=50).tolist()
    after = model.log_probabilities(ids[20:], context_ids=ids[:20])
    assert after == pytest.approx(model.log_probabilities(ids)[20:])


def test_nothing_before_an_end_of_text_counts(directory: Path) -> None:
    model = NgramModel.load(directory)
    assert (model.probabilities([5, 1, END, 0]) == model.probabilities([0])).all()
    assert (model.probabilities([END]) == model.probabilities([])).all()


def test_an_explanation_ends_in_the_probability(directory: Path) -> None:
    model = NgramModel.load(directory)
    for context in ([], [0], [0, 0, 0], [19, 18, 17, 16]):
        for token in range(VOCAB_SIZE):
            steps = explain(model, context, token)
            assert steps[-1].probability == pytest.approx(model.probabilities(context)[token])
            assert [step.order for step in steps] == list(range(1, len(steps) + 1))
    known = explain(model, [0, 0, 0], 0)[-1]
    assert known.context_ids == (0, 0, 0)
    assert known.is_known_context
    assert known.discounted_count > 1
    assert known.num_continuations > 1


def test_no_tokens_have_no_probabilities(directory: Path) -> None:
    assert NgramModel.load(directory).log_probabilities([]).shape == (0,)


@pytest.mark.parametrize("ids", [[-1], [VOCAB_SIZE], [0.5], [[1, 2]]])
def test_ids_that_are_none_are_refused(directory: Path, ids: list[int]) -> None:
    model = NgramModel.load(directory)
    with pytest.raises(NgramError, match="token id"):
        model.log_probabilities(ids)
    with pytest.raises(NgramError, match="token id"):
        model.probabilities(ids)


def test_the_arrays_stay_in_their_files(directory: Path) -> None:
    tables = NgramModel.load(directory).tables
    assert all(isinstance(getattr(tables, name).base, np.memmap) for name in ARRAY_NAMES)
    assert not tables.tokens.flags.writeable


@pytest.mark.parametrize("order", [1, 2])
def test_the_lowest_orders_load(order: int, tmp_path: Path) -> None:
    train_ngram(
        [np.array([1, 2, 2, 0])], vocab_size=3, end_of_text_id=0, order=order, announce=quiet
    ).save(tmp_path)
    model = NgramModel.load(tmp_path)
    assert model.probabilities([2, 2]).sum() == pytest.approx(1, abs=1e-9)
    assert np.isfinite(model.log_probabilities([1, 2, 0, 1])).all()


def test_loading_needs_no_torch(directory: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from model.ngram import NgramModel; "
        "NgramModel.load(Path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program, str(directory)], check=True, cwd=root)


@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAY_NAMES), "ngram.json"])
@pytest.mark.parametrize("kept_share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(directory: Path, name: str, kept_share: float) -> None:
    path = directory / "ngram" / name
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept_share)])
    with pytest.raises(NgramError, match=name):
        NgramModel.load(directory)


@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in ARRAY_NAMES), "ngram.json"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / "ngram" / name).unlink()
    with pytest.raises(NgramError, match=name):
        NgramModel.load(directory)


def test_a_pickle_is_never_opened(directory: Path) -> None:
    path = directory / "ngram" / "levels.npy"
    np.save(path, np.array([{"a": 1}], dtype=np.object_), allow_pickle=True)
    with pytest.raises(NgramError, match=r"levels\.npy"):
        NgramModel.load(directory)


DAMAGES: list[tuple[str, Callable[[NDArray[np.number]], NDArray[np.number]]]] = [
    ("tokens", lambda array: array[::-1]),
    ("tokens", lambda array: array + np.uint16(VOCAB_SIZE)),
    ("tokens", lambda array: array.astype(np.uint32)),
    ("tokens", lambda array: array[:-1]),
    ("weights", lambda array: array[:-1]),
    ("unigrams", lambda array: array * 2),
    ("unigrams", lambda array: array * np.nan),
    ("levels", lambda array: -array),
    ("levels", lambda array: array * np.inf),
    ("backoffs", lambda array: array[:-1]),
    ("first_children", lambda array: array * 0),
    ("first_children", lambda array: np.full_like(array, 255)),
    ("first_children", lambda array: np.roll(array, 1)),
]


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_values_that_do_not_fit_are_refused_by_file(directory: Path, number: int) -> None:
    name, damage = DAMAGES[number]
    path = directory / "ngram" / f"{name}.npy"
    np.save(path, damage(np.load(path)))
    with pytest.raises(NgramError, match=f"{name}.npy"):
        NgramModel.load(directory)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format_version", 2),
        ("order", 6),
        ("order", 0),
        ("order", "5"),
        ("order", True),
        ("vocab_size", 19),
        ("vocab_size", 0),
        ("end_of_text_id", 20),
        ("num_nodes_by_order", [20]),
        ("num_nodes_by_order", [20, -1, 4, 5]),
        ("facts", None),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    directory: Path, key: str, value: object
) -> None:
    path = directory / "ngram" / "ngram.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**description, key: value}), encoding="utf-8")
    with pytest.raises(NgramError, match=r"ngram\.json"):
        NgramModel.load(directory)
