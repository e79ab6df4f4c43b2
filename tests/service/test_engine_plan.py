"""What an engine is given of the memory: context, cache, queue (H56)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.safetensors_header import ITEM_BYTES
from model.transformer import rotation_tables
from service.engine.cpu.loading import weight_type
from service.engine.cpu.packed_network import NumberType, PackedNetwork
from service.engine_link.engine_plan import ENGINE_BYTES, EnginePlan, plan_engine
from service.machine_limits import CoreLimit, MachineLimits, MemoryLimit
from service.models.model_store import ModelFolder, StoreError, read_folder
from service.settings import Settings
from service.settings_sources import load_settings

REPOSITORY = Path(__file__).resolve().parents[2]
GIB = 1 << 30
# The bundled model in f32: keys and values of 8 layers of 5 heads of 64 numbers of 4 bytes.
TOKEN_BYTES = 2 * 8 * 5 * 64 * 4


@pytest.fixture(scope="module")
def folder() -> ModelFolder:
    """The bundled model."""
    return read_folder(REPOSITORY / "artifacts" / "fairytales" / "1", verify=False)


def plan(folder: ModelFolder, kv_cache_bytes: int, *flags: str) -> EnginePlan:
    return plan_engine(folder, settings(*flags), kv_cache_bytes=kv_cache_bytes)


def settings(*flags: str) -> Settings:
    machine = MachineLimits(CoreLimit(2.0, "2 cores"), MemoryLimit(24 * GIB, "24 GiB"))
    return load_settings(["--dtype", "f32", *flags], {}, machine=machine).settings


def test_no_more_cache_than_all_running_requests_can_fill(folder: ModelFolder) -> None:
    made = plan(folder, GIB, "--max-running", "3", "--max-queued", "5")
    assert made.context_tokens == 512
    assert made.kv_cache_tokens == 3 * 512
    assert made.max_requests == 8
    assert made.note is None


def test_no_more_cache_than_the_share_holds(folder: ModelFolder) -> None:
    made = plan(folder, 1000 * TOKEN_BYTES, "--max-running", "30", "--max-queued-tokens", "100")
    assert made.kv_cache_tokens == 960
    assert made.context_tokens == 512
    # A whole context may always wait.
    assert made.max_tokens == 960 + 513


def test_a_context_that_does_not_fit_the_cache_is_lowered_and_said(folder: ModelFolder) -> None:
    """H56: what is advertised can be served."""
    made = plan(folder, 200 * TOKEN_BYTES)
    assert made.context_tokens == made.kv_cache_tokens == 192
    assert made.load.max_context_tokens == 192
    assert made.note is not None
    assert "512" in made.note
    assert "192" in made.note


@pytest.mark.parametrize(
    ("kv_cache_tokens", "flags"), [(200, ("--max-context", "300")), (63, ()), (0, ())]
)
def test_a_context_that_was_asked_for_or_no_cache_at_all_is_refused(
    folder: ModelFolder, kv_cache_tokens: int, flags: tuple[str, ...]
) -> None:
    """H56: naming the setting, what it holds and what was asked for."""
    with pytest.raises(StoreError, match="--kv-cache-memory"):
        plan(folder, kv_cache_tokens * TOKEN_BYTES, *flags)


def test_a_lower_context_that_fits_is_served(folder: ModelFolder) -> None:
    made = plan(folder, 200 * TOKEN_BYTES, "--max-context", "100", "--max-running", "1")
    assert made.context_tokens == 100
    assert made.kv_cache_tokens == 128


def test_half_the_bytes_hold_twice_the_tokens(folder: ModelFolder) -> None:
    many = "--max-running", "1024"
    in_f32 = plan(folder, GIB, *many)
    in_bf16 = plan_engine(folder, replace(settings(*many), dtype="bf16"), kv_cache_bytes=GIB)
    assert abs(in_bf16.kv_cache_tokens - 2 * in_f32.kv_cache_tokens) < 128


def test_the_memory_of_weights_and_cache_is_planned(folder: ModelFolder) -> None:
    made = plan(folder, GIB, "--max-running", "3")
    weights = 4 * folder.artifact.config.num_parameters
    network = (256 << 20) + weights + 3 * 512 * TOKEN_BYTES
    assert made.ngram is not None
    assert made.needed_bytes == network + made.ngram.needed_bytes
    alone = plan(replace(folder, ngram=None), GIB, "--max-running", "3")
    assert (alone.needed_bytes, alone.ngram) == (network, None)
    assert alone.load.ngram_cache_tokens is None


def test_the_ngram_model_has_a_whole_context_for_each_running_request(folder: ModelFolder) -> None:
    """Its cache is the text itself, so what --kv-cache-memory holds is no limit to it."""
    made = plan(folder, 600 * TOKEN_BYTES, "--max-running", "9", "--max-queued", "2")
    assert made.kv_cache_tokens == 576
    assert made.ngram is not None
    assert made.ngram.kv_cache_tokens == made.load.ngram_cache_tokens == 9 * 512
    assert made.ngram.max_tokens >= made.ngram.kv_cache_tokens + 513
    assert (made.ngram.max_requests, made.ngram.context_tokens) == (11, 512)
    assert made.ngram.needed_bytes < 32 << 20


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("dtype", ["auto", "f32", "bf16", "int8"])
@pytest.mark.parametrize("stored", ["F32", "F16", "BF16"])
def test_weights_and_cache_are_planned_as_the_kernels_pack_them(
    stored: str, dtype: str, is_tied: bool, folder: ModelFolder, tmp_path: Path
) -> None:
    """Of every stored type: float16 is widened, an embedding of its own is kept in bf16."""
    shape = replace(folder.artifact.config, tie_word_embeddings=is_tied)
    entry = {"dtype": stored, "shape": [1, 1], "data_offsets": [0, ITEM_BYTES[stored]]}
    header = json.dumps({"model.embed_tokens.weight": entry}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(ITEM_BYTES[stored]))
    size_bytes = shape.num_parameters * ITEM_BYTES[stored]
    artifact = replace(folder.artifact, config=shape, weight_files=(file,), size_bytes=size_bytes)
    plain = replace(folder, artifact=artifact, ngram=None)
    made = plan(plain, GIB, "--dtype", dtype, "--device", "cpu")
    torch_dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[stored]
    packed = PackedNetwork(
        shape,
        weight_type=weight_type(dtype, torch_dtype),
        tables_PD=rotation_tables(shape, num_positions=made.context_tokens),
        num_threads=1,
    )
    is_exact = packed.weight_type is NumberType.F32
    cache_bytes = packed.cache_bytes(
        made.kv_cache_tokens // 16, NumberType.F32 if is_exact else NumberType.BF16
    )
    planned = made.needed_bytes - ENGINE_BYTES - cache_bytes
    assert abs(planned - packed.num_bytes) < 0.03 * packed.num_bytes
