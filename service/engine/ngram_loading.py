"""From a folder to the engine of its n-gram model, which has computed a first row."""

import time
from pathlib import Path

from model.ngram import NgramModel
from model.ngram_description import NgramError
from service.engine.eager_executor import DEFAULT_BLOCK_TOKENS
from service.engine.engine import Engine
from service.engine.executor import ChunkInput
from service.engine.inspection_pace import InspectionPace
from service.engine.loading import LoadError, resident_bytes
from service.engine.messages import Load, Loaded, ModelKind
from service.engine.ngram_executor import NgramExecutor

__all__ = ["build_ngram_engine"]


def build_ngram_engine(
    load: Load, *, context_tokens: int, inspection_pace: InspectionPace | None = None
) -> tuple[Engine, Loaded]:
    """Load the n-gram model of a version.

    Args:
        load: Says how much its cache holds.
        context_tokens: Longest text, as for the network beside it; the model itself looks only a
            few tokens back.
        inspection_pace: Of the network beside it.

    Raises:
        LoadError: There is none that can be served; the text is for the operator.
    """
    began = time.perf_counter()
    try:
        model = NgramModel.load(Path(load.directory))
    except (NgramError, OSError) as error:
        raise LoadError(str(error)) from error
    num_blocks = (load.ngram_cache_tokens or 0) // DEFAULT_BLOCK_TOKENS
    if num_blocks * DEFAULT_BLOCK_TOKENS < context_tokens:
        raise LoadError(
            f"ngram_cache_tokens must hold a context of {context_tokens} tokens in whole blocks "
            f"of {DEFAULT_BLOCK_TOKENS}; got {load.ngram_cache_tokens}"
        )
    executor = NgramExecutor(model, num_blocks=num_blocks)
    first = ChunkInput(token_ids=[model.tables.end_of_text_id], start=0, block_ids=[0])
    executor.compute([first])
    executor.clear_blocks([0])
    engine = Engine(
        executor,
        max_running=load.max_running,
        kind=ModelKind.NGRAM,
        inspection_pace=inspection_pace,
    )
    return engine, Loaded(
        context_tokens=context_tokens,
        num_parameters=model.num_ngrams,
        device="cpu",
        dtype="float64",
        kv_cache_bytes=executor.kv_cache_bytes,
        load_seconds=time.perf_counter() - began,
        kv_block_tokens=executor.block_tokens,
        num_blocks=executor.num_blocks,
        executor=executor.name,
        deterministic=executor.is_deterministic,
        resident_bytes=resident_bytes(),
        kind=ModelKind.NGRAM,
    )
