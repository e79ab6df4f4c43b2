"""Every setting of a training run, declared once: name, type, default, help text and range.

The command line's help, the preset files and the checks are all made from these declarations.
Frozen, complete and checked before anything is built. A value of 0 or "auto" means that the job
derives it from the corpus or the machine; what it derived is announced and recorded.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from training.corpus.settings import CorpusSettings

__all__ = [
    "ConfigurationError",
    "ModelSettings",
    "NgramSettings",
    "OptimizerSettings",
    "RunSettings",
    "ScheduleSettings",
    "TokenizerSettings",
    "TrainingConfig",
]

TokenizerKind = Literal["byte_bpe", "words", "characters", "bytes"]
OptimizerName = Literal["muon", "adamw"]
DataType = Literal["auto", "f32", "bf16"]
Switch = Literal["auto", "on", "off"]


class ConfigurationError(ValueError):
    """A setting is unknown, of the wrong type or out of its range; names it, limit and value."""


def _check_range(
    section: str, settings: object, name: str, low: float, high: float = float("inf")
) -> None:
    value = getattr(settings, name)
    # Written so that NaN fails.
    if not low <= value <= high:
        limit = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise ConfigurationError(f"{section}.{name} must be {limit}, got {value}")


def _check_choice(section: str, settings: object, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(settings, name)
    if value not in choices:
        raise ConfigurationError(
            f"{section}.{name} must be one of {', '.join(choices)}, got {value!r}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSettings:
    """How text becomes tokens."""

    kind: TokenizerKind = field(
        default="byte_bpe",
        metadata={
            "help": "byte_bpe (byte-level byte-pair encoding), words (whole words and "
            "punctuation), characters, or bytes."
        },
    )
    vocabulary_size: int = field(
        default=0,
        metadata={"help": "Tokens in the vocabulary; 0 derives it from the corpus's size."},
    )

    def __post_init__(self) -> None:
        _check_choice("tokenizer", self, "kind", get_args(TokenizerKind))
        _check_range("tokenizer", self, "vocabulary_size", 0, 1 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramSettings:
    """The n-gram model that is trained first: the line to beat."""

    order: int = field(
        default=5, metadata={"help": "Longest n-gram, 1 to 5 tokens; 0 trains no n-gram model."}
    )
    max_megabytes: float = field(
        default=8.0,
        metadata={"help": "Size on disk, in MB of 10^6 bytes, to which the n-grams are pruned."},
    )

    def __post_init__(self) -> None:
        _check_range("ngram", self, "order", 0, 5)
        _check_range("ngram", self, "max_megabytes", 0.01, 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The network's shape: depth derives all of it, every number can be set."""

    depth: int = field(
        default=0,
        metadata={
            "help": "Number of layers, the one dial: width 64 x depth, heads of 64 values, and a "
            "SwiGLU of 8/3 of the width follow from it. 0 derives it from the corpus and the time."
        },
    )
    hidden_size: int = field(
        default=0, metadata={"help": "Width of the residual stream; 0 derives it from depth."}
    )
    intermediate_size: int = field(
        default=0, metadata={"help": "Width of the SwiGLU layer; 0 derives it from the width."}
    )
    num_attention_heads: int = field(
        default=0, metadata={"help": "Query heads; 0 derives them from the width."}
    )
    num_key_value_heads: int = field(
        default=0,
        metadata={"help": "Key and value heads, a divisor of the query heads; 0 is as many."},
    )
    context_length: int = field(
        default=256, metadata={"help": "Tokens that the model sees at once, and at most serves."}
    )
    rope_theta: float = field(
        default=10000.0, metadata={"help": "Base of the rotary position frequencies."}
    )
    tie_word_embeddings: bool = field(
        default=True, metadata={"help": "Use the embedding as the output matrix too."}
    )
    dropout: float = field(
        default=0.0,
        metadata={"help": "Probability of dropping a value while training; helps small texts."},
    )

    def __post_init__(self) -> None:
        _check_range("model", self, "depth", 0, 128)
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
        ):
            _check_range("model", self, name, 0, 1 << 16)
        _check_range("model", self, "context_length", 8, 1 << 17)
        _check_range("model", self, "rope_theta", 1.0, 1e9)
        _check_range("model", self, "dropout", 0.0, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """How the weights follow the gradient."""

    name: OptimizerName = field(
        default="muon",
        metadata={
            "help": "muon (orthogonalised momentum for the matrices inside the blocks, AdamW for "
            "the rest) or adamw (for everything)."
        },
    )
    learning_rate: float = field(
        default=0.02, metadata={"help": "Peak rate of muon's matrices; not used by adamw."}
    )
    adam_learning_rate: float = field(
        default=0.003,
        metadata={"help": "Peak rate of what AdamW updates: embedding and norms, or everything."},
    )
    weight_decay: float = field(
        default=0.1, metadata={"help": "Decoupled decay of the matrices, times the rate."}
    )
    momentum: float = field(default=0.95, metadata={"help": "Muon's Nesterov momentum."})
    beta1: float = field(default=0.9, metadata={"help": "AdamW's first moment decay."})
    beta2: float = field(default=0.95, metadata={"help": "AdamW's second moment decay."})
    gradient_clip: float = field(
        default=1.0, metadata={"help": "Largest norm of all gradients together; 0 is off."}
    )

    def __post_init__(self) -> None:
        _check_choice("optimizer", self, "name", get_args(OptimizerName))
        for name in ("learning_rate", "adam_learning_rate", "weight_decay", "gradient_clip"):
            _check_range("optimizer", self, name, 0.0, 1e3)
        for name in ("momentum", "beta1", "beta2"):
            _check_range("optimizer", self, name, 0.0, 0.99999)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """How long to train, with what batches, and when to stop."""

    minutes: float = field(
        default=0.0,
        metadata={
            "help": "Length of the whole job: the rate is measured over the first steps, then the "
            "number of steps is fixed and recorded. 0 is off."
        },
    )
    epochs: float = field(
        default=0.0, metadata={"help": "Passes over the training text; 0 is off."}
    )
    steps: int = field(
        default=0,
        metadata={
            "help": "Number of updates; 0 is off. With several of minutes, epochs and steps the "
            "shortest counts; with none, 10 minutes."
        },
    )
    target_loss: float = field(
        default=0.0,
        metadata={"help": "Stop once the held-out loss (nats per token) is below this; 0 is off."},
    )
    patience: int = field(
        default=6,
        metadata={
            "help": "Evaluations in a row without a better held-out loss before stopping early; 0 "
            "is off."
        },
    )
    min_delta: float = field(
        default=0.0005,
        metadata={"help": "Improvement, in nats per token, that counts as better for patience."},
    )
    batch_tokens: int = field(
        default=0,
        metadata={"help": "Tokens per update; 0 derives them from the model and the device."},
    )
    micro_batch_tokens: int = field(
        default=0,
        metadata={
            "help": "Tokens computed at once; an update accumulates several if it has more. 0 "
            "derives them from the device."
        },
    )
    warmup_steps: int = field(
        default=40, metadata={"help": "Updates over which the rate rises from 0 to its peak."}
    )
    decay_fraction: float = field(
        default=0.7,
        metadata={"help": "Share of the run, at its end, over which the rate falls linearly."},
    )
    final_rate_fraction: float = field(
        default=0.02, metadata={"help": "Last rate, as a share of the peak."}
    )
    evaluations: int = field(
        default=20, metadata={"help": "Times the held-out loss is measured during the run."}
    )
    evaluation_tokens: int = field(
        default=0,
        metadata={
            "help": "Held-out tokens per evaluation during the run, spread evenly; 0 derives them "
            "from the device. The last evaluation always takes all of them."
        },
    )
    seed: int = field(
        default=1, metadata={"help": "Seed of weights, batches, dropout and samples."}
    )

    def __post_init__(self) -> None:
        for name in ("minutes", "epochs", "steps", "target_loss", "patience", "min_delta"):
            _check_range("schedule", self, name, 0)
        for name in ("batch_tokens", "micro_batch_tokens", "warmup_steps", "evaluation_tokens"):
            _check_range("schedule", self, name, 0, 1 << 30)
        for name in ("decay_fraction", "final_rate_fraction"):
            _check_range("schedule", self, name, 0.0, 1.0)
        _check_range("schedule", self, "evaluations", 1, 10_000)
        _check_range("schedule", self, "seed", 0, (1 << 53) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The machine and what is shown and kept while it works."""

    device: str = field(
        default="auto", metadata={"help": "auto (a CUDA device where there is one), cpu or cuda."}
    )
    dtype: DataType = field(
        default="auto",
        metadata={
            "help": "Type of the matrix products: f32, bf16, or auto, which takes bf16 where a "
            "short measurement on this machine finds it faster. Weights are kept in f32."
        },
    )
    compile: Switch = field(
        default="auto",
        metadata={
            "help": "Compile the step with torch.compile: on, off, or auto, which does where a "
            "compiler is at hand and the run is long enough to pay for it."
        },
    )
    threads: int = field(
        default=0, metadata={"help": "CPU threads of torch; 0 takes what the machine grants."}
    )
    checkpoint_minutes: float = field(
        default=5.0, metadata={"help": "Longest time between two checkpoints."}
    )
    keep_checkpoints: int = field(
        default=2, metadata={"help": "Newest checkpoints kept, besides the best."}
    )
    sample_prompt: str = field(
        default="",
        metadata={
            "help": "Text that the samples continue; empty takes the held-out text's first words."
        },
    )
    sample_tokens: int = field(
        default=80, metadata={"help": "Tokens of each sample shown while training; 0 is off."}
    )
    final_samples: int = field(
        default=10,
        metadata={"help": "Unselected samples of the published weights, for report and card."},
    )
    metrics_port: int = field(
        default=0, metadata={"help": "Port for Prometheus on 127.0.0.1 while training; 0 is off."}
    )
    export_dtype: DataType = field(
        default="f32", metadata={"help": "Type of the published weights: f32 or bf16."}
    )
    max_shard_megabytes: float = field(
        default=4000.0,
        metadata={"help": "Largest published weights file, in MB of 10^6 bytes, before sharding."},
    )

    def __post_init__(self) -> None:
        _check_choice("run", self, "device", ("auto", "cpu", "cuda"))
        _check_choice("run", self, "dtype", get_args(DataType))
        _check_choice("run", self, "compile", get_args(Switch))
        _check_choice("run", self, "export_dtype", ("f32", "bf16"))
        _check_range("run", self, "threads", 0, 4096)
        _check_range("run", self, "checkpoint_minutes", 0.0)
        _check_range("run", self, "keep_checkpoints", 1, 1000)
        _check_range("run", self, "sample_tokens", 0, 10_000)
        _check_range("run", self, "final_samples", 0, 1000)
        _check_range("run", self, "metrics_port", 0, 65535)
        _check_range("run", self, "max_shard_megabytes", 0.1, 1e6)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A complete description of a run; with the corpus it determines the result on a CPU."""

    corpus: CorpusSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    ngram: NgramSettings = NgramSettings()
    model: ModelSettings = ModelSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    run: RunSettings = RunSettings()
