"""Reading artifact folders: ours and foreign ones, whole and broken in every way we know."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save_file,  # pyright: ignore[reportUnknownVariableType]
)

from model.artifact import ArtifactError, read_artifact
from model.config import ModelConfig
from model.safetensors_header import encode_header
from model.weight_files import has_non_finite

TinyModelWriter = Callable[[Path], ModelConfig]


@pytest.fixture
def foreign(tmp_path: Path, write_tiny_model: TinyModelWriter) -> Path:
    """A folder as others make it: no manifest."""
    write_tiny_model(tmp_path / "Foreign Model")
    return tmp_path / "Foreign Model"


def _edit_json(path: Path, **changes: object) -> None:
    values = cast("dict[str, object]", json.loads(path.read_text("utf-8")))
    path.write_text(json.dumps(values | changes), "utf-8")


def _change_weights(directory: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    path = directory / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def _shard(directory: Path) -> None:
    """Split model.safetensors into two shards with an index."""
    tensors = load_file(directory / "model.safetensors")
    weight_map: dict[str, str] = {}
    names = sorted(tensors)
    for number, part in enumerate((names[:5], names[5:]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, directory / file)
        weight_map |= dict.fromkeys(part, file)
    (directory / "model.safetensors").unlink()
    index = json.dumps({"metadata": {}, "weight_map": weight_map})
    (directory / "model.safetensors.index.json").write_text(index, "utf-8")


def test_a_foreign_folder_is_readable_without_a_manifest(foreign: Path) -> None:
    artifact = read_artifact(foreign)
    assert (artifact.name, artifact.version, artifact.manifest) == ("Foreign-Model", "0", None)
    assert artifact.generation_defaults == {"temperature": 0.8}
    assert artifact.config.vocab_size == 12
    assert artifact.weight_files == (foreign / "model.safetensors",)
    assert artifact.size_bytes == (foreign / "model.safetensors").stat().st_size


def test_tokens_that_end_a_text_are_those_of_both_files(foreign: Path) -> None:
    _edit_json(foreign / "config.json", eos_token_id=3)
    assert read_artifact(foreign).end_token_ids == (3,)
    _edit_json(foreign / "generation_config.json", eos_token_id=[5, 3])
    assert read_artifact(foreign).end_token_ids == (3, 5)
    for value, message in ((12, r"0\.\.11 \(vocab_size 12\), got 12"), ("5", "token ids, got '5'")):
        _edit_json(foreign / "generation_config.json", eos_token_id=value)
        with pytest.raises(ArtifactError, match=rf"generation_config\.json: .*{message}"):
            read_artifact(foreign)


def test_a_folder_of_links_is_readable_as_download_caches_make_them(foreign: Path) -> None:
    snapshot = foreign.parent / "snapshot"
    snapshot.mkdir()
    for path in foreign.iterdir():
        (snapshot / path.name).symlink_to(path)
    assert read_artifact(snapshot).config.vocab_size == 12


def test_shards_are_read_through_their_index(foreign: Path) -> None:
    _shard(foreign)
    assert [path.name for path in read_artifact(foreign).weight_files] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_a_tied_output_matrix_and_old_rotary_tables_may_be_stored_too(foreign: Path) -> None:
    def add(tensors: dict[str, np.ndarray]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(2, np.float32)

    _change_weights(foreign, add)
    assert read_artifact(foreign).weight_files


def test_only_pickled_weights_are_refused_by_name(foreign: Path) -> None:
    (foreign / "model.safetensors").rename(foreign / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match=r"pytorch_model\.bin: pickled weights"):
        read_artifact(foreign)


def test_pickles_beside_safetensors_are_never_opened(foreign: Path) -> None:
    # A link to nowhere: opening it would fail.
    (foreign / "pytorch_model.bin").symlink_to(foreign / "nowhere")
    assert read_artifact(foreign).weight_files


def test_a_missing_tensor_is_named(foreign: Path) -> None:
    _change_weights(foreign, lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(ArtifactError, match=r"tensor model\.norm\.weight is missing"):
        read_artifact(foreign)


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("extra", 1, "f4", "'extra' does not belong"),
        ("model.norm.weight", 9, "f4", r"must have the shape \[8\], got \[9\]"),
        ("model.norm.weight", 8, "f8", "must be of type BF16, F16, F32, got F64"),
        ("lm_head.weight", 8, "f4", r"must have the shape \[12, 8\], got \[8\]"),
        ("x\n" * 200, 1, "f4", r"x\\nx\\n"),
    ],
    ids=["extra", "shape", "type", "tied", "unprintable name"],
)
def test_tensors_that_do_not_fit_the_configuration_are_refused(
    name: str, shape: int, dtype: str, message: str, foreign: Path
) -> None:
    _change_weights(foreign, lambda tensors: tensors.update({name: np.ones(shape, dtype)}))
    with pytest.raises(ArtifactError, match=message) as caught:
        read_artifact(foreign)
    assert "\n" not in str(caught.value)


def _weight_map(directory: Path) -> dict[str, str]:
    index = json.loads((directory / "model.safetensors.index.json").read_text("utf-8"))
    return cast("dict[str, str]", index["weight_map"])


@pytest.mark.parametrize(
    "name", ["../w.safetensors", "/w.safetensors", "a\\b.safetensors", "w.bin"]
)
def test_a_shard_outside_the_folder_is_refused(name: str, foreign: Path) -> None:
    _shard(foreign)
    shutil.copy(foreign / "model-00001-of-00002.safetensors", foreign.parent / "w.safetensors")
    moved = {
        tensor: name if file.startswith("model-00001") else file
        for tensor, file in _weight_map(foreign).items()
    }
    _edit_json(foreign / "model.safetensors.index.json", weight_map=moved)
    with pytest.raises(ArtifactError, match="weight_map must name shards beside it"):
        read_artifact(foreign)


def test_a_missing_shard_is_named(foreign: Path) -> None:
    _shard(foreign)
    (foreign / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"model-00002-of-00002\.safetensors: No such file"):
        read_artifact(foreign)


def test_an_index_that_lies_about_a_shard_is_refused(foreign: Path) -> None:
    _shard(foreign)
    weight_map = _weight_map(foreign) | {"model.norm.weight": "model-00001-of-00002.safetensors"}
    _edit_json(foreign / "model.safetensors.index.json", weight_map=weight_map)
    with pytest.raises(ArtifactError, match="holds other tensors than"):
        read_artifact(foreign)


def test_two_sets_of_weights_are_refused(foreign: Path) -> None:
    _shard(foreign)
    (foreign / "model.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="holds both"):
        read_artifact(foreign)


def test_a_tokenizer_larger_than_the_embedding_is_refused(foreign: Path) -> None:
    tokens = [{"id": 12, "content": "<|more|>"}]
    _edit_json(foreign / "tokenizer.json", added_tokens=tokens)
    with pytest.raises(ArtifactError, match="token id 12 does not fit vocab_size 12"):
        read_artifact(foreign)


def test_a_tokenizer_that_lists_its_pieces_is_measured_by_their_number(foreign: Path) -> None:
    for num_pieces, fits in ((12, True), (13, False)):
        pieces = [[str(number), 0.0] for number in range(num_pieces)]
        model = {"type": "Unigram", "vocab": pieces}
        _edit_json(foreign / "tokenizer.json", model=model, added_tokens=[])
        if fits:
            assert read_artifact(foreign)
        else:
            with pytest.raises(ArtifactError, match="token id 12 does not fit"):
                read_artifact(foreign)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": None},
        {"model": {"vocab": 3}},
        {"model": {"vocab": {"a": "0"}}},
        {"added_tokens": {}},
        {"added_tokens": ["x"]},
        {"added_tokens": [{"content": "x"}]},
    ],
)
def test_a_malformed_tokenizer_is_refused(changes: dict[str, object], foreign: Path) -> None:
    _edit_json(foreign / "tokenizer.json", **changes)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: not a tokenizer"):
        read_artifact(foreign)


def test_a_configuration_of_endless_layers_is_refused_at_once(foreign: Path) -> None:
    _edit_json(foreign / "config.json", num_hidden_layers=10**12)
    with pytest.raises(ArtifactError, match="num_hidden_layers must be at most"):
        read_artifact(foreign)


def test_an_unsupported_configuration_is_refused_by_key(foreign: Path) -> None:
    _edit_json(foreign / "config.json", mlp_bias=True)
    with pytest.raises(ArtifactError, match=r"config\.json: .*mlp_bias=True"):
        read_artifact(foreign)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(missing: str, foreign: Path) -> None:
    (foreign / missing).unlink()
    with pytest.raises(ArtifactError, match=missing.replace(".", r"\.")):
        read_artifact(foreign)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F16", "F32", "F64", "BF16"])
def test_values_that_are_not_finite_are_found(value: float, dtype: str, tmp_path: Path) -> None:
    values = np.full((3, 5), 1.5)
    bits = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<f4"}[dtype]
    path = tmp_path / "w.safetensors"
    for expected in (False, True):
        data = values.astype(bits).tobytes()
        if dtype == "BF16":
            data = np.frombuffer(data, "<u2")[1::2].tobytes()
        path.write_bytes(
            encode_header([("w", dtype, (3, 5)), ("i", "U8", (2,))]) + data + b"\xff\x7f"
        )
        assert has_non_finite(path) is expected
        values[2, 4] = value
