"""Settings of a run's length and of the machine: declared as in ``training.config``."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from training.settings_checks import ConfigurationError, check_choice, check_range

__all__ = ["RunSettings", "ScheduleSettings"]

Device = Literal["auto", "cpu", "cuda"]
DataType = Literal["auto", "f32", "bf16"]
ExportType = Literal["f32", "bf16"]
Switch = Literal["auto", "on", "off"]


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
        for name in ("minutes", "epochs", "target_loss", "min_delta"):
            check_range("schedule", self, name, 0.0, 1e7)
        for name in ("steps", "patience"):
            check_range("schedule", self, name, 0, 1 << 40)
        for name in ("batch_tokens", "micro_batch_tokens", "warmup_steps", "evaluation_tokens"):
            check_range("schedule", self, name, 0, 1 << 30)
        for name in ("decay_fraction", "final_rate_fraction"):
            check_range("schedule", self, name, 0.0, 1.0)
        check_range("schedule", self, "evaluations", 1, 10_000)
        check_range("schedule", self, "seed", 0, (1 << 53) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The machine and what is shown and kept while it works."""

    device: Device = field(
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
        default=0, metadata={"help": "Port for Prometheus while training; 0 is off."}
    )
    metrics_host: str = field(
        default="127.0.0.1",
        metadata={"help": "Address that run.metrics_port listens on; 0.0.0.0 is every network."},
    )
    export_dtype: ExportType = field(
        default="f32", metadata={"help": "Type of the published weights: f32 or bf16."}
    )
    max_shard_megabytes: float = field(
        default=4000.0,
        metadata={"help": "Largest published weights file, in MB of 10^6 bytes, before sharding."},
    )

    def __post_init__(self) -> None:
        check_choice("run", self, "device", get_args(Device))
        check_choice("run", self, "dtype", get_args(DataType))
        check_choice("run", self, "compile", get_args(Switch))
        check_choice("run", self, "export_dtype", get_args(ExportType))
        check_range("run", self, "threads", 0, 4096)
        check_range("run", self, "checkpoint_minutes", 0.0, 1e7)
        check_range("run", self, "keep_checkpoints", 1, 1000)
        check_range("run", self, "sample_tokens", 0, 10_000)
        check_range("run", self, "final_samples", 0, 1000)
        check_range("run", self, "metrics_port", 0, 65535)
        if not self.metrics_host.strip():
            raise ConfigurationError("run.metrics_host must not be empty")
        check_range("run", self, "max_shard_megabytes", 0.1, 1e6)
