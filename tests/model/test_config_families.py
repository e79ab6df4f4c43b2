"""What the keys of each family and of both generations of rotary positions mean."""

import pytest

from model.config import ConfigError, ModelConfig
from model.rotary import Llama3Scaling
from tests.model.test_config import LLAMA3_SCALING, REQUIRED, VALID, read

LLAMA3 = Llama3Scaling(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192
)


@pytest.mark.parametrize(
    ("model_type", "key", "value"),
    [
        ("mistral", "attention_bias", True),
        ("mistral", "sliding_window", 32),
        ("qwen2", "attention_bias", False),
        ("qwen2", "use_sliding_window", True),
        ("qwen2", "architectures", ["LlamaForCausalLM"]),
        ("qwen3", "layer_types", ["sliding_attention", "full_attention"]),
    ],
)
def test_a_family_refuses_what_its_own_network_has_not(
    model_type: str, key: str, value: object
) -> None:
    with pytest.raises(ConfigError, match="is not supported") as caught:
        read(**{"architectures": None, "model_type": model_type, key: value})
    assert f"{key}={value!r}" in str(caught.value)


def test_a_missing_key_means_what_its_family_takes_it_for() -> None:
    plain = {key: VALID[key] for key in REQUIRED}
    config = ModelConfig.from_dict(plain | {"model_type": "qwen3", "num_key_value_heads": 4})
    assert (config.head_dim, config.qk_norm) == (128, True)
    assert config.attention_bias is config.attention_output_bias is False
    config = ModelConfig.from_dict(plain | {"model_type": "qwen2", "num_key_value_heads": None})
    assert (config.head_dim, config.num_key_value_heads) == (8, 4)
    assert config.attention_bias is True
    assert config.attention_output_bias is False
    with pytest.raises(ConfigError, match=r"must divide num_attention_heads \(4\), got 32"):
        ModelConfig.from_dict(plain | {"model_type": "qwen2"})
    # Mistral's window is 4,096 tokens unless the file says that there is none.
    mistral = plain | {"model_type": "mistral", "num_key_value_heads": 4}
    assert ModelConfig.from_dict(mistral | {"max_position_embeddings": 4096})
    with pytest.raises(ConfigError, match="sliding_window=4096 is not supported"):
        ModelConfig.from_dict(mistral | {"max_position_embeddings": 4097})
    assert ModelConfig.from_dict(
        mistral | {"max_position_embeddings": 32768, "sliding_window": None}
    )


def test_both_generations_of_rotary_keys_are_read() -> None:
    inside: dict[str, object] = {"rope_type": "default", "rope_theta": 5e5}
    assert read(rope_theta=5e5).rope_theta == 5e5
    assert read(rope_parameters=inside).rope_theta == 5e5
    assert read(rope_parameters=inside, rope_theta=500000).rope_theta == 5e5
    assert read(rope_parameters={"rope_type": "default"}, rope_theta=5e5).rope_theta == 5e5
    assert read(rope_scaling=LLAMA3_SCALING, rope_theta=5e5).rope_scaling == LLAMA3
    config = read(rope_parameters=LLAMA3_SCALING | {"rope_theta": 5e5})
    assert (config.rope_theta, config.rope_scaling) == (5e5, LLAMA3)
    older = {key: value for key, value in LLAMA3_SCALING.items() if key != "rope_type"}
    assert read(rope_scaling=older | {"type": "llama3"}).rope_scaling == LLAMA3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rope_scaling": LLAMA3_SCALING, "rope_parameters": {"rope_type": "default"}},
            "rope_scaling=.* contradicts rope_parameters=",
        ),
        (
            {"rope_scaling": LLAMA3_SCALING, "original_max_position_embeddings": 4096},
            "original_max_position_embeddings=4096 contradicts rope_scaling=",
        ),
        ({"rope_scaling": {"rope_type": "llama3"}}, "config key factor is missing"),
        ({"rope_scaling": LLAMA3_SCALING | {"factor": 0.5}}, "factor .* at least 1, got 0.5"),
        ({"rope_scaling": LLAMA3_SCALING | {"low_freq_factor": 4}}, r"below .*\(4.0\), got 4.0"),
    ],
    ids=str,
)
def test_scaling_that_contradicts_itself_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(**changes)
    assert "\n" not in str(caught.value)
