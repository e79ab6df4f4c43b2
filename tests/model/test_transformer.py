"""The network against transformers' LlamaForCausalLM, against differences, and its own promises."""

import json
import math
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from model.config import ModelConfig
from model.generate import generate
from model.transformer import Transformer
from model.weights import load_transformer, save_weights


def tiny_config(**changes: object) -> ModelConfig:
    values = ModelConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=44,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        max_position_embeddings=96,
        rms_norm_eps=1e-5,
    ).to_dict()
    return ModelConfig.from_dict(values | changes)


def random_model(config: ModelConfig, *, dropout: float = 0.0) -> Transformer:
    """Weights larger than at the start of training, so that every part of the network matters."""
    model = Transformer(config, dropout=dropout)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 1.0 if parameter.dim() == 1 else 2.5 / math.sqrt(parameter.shape[1])
            offset = 1.0 if parameter.dim() == 1 else 0.0
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(offset + 0.3 * scale * drawn)
    return model.eval().requires_grad_(False)


def random_ids(num_rows: int, num_tokens: int, *, vocab_size: int = 61) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, vocab_size, (num_rows, num_tokens), generator=generator)


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference in units of the logits' own scale (their standard deviation)."""
    return float((ours - theirs).abs().max() / theirs.std())


def their_model(config: ModelConfig, **changes: object) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig.from_dict(config.to_dict() | changes)).eval()


