"""Networks of torch's in the memory of the compiled kernels, and pieces of texts for them."""

import torch
from torch import Tensor

from model.config import ModelConfig
from model.transformer import Transformer
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.packed_network import NumberType, PackedNetwork
from service.engine.executor import ChunkInput, ComputedStep, LogitsWanted

CONTEXT = 200
BLOCKS_EACH = 13
NUM_OWNERS = 4


def packed(
    model: Transformer, *, weight_type: NumberType = NumberType.F32, num_threads: int = 1
) -> PackedNetwork:
    """A packed copy; the model is as it was."""
    network = PackedNetwork(
        model.config,
        weight_type=weight_type,
        tables_PD=(model.cos_PD, model.sin_PD),
        num_threads=num_threads,
    )
    for name, parameter in model.named_parameters():
        network.load(name, parameter)
    network.check()
    return network


def cpu_executor(
    model: Transformer,
    *,
    num_blocks: int,
    weight_type: NumberType = NumberType.F32,
    cache_type: NumberType = NumberType.F32,
    num_threads: int = 1,
) -> CpuExecutor:
    """An executor over a packed copy."""
    network = packed(model, weight_type=weight_type, num_threads=num_threads)
    return CpuExecutor(network, num_blocks=num_blocks, cache_type=cache_type)


def network_shape(
    *,
    vocab_size: int = 61,
    hidden_size: int = 48,
    intermediate_size: int = 96,
    num_layers: int = 2,
    heads: tuple[int, int] = (4, 2),
    head_dim: int = 12,
    is_tied: bool = True,
    family: str = "llama",
    has_bias: bool = False,
) -> ModelConfig:
    return ModelConfig(
        model_type=family,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        head_dim=head_dim,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=is_tied,
        attention_bias=has_bias,
    )


def new_network(shape: ModelConfig, seed: int = 3) -> Transformer:
    """A network with strong opinions, and with vectors that are not all ones or zeros."""
    model = Transformer(shape).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    model.initialize(generator)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(5)
        else:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def text(seed: int, num_tokens: int, vocab_size: int = 61) -> list[int]:
    return [(seed * 31 + 7 * place * place + place) % vocab_size for place in range(num_tokens)]


def table(owner: int) -> list[int]:
    return [place * NUM_OWNERS + owner for place in range(BLOCKS_EACH)][::-1]


def chunk(
    ids: list[int], start: int, owner: int, logits: LogitsWanted = LogitsWanted.ALL
) -> ChunkInput:
    return ChunkInput(token_ids=ids, start=start, block_ids=table(owner), logits=logits)


def rows(step: ComputedStep, place: int) -> Tensor:
    return step.logits_RV[step.rows[place]]
