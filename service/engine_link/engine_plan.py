"""What one engine is given: its context, its share of the cache memory, its queue. Torch-free.

A context that does not fit the cache could never be served, so it is lowered, or refused where it
was asked for by name.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from model.safetensors_header import read_header
from service.engine.messages import Load
from service.machine_limits import memory_text, uses_cpu_kernels
from service.models.model_store import ModelFolder, StoreError
from service.settings import Settings

__all__ = ["EnginePlan", "plan_engine"]

# Its number type is the one that "auto" keeps.
EMBEDDING = "model.embed_tokens.weight"
# Of an engine process before it has a model: mostly torch.
ENGINE_BYTES = 256 << 20
# Blocks of the cache are at most so long, so whole blocks of any length fit such a multiple.
CACHE_MULTIPLE_TOKENS = 64
# The cache of an n-gram model holds the tokens themselves.
NGRAM_CACHE_BYTES_PER_TOKEN = 8
# Its tables are mapped; beside them lie where contexts begin and what their counts add up to.
NGRAM_BYTES_PER_NGRAM = 8
# A number, and its share of what scales a group of them; an embedding of its own stays in bf16.
INT8_BYTES_PER_WEIGHT = 1.07


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """How one model's engine runs.

    Attributes:
        load: The message that starts it.
        context_tokens: Longest text.
        kv_cache_tokens: Tokens that the cache holds for all its requests.
        needed_bytes: Memory of the whole process, as far as it can be told before.
        max_requests: Requests that may run or wait.
        max_tokens: Tokens that these may take.
        note: What the operator should know, None where there is nothing.
        ngram: The same of the n-gram model in the process, None where there is none.
    """

    load: Load
    context_tokens: int
    kv_cache_tokens: int
    needed_bytes: int
    max_requests: int
    max_tokens: int
    note: str | None
    ngram: "EnginePlan | None" = None


def plan_engine(folder: ModelFolder, settings: Settings, *, kv_cache_bytes: int) -> EnginePlan:
    """Work out how to run an engine.

    Args:
        kv_cache_bytes: This model's share of --kv-cache-memory.

    Raises:
        StoreError: The context that was asked for does not fit the share.
    """
    config = folder.artifact.config
    bytes_per_weight, bytes_per_number = _element_bytes(folder, settings)
    bytes_per_token = 2 * bytes_per_number * config.num_hidden_layers
    bytes_per_token *= config.num_key_value_heads * config.head_dim
    own = config.max_position_embeddings
    context = min(own, settings.max_context or own)
    room = kv_cache_bytes // bytes_per_token // CACHE_MULTIPLE_TOKENS * CACHE_MULTIPLE_TOKENS
    note = None
    if room < context:
        share = f"its share of --kv-cache-memory, {memory_text(kv_cache_bytes)}"
        if room == 0 or settings.max_context:
            raise StoreError(
                f"{folder.name}: {share}, holds {room} tokens, fewer than a context of "
                f"{context}; one token takes {memory_text(bytes_per_token)}"
            )
        note = f"the context is lowered from {own} to {room} tokens, what {share}, holds"
        context = room
    whole = -(-context // CACHE_MULTIPLE_TOKENS) * CACHE_MULTIPLE_TOKENS
    kv_cache_tokens = min(room, settings.max_running * whole)
    weights_bytes = int(config.num_parameters * bytes_per_weight)
    if settings.dtype == "int8" and not config.tie_word_embeddings:
        embedding = config.vocab_size * config.hidden_size
        weights_bytes += int(embedding * (2 - INT8_BYTES_PER_WEIGHT))
    # So little memory that every request may have its whole context.
    ngram_cache_tokens = settings.max_running * whole
    plan = EnginePlan(
        load=Load(
            directory=str(folder.artifact.directory.resolve()),
            device=settings.device,
            dtype=settings.dtype,
            num_threads=settings.threads,
            max_running=settings.max_running,
            max_context_tokens=context,
            kv_cache_tokens=kv_cache_tokens,
            deterministic=settings.deterministic,
            executor=settings.executor,
            ngram_cache_tokens=None if folder.ngram is None else ngram_cache_tokens,
        ),
        context_tokens=context,
        kv_cache_tokens=kv_cache_tokens,
        needed_bytes=ENGINE_BYTES + weights_bytes + kv_cache_tokens * bytes_per_token,
        max_requests=settings.max_running + settings.max_queued,
        max_tokens=kv_cache_tokens + max(settings.max_queued_tokens, context + 1),
        note=note,
    )
    if folder.ngram is None:
        return plan
    ngram = replace(
        plan,
        kv_cache_tokens=ngram_cache_tokens,
        needed_bytes=folder.ngram.num_ngrams * NGRAM_BYTES_PER_NGRAM
        + ngram_cache_tokens * NGRAM_CACHE_BYTES_PER_TOKEN,
        max_tokens=ngram_cache_tokens + max(settings.max_queued_tokens, context + 1),
    )
    return replace(plan, needed_bytes=plan.needed_bytes + ngram.needed_bytes, ngram=ngram)


def _element_bytes(folder: ModelFolder, settings: Settings) -> tuple[float, int]:
    """Bytes of a weight and of a number in the cache; where that is not certain, the larger."""
    match settings.dtype:
        case "f32":
            return 4, 4
        case "bf16":
            return 2, 2
        case "int8":
            return INT8_BYTES_PER_WEIGHT, 2
        case _ if uses_cpu_kernels(settings.device, settings.executor):
            # They have no f16: what is stored in it is widened.
            size = 2 if _is_stored_in_bf16(folder) else 4
            return size, size
        case _:
            parameters = folder.artifact.config.num_parameters
            is_small = folder.artifact.size_bytes < 3 * parameters
            size = 2 if is_small and _computes_bf16(settings) else 4
            return size, size


def _computes_bf16(settings: Settings) -> bool:
    """Whether the engine keeps bf16 as it is; it decides by the same facts."""
    if settings.device == "cuda":
        return True
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(word in flags.read_text() for word in (" avx512_bf16", " bf16"))


def _is_stored_in_bf16(folder: ModelFolder) -> bool:
    headers = (read_header(file) for file in folder.artifact.weight_files)
    entries = (header.tensors.get(EMBEDDING) for header in headers)
    return any(entry is not None and entry.dtype == "BF16" for entry in entries)
