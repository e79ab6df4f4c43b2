"""What "0 derives it" and "auto" mean: sizes from the corpus, the time and the machine.

Two rules of thumb. Compute: training costs about 6 operations per parameter and token (Kaplan et
al. 2020), and a small budget is spent best on a model that sees a multiple of its parameters in
tokens. Data: a model with many more parameters than the text has tokens only memorises it.
"""

from collections.abc import Iterator
from dataclasses import replace

from training.config import ConfigurationError, TrainingConfig
from training.hardware import Hardware
from training.model_shape import model_config

__all__ = ["derive_settings", "expectations", "vocabulary_size"]

# Share of the matrix product's rate that a whole training step reaches, on small models; measured
# on two CPU cores (0.26, 0.66 M parameters) and on a GPU (0.31, 11.5 M).
_EFFICIENCY = 0.27
_FLOPS_PER_PARAMETER_AND_TOKEN = 6.0
# A guess below the 20 of Hoffmann et al. 2022, since a small text is read several times; the best
# value has not been measured.
_TOKENS_PER_PARAMETER = 2.4
_PARAMETERS_PER_TRAIN_TOKEN = 12.0
_MAX_DEPTH = 12
# 1.3 M tokens of Shakespeare, read once, leave 2.33 bits per byte in 160 updates of 8,192 tokens,
# 2.22 in 320, 2.18 in 640 and 2.14 in 1,280, which take 7 % longer than 640 (two CPU cores).
_UPDATES_PER_RUN = 2400.0
_CPU_MICRO_BATCH_TOKENS = 8_192
_GPU_MICRO_BATCH_TOKENS = 65_536
_CPU_EVALUATION_TOKENS = 32_768
_GPU_EVALUATION_TOKENS = 262_144


def vocabulary_size(config: TrainingConfig) -> int | None:
    """Size to train the tokenizer with; None where the text is to decide it."""
    return config.tokenizer.vocabulary_size or None


def derive_settings(
    config: TrainingConfig,
    *,
    hardware: Hardware,
    minutes: float,
    num_train_tokens: int,
    vocab_size: int,
    end_of_text_id: int,
    num_processes: int,
    fixed_parameters: int | None,
) -> TrainingConfig:
    """Fill in every setting that is left at 0.

    Args:
        config: As the user gave it.
        hardware: Gives the number of operations that the time allows.
        minutes: Time limit, 0 where steps or epochs count.
        num_train_tokens: Tokens of the training side.
        vocab_size: Of the tokenizer.
        end_of_text_id: Of the tokenizer.
        num_processes: That share a batch.
        fixed_parameters: Parameters of the model to start from; None for a fresh one.

    Raises:
        ConfigurationError: A set number does not fit another.
    """
    flops = _affordable_flops(hardware, minutes or 10.0, num_processes)
    depth = config.model.depth
    sizes = {
        candidate: model_config(
            config.model, depth=candidate, vocab_size=vocab_size, end_of_text_id=end_of_text_id
        ).num_parameters
        for candidate in range(2, _MAX_DEPTH + 1)
    }
    if depth == 0:
        fitting = [
            candidate
            for candidate, size in sizes.items()
            if flops / (_FLOPS_PER_PARAMETER_AND_TOKEN * size) >= _TOKENS_PER_PARAMETER * size
            and size <= _PARAMETERS_PER_TRAIN_TOKEN * num_train_tokens
        ]
        depth = max(fitting, default=2)
    num_parameters = (
        fixed_parameters
        or model_config(
            config.model, depth=depth, vocab_size=vocab_size, end_of_text_id=end_of_text_id
        ).num_parameters
    )
    context = config.model.context_length
    is_gpu = hardware.is_gpu
    batch_tokens = config.schedule.batch_tokens
    if batch_tokens == 0:
        run_tokens = flops / (_FLOPS_PER_PARAMETER_AND_TOKEN * num_parameters)
        low, high = (16_384, 131_072) if is_gpu else (1_024, 16_384)
        batch_tokens = int(min(max(run_tokens / _UPDATES_PER_RUN, low), high))
    unit = context * num_processes
    batch_size = max(1, round(batch_tokens / unit))
    if config.schedule.batch_tokens and config.schedule.batch_tokens < unit:
        raise ConfigurationError(
            f"schedule.batch_tokens must be at least model.context_length x processes "
            f"({unit}), got {config.schedule.batch_tokens}"
        )
    micro = config.schedule.micro_batch_tokens or (
        _GPU_MICRO_BATCH_TOKENS if is_gpu else _CPU_MICRO_BATCH_TOKENS
    )
    return replace(
        config,
        model=replace(config.model, depth=depth),
        schedule=replace(
            config.schedule,
            batch_tokens=batch_size * unit,
            micro_batch_tokens=max(context, min(micro, batch_size * context)),
            evaluation_tokens=config.schedule.evaluation_tokens
            or (_GPU_EVALUATION_TOKENS if is_gpu else _CPU_EVALUATION_TOKENS),
        ),
    )


def expectations(
    *,
    hardware: Hardware,
    minutes: float,
    num_processes: int,
    num_parameters: int,
    num_train_tokens: int,
    train_bytes: int,
    has_parent: bool,
) -> Iterator[str]:
    """Tell the user, in plain lines, what this run can and cannot give."""
    size = f"{train_bytes / 1000:,.0f} kB"
    yield f"{num_parameters:,} parameters, {num_train_tokens:,} training tokens ({size})"
    if train_bytes < 400_000 and not has_parent:
        yield (
            f"{size} is little text: it will memorise phrases and learn little grammar; for "
            "English, start from the bundled model (--init-from bundled)"
        )
    if not minutes:
        return
    tokens = _affordable_flops(hardware, minutes, num_processes) / (
        _FLOPS_PER_PARAMETER_AND_TOKEN * num_parameters
    )
    epochs = tokens / num_train_tokens
    yield (
        f"the time ({minutes:g} min) allows about {tokens:,.0f} tokens, {epochs:.1f} passes over "
        "the text"
    )
    if epochs > 12 and train_bytes >= 400_000:
        yield "so many passes begin to memorise; early stopping keeps the best on held-out text"
    elif epochs < 0.5:
        yield "the text cannot be read once in that time; more minutes will help"


def _affordable_flops(hardware: Hardware, minutes: float, num_processes: int) -> float:
    return hardware.flops_per_second * _EFFICIENCY * 60.0 * minutes * num_processes
