"""What the front and an engine process say to each other.

Torch-free, and tokens only: no text crosses this border. `frames.py` turns messages into bytes.
"""

import enum

import msgspec

from service.engine.load_messages import Load, Loaded, LoadFailed, ModelKind
from service.engine.trace_messages import Inspection, TokenTrace

__all__ = [
    "Cancel",
    "EngineFinish",
    "Heartbeat",
    "Load",
    "LoadFailed",
    "Loaded",
    "ModelKind",
    "Pause",
    "Phase",
    "Resume",
    "Shutdown",
    "StepCounters",
    "StepOutput",
    "Submit",
    "TokenLogprob",
    "TokenOutput",
]


class EngineFinish(enum.StrEnum):
    """Why the engine ended a request."""

    END_OF_TEXT = "end_of_text"
    STOP = "stop"
    LENGTH = "length"
    DEADLINE = "deadline"
    NUMERICAL_ERROR = "numerical_error"
    INTERNAL_ERROR = "internal_error"


class Phase(enum.StrEnum):
    """What an engine process is doing; the front judges its silence by it.

    STALLED is a fault: requests wait, and for seconds no step has computed anything.
    """

    IDLE = "idle"
    STEPPING = "stepping"
    STALLED = "stalled"


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One request. The names are those of the proto's SamplingParameters.

    Attributes:
        request_id: The front's own number, never used twice.
        prompt_ids: At least one.
        max_tokens: 0 ends the request, with LENGTH, when its prompt is computed.
        end_token_ids: Tokens that end the text by the model's own will; empty with ignore_eos.
        logit_bias: Pairs of token id and what is added to its logit.
        num_choices: Continuations of the prompt, numbered from 0; they share its blocks.
        logprobs: How many of the likeliest tokens to report beside each chosen one, from 0 to 20;
            None reports nothing.
        prompt_logprobs: Whether to report the same for the prompt's tokens. Such a request computes
            its whole prompt: it takes no blocks that others have filled.
        following_id: A token that stands after the prompt and is reported as one of it. It is not
            computed, so a prompt may be as long as the context and still be scored to its end.
        timeout_seconds: From the moment the engine hears of the request; it then ends with
            DEADLINE. None is without end.
        inspect: Whether to tell how tokens were chosen; tokens of the prompt are inspected by a
            request of one choice with max_tokens 0. None tells nothing.
        salt: Blocks are shared between requests of equal salt only.
        kind: Which model of the process is asked.
    """

    request_id: int
    prompt_ids: list[int]
    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    end_token_ids: tuple[int, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    num_choices: int = 1
    logprobs: int | None = None
    prompt_logprobs: bool = False
    following_id: int | None = None
    timeout_seconds: float | None = None
    inspect: Inspection | None = None
    salt: bytes = b""
    kind: ModelKind = ModelKind.TRANSFORMER


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """A request, or one choice of it, is no longer wanted; one that is unknown or over is no error.

    Attributes:
        choice: None is all of them.
    """

    request_id: int
    choice: int | None = None


class Pause(msgspec.Struct, frozen=True, tag=True):
    """The reader of a request fell behind: compute nothing for it, keep what it has."""

    request_id: int


class Resume(msgspec.Struct, frozen=True, tag=True):
    """The reader of a paused request has caught up."""

    request_id: int


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Leave now."""


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """How likely a token was before any penalty, bias, temperature or cut.

    Attributes:
        logprob: Logarithm of its probability; finite, -9999.0 at least.
        rank: 1 for the likeliest token.
        top: The likeliest tokens and their logarithms, likeliest first, the lower id on a tie.
    """

    logprob: float
    rank: int
    top: list[tuple[int, float]]


class TokenOutput(msgspec.Struct, frozen=True, array_like=True):
    """What one step gave one choice of a request: tokens to deliver, and its end when it ended.

    Attributes:
        logprobs: One for each of ``token_ids``, when the request asked for them.
        prompt_logprobs: One for each token of the prompt and the one that follows it, None for the
            first; sent once for a request, by choice 0, with its first token or its end.
        traces: When the request inspects what it makes, one for each of ``token_ids``, and one more
            for the token that ended the text.
        prompt_traces: Of tokens of the prompt that follow those of the last output, when the
            request inspects them.
    """

    request_id: int
    choice: int
    token_ids: list[int]
    finish: EngineFinish | None = None
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob | None] | None = None
    traces: list[TokenTrace] | None = None
    prompt_traces: list[TokenTrace] | None = None


class StepCounters(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What happened since the engine was started.

    Attributes:
        num_reused_tokens: Tokens taken from blocks that were already filled.
        num_computed_prompt_tokens: Tokens of prompts that were computed; after a pre-emption all
            tokens of the sequence count as its prompt's.
        num_preemptions: Sequences put back into the queue because others needed their blocks.
        num_chunked_prompts: Prompts computed in more than one piece.
        num_mixed_steps: Steps that computed pieces of prompts beside running sequences.
    """

    num_reused_tokens: int = 0
    num_computed_prompt_tokens: int = 0
    num_preemptions: int = 0
    num_chunked_prompts: int = 0
    num_mixed_steps: int = 0


class StepOutput(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One step for the whole batch.

    Attributes:
        step: Number of steps since the start.
        started_ids: Requests that entered the batch for the first time in this step.
        num_running: Sequences in the batch.
        num_waiting: Sequences in the queue.
        num_tokens: Tokens computed, prompts included.
        seconds: What the step took.
        num_free_blocks: Blocks that a new sequence can take, those kept for reuse included.
        counters: Since the start.
        kind: Whose step; each model of the process counts its own.
    """

    step: int
    outputs: list[TokenOutput]
    started_ids: list[int]
    num_running: int
    num_waiting: int
    num_tokens: int
    seconds: float
    num_free_blocks: int
    num_blocks: int
    counters: StepCounters
    kind: ModelKind = ModelKind.TRANSFORMER


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Sent a few times a second by a thread of its own: the process lives, and where it is.

    There is one for each model of the process; the phase is the process's.
    """

    step: int
    phase: Phase
    num_running: int
    num_waiting: int
    num_free_blocks: int
    num_blocks: int
    counters: StepCounters
    kind: ModelKind = ModelKind.TRANSFORMER
