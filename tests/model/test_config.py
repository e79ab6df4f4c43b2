"""The configuration: what is refused and how it is named, what means the same, the round trip."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import ConfigError, ModelConfig
from model.families import FAMILIES
from model.rotary import Llama3Scaling

VALID: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
}
REQUIRED = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
SIZES = (*REQUIRED[1:], "num_key_value_heads", "head_dim")
LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def read(**changes: object) -> ModelConfig:
    return ModelConfig.from_dict(VALID | changes)


@st.composite
def scalings(draw: st.DrawFn) -> Llama3Scaling:
    low = draw(st.floats(0.1, 10.0))
    return Llama3Scaling(
        factor=draw(st.floats(1.0, 64.0)),
        low_freq_factor=low,
        high_freq_factor=low + draw(st.floats(0.1, 10.0)),
        original_max_position_embeddings=draw(st.integers(1, 1 << 20)),
    )


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    sizes = st.integers(1, 5000)
    kv_heads = draw(st.integers(1, 40))
    vocab_size = draw(sizes)
    ids = st.integers(0, vocab_size - 1)
    positive = st.floats(0.0, exclude_min=True, allow_infinity=False)
    model_type = draw(st.sampled_from(sorted(FAMILIES)))
    bias = FAMILIES[model_type].attention_bias
    return ModelConfig(
        model_type=model_type,
        attention_bias=draw(st.booleans()) if bias is None else bias,
        rope_scaling=draw(st.none() | scalings()),
        vocab_size=vocab_size,
        hidden_size=draw(sizes),
        intermediate_size=draw(sizes),
        num_hidden_layers=draw(sizes),
        num_attention_heads=kv_heads * draw(st.integers(1, 8)),
        num_key_value_heads=kv_heads,
        head_dim=2 * draw(st.integers(1, 100)),
        max_position_embeddings=draw(st.integers(1, 1 << 20)),
        rope_theta=draw(positive),
        rms_norm_eps=draw(positive),
        tie_word_embeddings=draw(st.booleans()),
        bos_token_id=draw(st.none() | ids),
        eos_token_ids=tuple(draw(st.lists(ids, max_size=4))),
    )


@given(config=configs(), dtype=st.sampled_from(["float32", "bfloat16"]))
def test_what_is_written_reads_back_as_it_was(config: ModelConfig, dtype: str) -> None:
    written = json.loads(json.dumps(config.to_dict(dtype=dtype)))
    assert ModelConfig.from_dict(written) == config
    assert written["dtype"] == written["torch_dtype"] == dtype


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "gemma2"),
        ("model_type", "mixtral"),
        ("model_type", ["llama"]),
        ("architectures", ["LlamaForSequenceClassification"]),
        ("architectures", "LlamaForCausalLM"),
        ("hidden_act", "gelu"),
        ("hidden_act", None),
        ("mlp_bias", True),
        ("rope_scaling", LLAMA3_SCALING | {"beta_fast": 32}),
        ("rope_scaling", {"type": "linear", "rope_type": "llama3"}),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_scaling", {"type": "dynamic", "factor": 2.0}),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("rope_scaling", {"rope_type": "default", "factor": 4.0}),
        ("rope_parameters", LLAMA3_SCALING | {"partial_rotary_factor": 0.25}),
        ("rope_parameters", {"rope_type": "default", "partial_rotary_factor": 0.5}),
        ("rope_parameters", {"full_attention": {"rope_type": "default"}}),
        ("sliding_window", 63),
        ("sliding_window", True),
        ("use_sliding_window", True),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("layer_types", "full_attention"),
        ("partial_rotary_factor", 0.5),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
        ("final_logit_softcapping", 30.0),
        ("attn_logit_softcapping", 50.0),
        ("logits_scaling", 8.0),
        ("embedding_multiplier", 12.0),
        ("rope_interleaved", True),
        ("no_rope_layers", [1, 1, 1, 0]),
        ("use_qk_norm", True),
        ("num_local_experts", 8),
        ("is_causal", False),
        ("auto_map", {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}),
    ],
    ids=str,
)
def test_what_would_change_the_numbers_is_refused_by_key_and_value(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**{key: value})
    message = str(caught.value)
    assert f"{key}={value!r}" in message
    assert "is not supported" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "harmless",
    [
        {"rope_scaling": None},
        {"rope_scaling": {"rope_type": "default"}},
        {"rope_scaling": {"type": "default"}},
        {"rope_parameters": None},
        {"rope_parameters": {"rope_type": "default"}},
        {"rope_parameters": {"rope_theta": 10000.0}},
        {"attention_bias": None, "mlp_bias": False, "sliding_window": None},
        {"architectures": None},
        {"architectures": []},
        {"partial_rotary_factor": 1.0, "hidden_act": "swish"},
        {"sliding_window": 64},
        {"sliding_window": 8, "use_sliding_window": False, "max_window_layers": 1},
        {"layer_types": ["full_attention", "full_attention"]},
        {"is_llama_config": True, "rope_interleaved": False},
        {"attention_dropout": 0.1, "initializer_range": 0.02, "pretraining_tp": 1},
        {"use_cache": False, "transformers_version": "4.31.0", "pad_token_id": -1},
    ],
    ids=str,
)
def test_what_changes_no_number_is_accepted(harmless: dict[str, object]) -> None:
    assert read(**harmless) == read()


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("gone", ["absent", "null"])
def test_a_missing_key_is_named(key: str, gone: str) -> None:
    values = {name: value for name, value in VALID.items() if name != key}
    if gone == "null":
        values[key] = None
    with pytest.raises(ConfigError, match=f"config key {key} is missing"):
        ModelConfig.from_dict(values)


def test_defaults_are_those_of_transformers() -> None:
    values = {key: VALID[key] for key in REQUIRED}
    config = ModelConfig.from_dict(values)
    assert config.num_key_value_heads == config.num_attention_heads == 4
    assert config.head_dim == 8
    assert config.rms_norm_eps == 1e-6
    assert config.rope_theta == 10000.0
    assert not config.tie_word_embeddings


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", ["64", 64.0, True, [64], {}], ids=repr)
def test_a_size_of_another_type_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"config key {key} must be an integer, got "):
        read(**{key: value})


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", [0, -1, -(10**30)])
def test_a_size_below_one_is_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"^{key} must be at least 1, got {value}$"):
        read(**{key: value, "head_dim": value if key == "head_dim" else 8})


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta"])
@pytest.mark.parametrize("value", [0, -1e-5, math.nan, math.inf, "1e-5", True, None, 10**400])
def test_a_number_that_is_not_finite_and_positive_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        read(**{key: value})


@pytest.mark.parametrize("value", ["true", 1, None])
def test_a_tied_output_is_true_or_false(value: object) -> None:
    with pytest.raises(ConfigError, match="tie_word_embeddings must be true or false"):
        read(tie_word_embeddings=value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_key_value_heads": 3}, r"must divide num_attention_heads \(4\), got 3"),
        ({"num_key_value_heads": 8}, r"must divide num_attention_heads \(4\), got 8"),
        ({"hidden_size": 30}, r"must divide hidden_size \(30\), got 4"),
        ({"hidden_size": 12}, "head_dim must be even, got 3"),
        ({"head_dim": 7}, "head_dim must be even, got 7"),
        ({"bos_token_id": 100}, r"must lie in 0\.\.99 \(vocab_size 100\), got 100"),
        ({"bos_token_id": -1}, "got -1"),
        ({"eos_token_id": [2, 100]}, "got 100"),
        ({"bos_token_id": [1]}, "bos_token_id must be an integer"),
        ({"bos_token_id": "<s>"}, "bos_token_id must be an integer"),
        ({"eos_token_id": 2.0}, "eos_token_id must hold token ids, got 2.0"),
        ({"eos_token_id": [2, None]}, "eos_token_id must hold token ids"),
        ({"eos_token_id": True}, "eos_token_id must hold token ids"),
        (
            {"rope_theta": 10000.0, "rope_parameters": {"rope_theta": 500000.0}},
            "rope_theta=10000.0 contradicts",
        ),
        ({"rope_parameters": "default"}, "rope_parameters must be an object, got 'default'"),
        ({"rope_scaling": []}, r"rope_scaling must be an object, got \[\]"),
        ({"attention_bias": "no"}, "attention_bias must be true or false, got 'no'"),
        ({"rope_parameters": {"rope_theta": None}}, "rope_theta must be a number"),
        ({"max_position_embeddings": 1 + (1 << 20)}, "at most 1048576, got 1048577"),
    ],
    ids=str,
)
def test_a_contradiction_is_named_with_both_sides(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(**changes)
    assert "\n" not in str(caught.value)


def test_token_ids_are_read_in_every_spelling() -> None:
    assert read().eos_token_ids == ()
    assert read(eos_token_id=None, bos_token_id=None).bos_token_id is None
    assert read(eos_token_id=0).eos_token_ids == (0,)
    assert read(eos_token_id=[5, 0]).eos_token_ids == (5, 0)
    assert read(eos_token_id=[]).eos_token_ids == ()
    assert read(bos_token_id=0).bos_token_id == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
keys = st.sampled_from(
    [*ModelConfig.from_dict(VALID).to_dict(), "rope_parameters", "quantization_config"]
)


@given(changes=st.dictionaries(keys, json_values, max_size=4))
def test_whatever_a_file_says_is_a_configuration_or_one_line(changes: dict[str, object]) -> None:
    try:
        config = ModelConfig.from_dict(VALID | changes)
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
        assert ModelConfig.from_dict(config.to_dict()) == config
    assert "\n" not in message
