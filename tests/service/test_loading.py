"""From a folder and settings to an engine."""

import json

import pytest
import torch
from msgspec.structs import replace

from model.config import ModelConfig
from model.transformer import Transformer
from model.weights import save_weights
from service.engine import executor_choice
from service.engine.eager_executor import EagerExecutor
from service.engine.loading import LoadError, build_engine
from service.engine.messages import Load, Submit

CONTEXT = 40


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """The folder of a very small model."""
    config = ModelConfig(
        vocab_size=19,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=CONTEXT,
    )
    model = Transformer(config)
    model.initialize(torch.Generator().manual_seed(1))
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    save_weights(model, folder, dtype=torch.float32, max_shard_bytes=1 << 24)
    return Load(
        directory=str(folder),
        device="cpu",
        dtype="f32",
        num_threads=torch.get_num_threads(),
        max_running=3,
        max_context_tokens=None,
    )


def test_an_engine_is_loaded_warm_with_its_books_unwritten(load: Load) -> None:
    engine, loaded = build_engine(load)
    assert loaded.context_tokens == CONTEXT
    assert (loaded.kv_block_tokens, loaded.num_blocks) == (16, 9)
    assert (loaded.executor, loaded.dtype, loaded.device) == ("cpu-kernels", "float32", "cpu")
    assert loaded.deterministic
    # Keys of narrow heads are filled up.
    assert 9 * 16 * 2 * 8 * 4 <= loaded.kv_cache_bytes < 2 * 9 * 16 * 2 * 8 * 4
    assert loaded.resident_bytes > loaded.kv_cache_bytes
    assert engine.is_empty
    assert engine.step_number == 0
    engine.submit(Submit(request_id=1, prompt_ids=[1] * (CONTEXT - 1), max_tokens=2))
    assert engine.step().num_tokens == CONTEXT - 1


@pytest.mark.parametrize(("kv_cache_tokens", "num_blocks"), [(48, 3), (63, 3), (64, 4)])
def test_the_cache_has_the_whole_blocks_that_were_asked_for(
    load: Load, kv_cache_tokens: int, num_blocks: int
) -> None:
    engine, loaded = build_engine(replace(load, kv_cache_tokens=kv_cache_tokens))
    assert loaded.num_blocks == engine.num_blocks == num_blocks


def test_a_shorter_context_can_be_asked_for_and_then_needs_less(load: Load) -> None:
    _, loaded = build_engine(replace(load, max_context_tokens=16, kv_cache_tokens=16))
    assert (loaded.context_tokens, loaded.num_blocks) == (16, 1)


def test_a_mode_without_promises_is_there_when_asked_for(load: Load) -> None:
    relaxed = replace(load, executor="eager", deterministic=False)
    assert not build_engine(relaxed)[1].deterministic


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"executor": "fast"},
            "executor must be one of auto, eager, cpu-kernels, cuda-graphs, got fast",
        ),
        ({"executor": "cuda-graphs"}, "cuda-graphs needs a CUDA device"),
        ({"max_running": 0}, "max_running must be from 1 to 1024, .* got 0"),
        ({"max_running": 1025}, "max_running must be from 1 to 1024, .* got 1025"),
        ({"kv_cache_tokens": 47}, "kv_cache_tokens must be at least 48, .* got 47"),
        ({"device": "abacus"}, "device must be .* got abacus"),
        ({"dtype": "f8"}, "dtype must be .* got f8"),
        ({"directory": "/nowhere"}, "/nowhere"),
    ],
    ids=[
        "executor",
        "executor of another device",
        "none running",
        "too many running",
        "cache below a context",
        "device",
        "dtype",
        "directory",
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    load: Load, changes: dict[str, str | int], message: str
) -> None:
    """H56 among them: a cache smaller than a context."""
    with pytest.raises(LoadError, match=message):
        build_engine(replace(load, **changes))


def test_a_device_that_is_not_there_is_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LoadError, match="no CUDA device here, got device cuda"):
        build_engine(replace(load, device="cuda"))


def test_a_model_that_does_not_fit_in_memory_is_refused_with_the_reason(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Greedy(EagerExecutor):
        def __init__(self, *_: object, **__: object) -> None:
            torch.empty(1 << 60)

    monkeypatch.setattr(executor_choice, "EagerExecutor", Greedy)
    with pytest.raises(LoadError, match="do not fit in memory"):
        build_engine(replace(load, executor="eager"))
