"""What the front reads of an artifact: defaults in our words, or a line saying what is wrong."""

import json
import shutil
from pathlib import Path

import pytest

from service.models.model_store import StoreError, read_folder

BUNDLED = Path(__file__).resolve().parents[2] / "artifacts" / "fairytales" / "1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The bundled model without its manifest, as somebody else's folder would be."""
    ignored = shutil.ignore_patterns("manifest.json", "ngram", "report")
    return Path(shutil.copytree(BUNDLED, tmp_path / "model", ignore=ignored))


def test_defaults_come_from_the_folder_and_what_it_leaves_open_is_ours(folder: Path) -> None:
    values = {"do_sample": True, "temperature": 0.5, "top_k": 7, "max_new_tokens": 9}
    (folder / "generation_config.json").write_text(json.dumps(values))
    defaults = read_folder(folder).defaults
    assert (defaults.temperature, defaults.top_k, defaults.max_tokens) == (0.5, 7, 9)
    assert (defaults.top_p, defaults.min_p, defaults.repetition_penalty) == (1.0, 0.0, 1.0)


def test_a_folder_that_does_not_sample_is_greedy(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.5}')
    assert read_folder(folder).defaults.temperature == 0.0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_new_tokens", 0),
        ("max_new_tokens", 9.5),
        ("temperature", -1),
        ("top_k", "many"),
        ("top_k", 5.7),
        ("top_p", 2),
        ("min_p", True),
    ],
)
def test_a_default_that_no_request_could_have_is_refused(
    folder: Path, key: str, value: object
) -> None:
    (folder / "generation_config.json").write_text(json.dumps({key: value}))
    with pytest.raises(StoreError, match=key):
        read_folder(folder)


def test_a_folder_may_be_given_another_name(folder: Path) -> None:
    assert read_folder(folder).name == "model"
    assert read_folder(folder, name="alice").name == "alice"


def test_the_ngram_model_beside_the_network_is_found(folder: Path) -> None:
    assert read_folder(folder).ngram is None
    shutil.copytree(BUNDLED / "ngram", folder / "ngram")
    found = read_folder(folder).ngram
    assert found is not None
    assert (found.order, found.vocab_size, found.num_ngrams) == (5, 4096, 2212576)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocab_size": 4097, "num_nodes_by_order": [4097, 1]}, "4096 and 0, got 4097 and 0"),
        ({"end_of_text_id": 1}, "4096 and 0, got 4096 and 1"),
        ({"format_version": 2}, "format_version must be 1, given 2"),
    ],
)
def test_an_ngram_model_of_other_tokens_is_refused(
    folder: Path, changes: dict[str, object], words: str
) -> None:
    values: dict[str, object] = {
        "format_version": 1,
        "order": 2,
        "vocab_size": 4096,
        "end_of_text_id": 0,
        "num_nodes_by_order": [4096, 1],
        "facts": {},
    }
    (folder / "ngram").mkdir()
    (folder / "ngram" / "ngram.json").write_text(json.dumps(values | changes))
    with pytest.raises(StoreError, match=words):
        read_folder(folder)
