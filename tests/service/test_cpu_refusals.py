"""What the compiled kernels are refused, and what else is asked of a packed network."""

import pytest
import torch

from model.transformer import Transformer
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.kernel_library import KernelError
from service.engine.cpu.packed_network import NumberType
from service.engine.executor import ChunkInput
from tests.service.packed_models import (
    BLOCKS_EACH,
    CONTEXT,
    NUM_OWNERS,
    chunk,
    cpu_executor,
    network_shape,
    new_network,
    packed,
    text,
)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return new_network(network_shape())


@pytest.fixture(scope="module")
def executor(model: Transformer) -> CpuExecutor:
    return cpu_executor(model, num_blocks=NUM_OWNERS * BLOCKS_EACH, num_threads=2)


def test_the_embedding_is_read_out_of_the_packed_matrix(model: Transformer) -> None:
    for weight_type, tolerance in ((NumberType.F32, 0.0), (NumberType.INT8, 0.01)):
        network = packed(model, weight_type=weight_type)
        expected = model.embedding_rows(7, 50)
        difference = (network.embedding_rows(7, 50) - expected).abs().max()
        assert float(difference) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (ChunkInput(token_ids=[1] * 17, start=0, block_ids=[0]), "1 blocks do not hold 17 tokens"),
        (ChunkInput(token_ids=[1], start=0, block_ids=[52]), "block"),
        (ChunkInput(token_ids=[1], start=0, block_ids=[-1]), "block"),
        (ChunkInput(token_ids=[61], start=0, block_ids=[0]), "token"),
        (ChunkInput(token_ids=[-1], start=0, block_ids=[0]), "token"),
        (ChunkInput(token_ids=[1], start=CONTEXT, block_ids=range(20)), "position"),
    ],
    ids=["too few blocks", "no such block", "negative block", "token", "negative token", "context"],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    executor: CpuExecutor, wrong: ChunkInput, message: str
) -> None:
    ids = text(6, 40)
    executor.compute([chunk(ids[:30], 0, 3)])
    clean = executor.compute([chunk(ids[30:], 30, 3)]).logits_RV
    with pytest.raises(KernelError, match=message):
        executor.compute([chunk([9] * 10, 0, 3), wrong])
    assert torch.equal(executor.compute([chunk(ids[30:], 30, 3)]).logits_RV, clean)


def test_a_network_with_a_tensor_of_another_shape_or_without_one_is_refused(
    model: Transformer,
) -> None:
    network = packed(model)
    with pytest.raises(KernelError):
        network.load("model.norm.weight", torch.ones(47))
    with pytest.raises(KeyError):
        network.load("model.layers.0.mlp.gate_proj.bias", torch.ones(96))
