"""`--check`: can the models be served here? Tried out, with what they take; no port is used."""

import os
from collections.abc import Awaitable, Callable

from service.machine_limits import memory_text
from service.memory_use import resident_bytes
from service.models.model_loader import Refusal, VersionRefusedError
from service.models.served_model import ServedModel
from service.models.served_models import ServedModels
from service.models.served_version import ServedVersion

__all__ = ["check_models"]

NUM_TOKENS = 8


async def check_models(models: ServedModels, start: Callable[[], Awaitable[None]]) -> str:
    """Load and verify all models, let each make some tokens, and say what they take.

    Raises:
        StoreError: There is nothing to serve.
        VersionRefusedError: A model cannot be served, or made other than the tokens asked for.
    """
    await start()
    lines = [line for version in models.engines for line in await _check(version)]
    refused = [
        f"{version.folder.name}@{each.version} is refused: {each.reason}"
        for version in models.versions
        for each in models.refused(version.folder.name)
    ]
    if refused:
        raise VersionRefusedError(Refusal.DAMAGED, "; ".join(refused))
    front = memory_text(resident_bytes(os.getpid()) or 0)
    return "\n".join([*lines, f"front process: {front} of memory"])


async def _check(version: ServedVersion) -> list[str]:
    loaded = version.model.loaded
    assert loaded is not None
    process_id = version.supervisor.process_id
    taken = None if process_id is None else resident_bytes(process_id)
    lines = [
        await _try_out(version.model),
        f"  executor  {loaded.executor} on {loaded.device}",
        f"  dtype     {loaded.dtype}",
        f"  memory    {memory_text(taken or loaded.resident_bytes)}, "
        f"{memory_text(loaded.kv_cache_bytes)} of it for the key-value cache when full",
        f"  KV tokens {loaded.num_blocks * loaded.kv_block_tokens}",
        f"  context   {version.model.context_tokens}",
        f"  loaded in {loaded.load_seconds:.1f} s",
    ]
    if version.ngram is not None:
        lines += [
            await _try_out(version.ngram),
            f"  n-grams   {version.ngram.num_parameters}, in the same process",
        ]
    return lines


async def _try_out(model: ServedModel) -> str:
    token_ids = await model.try_out(NUM_TOKENS)
    text = b"".join(map(model.folder.token_bytes.__getitem__, token_ids)).decode("utf-8", "replace")
    return f"{model.label}: verified, made {len(token_ids)} tokens: {text!a}"
