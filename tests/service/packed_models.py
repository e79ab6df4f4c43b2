"""Networks of torch's in the memory of the compiled kernels, beside what they were packed from."""

from model.transformer import Transformer
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.packed_network import NumberType, PackedNetwork


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