def load_theirs(directory: Path, *, dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    assert isinstance(model, LlamaForCausalLM)
    return model.eval()


def their_logits(model: LlamaForCausalLM, ids_BT: Tensor) -> Tensor:
    # The result's class is known at run time only.
    return cast("Tensor", model(ids_BT)["logits"])


def their_greedy(model: LlamaForCausalLM, prompt_1T: Tensor, *, max_tokens: int) -> list[int]:
    settings = {"max_new_tokens": max_tokens, "do_sample": False, "eos_token_id": None}
    # The method is mixed in where the checker does not see it.
    ids = cast("Tensor", model.generate(prompt_1T, **settings))  # pyright: ignore
    return [int(token) for token in ids[0, prompt_1T.shape[1] :]]


SHAPES: dict[str, dict[str, object]] = {
    "many heads": {},
    "grouped queries": {"num_key_value_heads": 2},
    "one key head": {"num_key_value_heads": 1},
    "output of its own": {"tie_word_embeddings": False},
    "wide heads": {"head_dim": 24, "num_key_value_heads": 2},
    "narrow heads": {"head_dim": 2},
    "slow rotation": {"rope_theta": 500000.0},
    "fast rotation": {"rope_theta": 100.0, "num_hidden_layers": 1},
    "large epsilon": {"rms_norm_eps": 0.1},
}


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES.keys())
def test_our_folder_computes_the_same_in_transformers(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    save_weights(random_model(tiny_config(**changes)), tmp_path)
    ours = load_transformer(tmp_path)
    theirs = load_theirs(tmp_path)
    ids = random_ids(2, 96)
    with torch.inference_mode():
        assert relative_difference(ours(ids), their_logits(theirs, ids)) <= 1e-5
    prompt = ids[:1, :5]
    expected = their_greedy(theirs, prompt, max_tokens=50)
    written = list(
        generate(ours, [int(token) for token in prompt[0]], max_tokens=50, temperature=0.0)
    )
    assert written == expected
    assert len(written) == 50


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("shard_size", ["1GB", "12KB"])
def test_a_folder_of_transformers_computes_the_same_here(
    tmp_path: Path, changes: dict[str, object], shard_size: str
) -> None:
    config = tiny_config(**changes)
    torch.manual_seed(11)
    theirs = their_model(config, initializer_range=0.4)
    theirs.save_pretrained(tmp_path, max_shard_size=shard_size)
    assert (shard_size == "12KB") == (tmp_path / "model.safetensors.index.json").exists()
    assert "rope_parameters" in json.loads((tmp_path / "config.json").read_text())
    ours = load_transformer(tmp_path)
    ids = random_ids(2, 40)
    with torch.inference_mode():
        assert relative_difference(ours(ids), their_logits(theirs, ids)) <= 1e-5
    assert ours.config == config


def test_both_generations_of_rotary_keys_mean_the_same(tmp_path: Path) -> None:
    save_weights(random_model(tiny_config(rope_theta=5000.0)), tmp_path)
    file = tmp_path / "config.json"
    old = json.loads(file.read_text())
    new = {key: old[key] for key in old.keys() - {"rope_theta", "rope_scaling", "torch_dtype"}}
    new["rope_parameters"] = {"rope_type": "default", "rope_theta": 5000.0}
    ids = random_ids(1, 40)
    with torch.inference_mode():
        of_old = load_transformer(tmp_path)(ids)
        file.write_text(json.dumps(new))
        theirs = load_theirs(tmp_path)
        assert torch.equal(load_transformer(tmp_path)(ids), of_old)
        assert relative_difference(of_old, their_logits(theirs, ids)) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_as_near_to_full_precision_as_that_of_transformers(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    save_weights(random_model(tiny_config(num_key_value_heads=2)), tmp_path, dtype=dtype)
    theirs = load_theirs(tmp_path, dtype=dtype)
    ids = random_ids(4, 96)
    with torch.inference_mode():
        exact = load_transformer(tmp_path, dtype=torch.float32)(ids)
        of_ours = load_transformer(tmp_path, dtype=None)(ids).float()
        of_theirs = their_logits(theirs, ids).float()
    # Two roundings of the same numbers: each is about as far from the truth as the other.
    error_of_theirs = (of_theirs - exact).pow(2).mean().sqrt()
    assert (of_ours - exact).pow(2).mean().sqrt() <= 1.25 * error_of_theirs
    assert (of_ours - of_theirs).pow(2).mean().sqrt() <= 2.0 * error_of_theirs
    assert error_of_theirs / exact.std() <= (0.05 if dtype == torch.bfloat16 else 0.01)


def test_the_norm_of_a_half_precision_model_is_taken_in_full_precision(tmp_path: Path) -> None:
    # Squares of 300 overflow float16 and lose everything small in bfloat16.
    model = random_model(tiny_config(num_hidden_layers=1)).half()
    norm = model.model.norm
    x_TC = 300.0 * torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    expected = norm.float()(x_TC.half().float())
    assert torch.allclose(norm.half()(x_TC.half()).float(), expected, rtol=2e-3, atol=1e-3)


def test_gradients_equal_finite_differences() -> None:
    config = tiny_config(
        vocab_size=5, hidden_size=4, intermediate_size=3, num_hidden_layers=2, head_dim=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=4,
    )  # fmt: skip
    model = random_model(config).double()
    names = [name for name, _ in model.named_parameters()]
    ids = torch.tensor([[1, 4, 0], [2, 2, 3]])

    def logits(*parameters: Tensor) -> Tensor:
        values = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(model, values, (ids,))

    parameters = tuple(p.detach().requires_grad_(True) for p in model.parameters())
    assert len(parameters) == 2 * 9 + 2
    assert torch.autograd.gradcheck(logits, parameters, fast_mode=False, atol=1e-7)


def test_no_token_sees_a_later_one() -> None:
    model = random_model(tiny_config(num_key_value_heads=2))
    ids = random_ids(1, 20)
    changed = ids.clone()
    changed[0, 12:] = (changed[0, 12:] + 1) % 61
    with torch.inference_mode():
        before, after = model(ids), model(changed)
    assert torch.equal(before[0, :12], after[0, :12])
    assert bool((before[0, 12:] != after[0, 12:]).any(dim=-1).all())


def test_dropout_acts_in_training_mode_only() -> None:
    config = tiny_config()
    plain, dropping = random_model(config), random_model(config, dropout=0.5)
    ids = random_ids(1, 20)
    with torch.inference_mode():
        expected = plain(ids)
        assert torch.equal(dropping(ids), expected)
        torch.manual_seed(0)
        first, second = dropping.train()(ids), dropping(ids)
        assert not torch.equal(first, expected)
        assert not torch.equal(first, second)
        assert torch.equal(plain.train()(ids), expected)


def test_dropout_keeps_the_expected_embedding() -> None:
    model = random_model(tiny_config(num_hidden_layers=1), dropout=0.25).train()
    torch.manual_seed(0)
    dropped = model.dropout(torch.ones(100_000))
    assert abs(float((dropped == 0).float().mean()) - 0.25) < 0.01
    assert abs(float(dropped.mean()) - 1.0) < 0.01


def test_the_state_dict_is_that_of_transformers() -> None:
    for tied in (True, False):
        config = tiny_config(tie_word_embeddings=tied)
        theirs = their_model(config).state_dict()
        if tied:
            del theirs["lm_head.weight"]
        ours = Transformer(config).state_dict()
        assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}
        assert sum(t.numel() for t in ours.values()) == config.num_parameters


def test_fresh_weights_are_drawn_from_the_generator_alone() -> None:
    config = tiny_config(hidden_size=64, tie_word_embeddings=False)
    first, second = Transformer(config), Transformer(config)
    first.initialize(torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    second.initialize(torch.Generator().manual_seed(5))
    of_second = second.state_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(value, of_second[name])
        is_output = name.endswith(("o_proj.weight", "down_proj.weight"))
        expected = 0.02 / math.sqrt(6) if is_output else 0.02
        if value.dim() == 1:
            assert bool((value == 1.0).all())
        else:
            assert abs(float(value.std()) / expected - 1.0) < 0.1


def test_a_fresh_model_knows_nothing_and_says_so() -> None:
    model = Transformer(tiny_config())
    model.initialize(torch.Generator().manual_seed(0))
    ids = random_ids(4, 33)
    with torch.inference_mode():
        logits = model(ids[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    assert abs(float(loss) - math.log(61)) < 0.05


def test_more_tokens_than_positions_are_refused() -> None:
    model = random_model(tiny_config(max_position_embeddings=8))
    model(random_ids(1, 8))
    with pytest.raises(ValueError, match=r"at most 8 tokens \(max_position_embeddings\), got 9"):
        model(random_ids(1, 9))


def test_short_windows_have_the_same_gradients_compiled_as_not() -> None:
    # Compiled for the CPU, their attention takes a way of its own.
    plain, compiled = (random_model(tiny_config()).double().requires_grad_() for _ in range(2))
    ids = torch.randint(61, (2, 33), generator=torch.Generator().manual_seed(3))
    plain(ids).logsumexp(-1).sum().backward()
    torch.compile(compiled, backend="aot_eager", fullgraph=True)(ids).logsumexp(-1).sum().backward()
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert relative_difference(other.grad, one.grad) <= 1e-10, name


def test_training_compiles_into_one_graph_for_all_lengths() -> None:
    model = random_model(tiny_config(num_key_value_heads=2)).train()
    # Symbolic sizes, as after the second length; this backend needs no C++ compiler.
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for num_rows, num_tokens in ((4, 33), (2, 17), (3, 96)):
        ids = random_ids(num_rows, num_tokens)
        assert relative_difference(compiled(ids), model(ids)) <= 1e-5
