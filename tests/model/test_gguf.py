"""Folders to GGUF files and back: nothing changes; what cannot be said is refused by its name."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, quantize

from model.artifact import read_artifact
from model.artifact_error import ArtifactError
from model.config import ModelConfig
from model.exchange.byte_bpe import KINDS, kind_of
from model.exchange.export_gguf import export_gguf
from model.exchange.gguf_file import read_gguf
from model.exchange.import_gguf import import_gguf
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import load_transformer, save_weights
from tests.model.tiny_gguf import FAMILIES, SHAPE, TEMPLATE, TEXT, Arrays, rewritten, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    write_model(tmp_path / "folder")
    return tmp_path / "folder"


@pytest.mark.parametrize("case", FAMILIES)
def test_a_model_that_went_out_comes_back_as_it_was(tmp_path: Path, case: str) -> None:
    (tmp_path / "before").mkdir()
    config = write_model(tmp_path / "before", case)
    export_gguf(tmp_path / "before", tmp_path / "model.gguf")
    made = import_gguf(tmp_path / "model.gguf", tmp_path / "after")
    assert made.config == read_artifact(tmp_path / "after").config == config
    assert (made.dtype, made.has_chat_template) == ("f32", True)
    before = load_transformer(tmp_path / "before").state_dict()
    after = load_transformer(tmp_path / "after").state_dict()
    assert before.keys() == after.keys()
    assert not [name for name in before if not torch.equal(before[name], after[name])]
    ours, theirs = (Tokenizer.load(tmp_path / name) for name in ("before", "after"))
    assert theirs.encode(TEXT) == ours.encode(TEXT)
    assert theirs.decode(theirs.encode(TEXT)) == TEXT
    assert theirs.special_ids == ours.special_ids == {0, 1}
    settings = json.loads((tmp_path / "after" / "tokenizer_config.json").read_text())
    assert settings["chat_template"] == TEMPLATE


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_matrices_keep_a_half_precision_type_and_norms_do_not(
    tmp_path: Path, folder: Path, dtype: str
) -> None:
    export_gguf(folder, tmp_path / "model.gguf", dtype=dtype)
    kinds = {t.name: t.tensor_type.name for t in GGUFReader(tmp_path / "model.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == dtype.upper()
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    assert import_gguf(tmp_path / "model.gguf", tmp_path / "after").dtype == dtype
    torch_type = {"f16": torch.float16, "bf16": torch.bfloat16}[dtype]
    expected = load_transformer(folder).to(torch_type).state_dict()
    found = load_transformer(tmp_path / "after", dtype=None).state_dict()
    matrices = [name for name, value in expected.items() if value.dim() == 2]
    assert not [name for name in matrices if not torch.equal(expected[name], found[name])]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("general.architecture", "gemma2"),
        ("llama.attention.sliding_window", 32),
        ("llama.expert_count", 8),
        ("llama.logit_scale", 0.5),
        ("llama.rope.scaling.type", "yarn"),
        ("llama.rope.dimension_count", 8),
        ("llama.attention.value_length", 8),
        ("llama.attention.head_count", [4, 4]),
        ("llama.block_count", "2"),
        ("tokenizer.ggml.model", "llama"),
        ("tokenizer.ggml.pre", "deepseek-coder"),
        ("tokenizer.ggml.eos_token_id", 320),
        ("split.count", 2),
    ],
    ids=str,
)
def test_a_value_of_another_computation_is_refused_by_its_name(
    tmp_path: Path, folder: Path, key: str, value: object
) -> None:
    export_gguf(folder, tmp_path / "model.gguf")
    changed = rewritten(tmp_path / "model.gguf", tmp_path / "changed.gguf", values={key: value})
    with pytest.raises(ArtifactError, match=key.rpartition(".")[2]) as caught:
        import_gguf(changed, tmp_path / "after")
    assert str(value).strip("[]") in str(caught.value)
    assert not (tmp_path / "after").exists()


@pytest.mark.parametrize(
    "key", ["llama.block_count", "llama.context_length", "tokenizer.ggml.tokens"]
)
def test_a_missing_value_is_named(tmp_path: Path, folder: Path, key: str) -> None:
    export_gguf(folder, tmp_path / "model.gguf")
    changed = rewritten(tmp_path / "model.gguf", tmp_path / "changed.gguf", values={key: None})
    with pytest.raises(ArtifactError, match=key):
        import_gguf(changed, tmp_path / "after")


def test_a_tensor_too_few_too_many_or_of_another_shape_is_named(
    tmp_path: Path, folder: Path
) -> None:
    export_gguf(folder, tmp_path / "model.gguf")
    name = "blk.1.ffn_up.weight"
    f32 = GGMLQuantizationType.F32

    def refused(
        change: Callable[[Arrays], object],
    ) -> str:
        (tmp_path / "changed.gguf").unlink(missing_ok=True)
        changed = rewritten(tmp_path / "model.gguf", tmp_path / "changed.gguf", tensors=change)
        with pytest.raises(ArtifactError) as caught:
            import_gguf(changed, tmp_path / "after")
        return str(caught.value)

    assert f"{name} is missing" in refused(lambda arrays: arrays.pop(name))
    extra = (np.zeros((2, 2), np.float32), f32)
    assert "'blk.0.extra' is not supported" in refused(lambda a: a.update({"blk.0.extra": extra}))
    assert "must have the shape [64, 32], got [2, 2]" in refused(lambda a: a.update({name: extra}))
    broken = (np.full((64, 32), np.nan, np.float32), f32)
    assert "is not finite" in refused(lambda a: a.update({name: broken}))


def test_quantised_weights_become_what_the_package_computes(tmp_path: Path, folder: Path) -> None:
    export_gguf(folder, tmp_path / "model.gguf")
    q8 = GGMLQuantizationType.Q8_0

    def quantised(arrays: Arrays) -> None:
        for name, (array, _) in arrays.items():
            if array.ndim == 2:
                arrays[name] = (quantize(array, q8), q8)

    rewritten(tmp_path / "model.gguf", tmp_path / "q8.gguf", tensors=quantised)
    made = import_gguf(tmp_path / "q8.gguf", tmp_path / "after")
    assert made.dtype == "f32"
    assert made.stored_as == {"Q8_0": 16, "F32": 5}
    before, after = (load_transformer(path).state_dict() for path in (folder, tmp_path / "after"))
    for name, value in before.items():
        error = float((value - after[name]).abs().max() / value.abs().max())
        assert (error > 0) == (value.dim() == 2)
        assert error < 0.01


def test_a_file_that_ends_anywhere_is_one_error(tmp_path: Path, folder: Path) -> None:
    export_gguf(folder, tmp_path / "model.gguf")
    whole = (tmp_path / "model.gguf").read_bytes()
    damaged = tmp_path / "damaged.gguf"
    lengths = [*range(0, 400, 33), *range(400, len(whole), 20_001), len(whole) - 1]
    for length in lengths:
        damaged.write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            read_gguf(damaged)
    # Counts far beyond the file end at once as well.
    damaged.write_bytes(whole[:8] + struct.pack("<QQ", 1 << 60, 1 << 60) + whole[24:])
    with pytest.raises(ArtifactError, match="not a whole GGUF file"):
        read_gguf(damaged)


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}},
        {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}},
    ],
    ids=str,
)
def test_another_kind_of_tokenizer_is_not_exported(
    tmp_path: Path, folder: Path, change: dict[str, object]
) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=r"only byte-level BPE that cuts as gpt-2, smollm"):
        export_gguf(folder, tmp_path / "model.gguf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder"]


def test_biases_that_the_format_has_no_place_for_are_refused(tmp_path: Path, folder: Path) -> None:
    config = ModelConfig.from_dict(SHAPE | {"model_type": "qwen3", "attention_bias": True})
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    save_weights(Transformer(config), folder)
    with pytest.raises(ArtifactError, match=r"attention_bias=True with model_type='qwen3'"):
        export_gguf(folder, tmp_path / "model.gguf")


def test_scaling_that_is_not_llamas_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    write_model(tmp_path / "before", "llama 3")
    export_gguf(tmp_path / "before", tmp_path / "model.gguf")
    divisors = (np.linspace(1, 5, 8, dtype=np.float32), GGMLQuantizationType.F32)
    rewritten(
        tmp_path / "model.gguf",
        tmp_path / "changed.gguf",
        tensors=lambda arrays: arrays.update({"rope_freqs.weight": divisors}),
    )
    with pytest.raises(ArtifactError, match=r"rope_freqs\.weight is not the scaling of Llama 3"):
        import_gguf(tmp_path / "changed.gguf", tmp_path / "after")


def test_nothing_is_written_over(tmp_path: Path, folder: Path) -> None:
    export_gguf(folder, tmp_path / "model.gguf")
    for make in (
        lambda: export_gguf(folder, tmp_path / "model.gguf"),
        lambda: import_gguf(tmp_path / "model.gguf", folder),
    ):
        with pytest.raises(ArtifactError, match="is there already"):
            make()


def test_every_kind_is_known_again() -> None:
    for word, kind in KINDS.items():
        specification: dict[str, object] = {
            "normalizer": kind.normalizer,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(kind.pre_tokenizers)},
            "model": {"type": "BPE", "vocab": {}, "ignore_merges": kind.ignore_merges},
        }
        assert kind_of(json.loads(json.dumps(specification))) == word
