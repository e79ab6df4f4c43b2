"""Every setting of a training run, declared once: name, type, default, help text and range.

The command line's help, the preset files and the checks are all made from these declarations.
Frozen, complete and checked before anything is built. A value of 0 or "auto" means that the job
derives it from the corpus or the machine; what it derived is announced and recorded.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from training.corpus.settings import CorpusSettings
from training.run_settings import RunSettings, ScheduleSettings
from training.settings_checks import ConfigurationError, check_choice, check_range

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
        check_choice("tokenizer", self, "kind", get_args(TokenizerKind))
        check_range("tokenizer", self, "vocabulary_size", 0, 1 << 20)


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
        check_range("ngram", self, "order", 0, 5)
        check_range("ngram", self, "max_megabytes", 0.01, 1e6)


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
        default=0,
        metadata={
            "help": "Tokens that the model sees at once, and at most serves; 0 is 256, or fewer "
            "where --init-from gives a model that sees fewer."
        },
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
        check_range("model", self, "depth", 0, 128)
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
        ):
            check_range("model", self, name, 0, 1 << 16)
        if self.context_length:
            check_range("model", self, "context_length", 8, 1 << 17)
        check_range("model", self, "rope_theta", 1.0, 1e9)
        check_range("model", self, "dropout", 0.0, 0.9)


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
        check_choice("optimizer", self, "name", get_args(OptimizerName))
        for name in ("learning_rate", "adam_learning_rate", "weight_decay", "gradient_clip"):
            check_range("optimizer", self, name, 0.0, 1e3)
        for name in ("momentum", "beta1", "beta2"):
            check_range("optimizer", self, name, 0.0, 0.99999)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """A complete description of a run; with the corpus it determines the result on a CPU."""

    corpus: CorpusSettings
    tokenizer: TokenizerSettings = TokenizerSettings()
    ngram: NgramSettings = NgramSettings()
    model: ModelSettings = ModelSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    run: RunSettings = field(default_factory=RunSettings)
