"""What a training run can say about itself: one frozen dataclass for each kind of line in
run/log.jsonl.

A line's facts are checked against these declarations when they are written and again when they are
read, so the report never meets a half-filled event. Unknown extra facts are kept in the file and
ignored here. Losses are in nats per token and may be NaN; `elapsed_seconds` counts every session
of the run, not only the current one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from training.run_log.facts import JsonValue


@dataclass(frozen=True, slots=True)
class Start:
    """A session began: who trains what, how and where."""

    command: str
    name: str
    parameters: int | None
    model_config: Mapping[str, JsonValue]
    settings: Mapping[str, JsonValue]
    device: str | None
    dtype: str | None
    torch_version: str | None
    num_threads: int | None
    is_compiled: bool | None
    parent: JsonValue


@dataclass(frozen=True, slots=True)
class CorpusRead:
    """The texts were read, cleaned and split."""

    description: str
    documents: int
    bytes: int
    train_bytes: int | None
    held_out_bytes: int | None
    removed_bytes: Mapping[str, int]
    sha256: str | None
    train_tokens: int | None
    held_out_tokens: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenizerTrained:
    """The tokenizer is there; `examples` pairs a text with the strings of its tokens."""

    tokenizer_kind: str
    vocab_size: int
    bytes_per_token: float | None
    examples: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class NgramTrained:
    """The n-gram model is there and was measured on the held-out text: the line to beat."""

    order: int
    bits_per_byte: float
    nats_per_token: float
    perplexity: float | None
    size_bytes: int | None
    seconds: float | None
    contexts: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """An optimizer step ended.

    Attributes:
        num_steps: planned steps; 0 while a run by minutes still measures its rate.
        loss: of this step alone, or the mean since the step logged before.
        tokens: all training tokens so far.
    """

    step: int
    num_steps: int
    loss: float
    learning_rate: float
    gradient_norm: float | None
    tokens: int
    tokens_per_second: float
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The held-out text was measured after `step` steps."""

    step: int
    loss: float
    bits_per_byte: float
    perplexity: float | None
    train_loss: float | None
    elapsed_seconds: float | None
    is_best: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """The model wrote `text` after `prompt`."""

    step: int
    prompt: str
    text: str
    temperature: float | None
    top_k: int | None
    seed: int | None


@dataclass(frozen=True, slots=True)
class Surprise:
    """How many bits each token of one fixed sentence cost the model after `step` steps."""

    step: int
    text: str
    tokens: tuple[str, ...]
    bits: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Resume:
    """The run goes on from the checkpoint of `step`: what was logged after it no longer counts."""

    step: int


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the reader of the report."""

    text: str


@dataclass(frozen=True, slots=True)
class LogGap:
    """The log could not be written for a while: `events` lines are missing here."""

    events: int


@dataclass(frozen=True, slots=True)
class End:
    """A session ended in an orderly way. The best figures are None where nothing was evaluated."""

    reason: str
    steps: int
    best_step: int | None
    best_loss: float | None
    best_bits_per_byte: float | None
    elapsed_seconds: float | None
    tokens: int | None
    tokens_per_second: float | None


Event = (
    Start
    | CorpusRead
    | TokenizerTrained
    | NgramTrained
    | Step
    | Evaluation
    | Sample
    | Surprise
    | Resume
    | Note
    | LogGap
    | End
)
