"""How an engine process is started: what the front asks it to load, and what it says it has.

Torch-free. `messages` hands these on, as the door through which the front sees the engine.
"""

import enum

import msgspec

__all__ = ["Load", "LoadFailed", "Loaded", "ModelKind"]


class ModelKind(enum.StrEnum):
    """The models of one version, each with an engine of its own in the version's process."""

    TRANSFORMER = "transformer"
    NGRAM = "ngram"


class Load(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """First message to an engine: which model, and how.

    Attributes:
        directory: Artifact folder, absolute.
        device: A torch device, or "auto".
        dtype: "auto", "f32", "bf16" or "int8".
        num_threads: Compute threads.
        max_running: Sequences computed at once; each choice of a request is one.
        max_context_tokens: Context to offer at most; None is the model's own.
        kv_cache_tokens: Tokens that the key-value cache holds, rounded down to whole blocks; None
            is the whole context of every running sequence.
        deterministic: Whether a request's tokens must not depend on its neighbours, bit by bit;
            None is yes where that costs little and holds.
        executor: What computes the logits: "auto", "eager", "cpu-kernels" or "cuda-graphs".
        in_background: Whether to load at low priority, beside an engine that serves.
        ngram_cache_tokens: Tokens that the requests of the folder's n-gram model may hold; None
            does not serve that model.
    """

    directory: str
    device: str
    dtype: str
    num_threads: int
    max_running: int
    max_context_tokens: int | None
    kv_cache_tokens: int | None = None
    deterministic: bool | None = None
    executor: str = "auto"
    in_background: bool = False
    ngram_cache_tokens: int | None = None


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model is in memory and has computed a first token.

    Attributes:
        context_tokens: Longest sequence that is accepted; it fits the key-value cache.
        load_seconds: From the start of the process.
        kv_block_tokens: Tokens of one block of the key-value cache.
        num_blocks: Blocks of the cache.
        executor: What computes the logits.
        deterministic: Whether a request's tokens do not depend on its neighbours.
        resident_bytes: Memory of the process that is not swapped out, after the first token.
        kind: Which model.
        sibling: The n-gram model of the same version, loaded beside it.
    """

    context_tokens: int
    num_parameters: int
    device: str
    dtype: str
    kv_cache_bytes: int
    load_seconds: float
    kv_block_tokens: int
    num_blocks: int
    executor: str
    deterministic: bool
    resident_bytes: int
    kind: ModelKind = ModelKind.TRANSFORMER
    sibling: "Loaded | None" = None


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be served; the text is for the operator."""

    message: str
