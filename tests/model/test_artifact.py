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
from model.store import publish
from model.weight_files import has_non_finite

TinyModelWriter = Callable[[Path], ModelConfig]


@pytest.fixture
def foreign(tmp_path: Path, write_tiny_model: TinyModelWriter) -> Path:
    """A folder as others make it: no manifest."""
    write_tiny_model(tmp_path / "Foreign Model")
    return tmp_path / "Foreign Model"


@pytest.fixture
def published(tmp_path: Path, write_tiny_model: TinyModelWriter) -> Path:
    def write(work: Path) -> None:
        write_tiny_model(work)
        (work / "ngram").mkdir()
        np.save(work / "ngram" / "counts.npy", np.arange(4))
        (work / "README.md").write_text("A card.", "utf-8")

    return publish(tmp_path / "alice", write, manifest={"parent": None})


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
    _edit_json(foreign / "config.json", attention_bias=True)
    with pytest.raises(ArtifactError, match=r"config\.json: .*attention_bias=True"):
        read_artifact(foreign)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(missing: str, foreign: Path) -> None:
    (foreign / missing).unlink()
    with pytest.raises(ArtifactError, match=missing.replace(".", r"\.")):
        read_artifact(foreign)


def test_a_manifest_is_written_and_read_back(published: Path) -> None:
    artifact = read_artifact(published)
    manifest = dict(artifact.manifest or {})
    files = cast("dict[str, object]", manifest.pop("files"))
    assert manifest.pop("created")
    assert manifest == {"format_version": 1, "name": "alice", "version": "1", "parent": None}
    assert set(files) == {
        path.relative_to(published).as_posix()
        for path in published.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


def test_one_flipped_bit_in_any_file_is_found(published: Path) -> None:
    for path in [p for p in published.rglob("*") if p.is_file() and p.name != "manifest.json"]:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=r": its SHA-256 differs"):
            read_artifact(published)
        path.write_bytes(whole)
    assert read_artifact(published)


@pytest.mark.parametrize("name", ["model.safetensors", "ngram/counts.npy", "README.md"])
def test_a_truncated_or_missing_file_is_found_without_hashing(name: str, published: Path) -> None:
    path = published / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"bytes, but manifest\.json says"):
        read_artifact(published, verify=False)
    path.unlink()
    with pytest.raises(ArtifactError, match="No such file"):
        read_artifact(published, verify=False)


def test_a_file_that_a_loader_would_read_must_be_listed(published: Path) -> None:
    (published / "notes.txt").write_text("fine", "utf-8")
    assert read_artifact(published)
    (published / "special_tokens_map.json").write_text("{}", "utf-8")
    with pytest.raises(ArtifactError, match=r"special_tokens_map\.json: not listed"):
        read_artifact(published)


@pytest.mark.parametrize("version", [2, 999])
def test_a_newer_format_is_refused_by_number(version: int, published: Path) -> None:
    _edit_json(published / "manifest.json", format_version=version)
    with pytest.raises(ArtifactError, match=f"format_version {version} is newer than 1"):
        read_artifact(published)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "a\0b", "", "evil.pkl", "a\\b"]
)
def test_a_manifest_cannot_point_out_of_the_folder_or_at_a_pickle(
    name: str, published: Path
) -> None:
    files = {name: {"sha256": "0" * 64, "size": 1}}
    _edit_json(published / "manifest.json", files=files)
    with pytest.raises(ArtifactError, match="an entry of files is malformed"):
        read_artifact(published)


def test_a_recorded_file_cannot_be_a_link_that_leaves_the_folder(published: Path) -> None:
    shutil.move(published / "config.json", published.parent / "config.json")
    (published / "config.json").symlink_to(published.parent / "config.json")
    with pytest.raises(ArtifactError, match="a link that leaves the folder"):
        read_artifact(published)


def test_a_copied_folder_is_called_by_its_place(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "bob" / "7")
    copied = read_artifact(tmp_path / "bob" / "7")
    assert (copied.name, copied.version) == ("bob", "7")
    shutil.copytree(published, tmp_path / "elsewhere")
    moved = read_artifact(tmp_path / "elsewhere")
    assert (moved.name, moved.version) == ("alice", "1")


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
