"""A small real network in an engine, requests of all kinds, and what comes out."""

from collections.abc import Iterable

import torch

from model.config import ModelConfig
from model.transformer import Transformer
from service.engine.eager_executor import EagerExecutor
from service.engine.engine import Engine
from service.engine.inspection_pace import InspectionPace, Inspector
from service.engine.messages import EngineFinish, Submit, TokenLogprob, TokenOutput
from tests.service.packed_models import cpu_executor

CONTEXT = 320
VOCABULARY = 61
Key = tuple[int, int]


def new_model() -> Transformer:
    """A network with strong opinions."""
    config = ModelConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        max_position_embeddings=CONTEXT,
    )
    model = Transformer(config).eval().requires_grad_(False)
    model.initialize(torch.Generator().manual_seed(3))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(5)
    return model


def new_engine(
    model: Transformer,
    *,
    max_running: int = 4,
    num_blocks: int = 80,
    max_step_tokens: int = 100,
    is_eager: bool = False,
    inspection_pace: InspectionPace | None = None,
) -> Engine:
    """An engine over the compiled kernels, or over the reference executor."""
    executor = (
        EagerExecutor(model, num_blocks=num_blocks, deterministic=True)
        if is_eager
        else cpu_executor(model, num_blocks=num_blocks)
    )
    return Engine(
        executor,
        max_running=max_running,
        max_step_tokens=max_step_tokens,
        inspection_pace=inspection_pace,
    )


class EveryTurn(InspectionPace):
    """Lets inspections go on at every step; by the machine's times they wait after a slow one."""

    def has_turn(self, inspector: Inspector) -> bool:
        """Always."""
        return True


class Heard:
    """What came out for each choice of each request."""

    def __init__(self) -> None:
        self.tokens: dict[Key, list[int]] = {}
        self.logprobs: dict[Key, list[TokenLogprob]] = {}
        self.prompts: dict[Key, list[TokenLogprob | None]] = {}
        self.ends: dict[Key, EngineFinish] = {}

    def take(self, outputs: Iterable[TokenOutput]) -> None:
        for output in outputs:
            key = (output.request_id, output.choice)
            assert key not in self.ends, "something came after the end"
            self.tokens.setdefault(key, []).extend(output.token_ids)
            if output.logprobs is not None:
                assert len(output.logprobs) == len(output.token_ids)
                self.logprobs.setdefault(key, []).extend(output.logprobs)
            if output.prompt_logprobs is not None:
                assert key not in self.prompts
                self.prompts[key] = output.prompt_logprobs
            if output.finish is not None:
                self.ends[key] = output.finish


def run(engine: Engine, requests: Iterable[Submit]) -> Heard:
    """All that comes of some requests that arrive one per step."""
    arriving = list(requests)
    heard = Heard()
    while arriving or engine.has_work:
        if arriving:
            engine.submit(arriving.pop(0))
        heard.take(engine.step().outputs)
        engine.check_conservation()
    assert engine.is_empty
    return heard


def requests(temperature: float, *, sizes: Iterable[int] | None = None) -> list[Submit]:
    """Prompts of all kinds of lengths, about blocks and pieces; some begin alike."""
    if sizes is None:
        sizes = (1, 2, 16, 17, 64, 150, 5, 90, 33)
    return [
        Submit(
            request_id=number,
            prompt_ids=[(7 * (number % 2) + place * place) % VOCABULARY for place in range(size)],
            max_tokens=16,
            temperature=temperature,
            seed=number,
            top_k=20 if number % 2 else 0,
            logprobs=number % 3,
        )
        for number, size in enumerate(sizes, start=1)
    ]
