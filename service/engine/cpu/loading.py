"""From a folder to the executor for CPUs, one tensor after another."""

import logging

import torch
from torch import Tensor

from model.transformer import rotation_tables
from model.weights import StoredWeights, WeightsError
from service.engine.cpu.cpu_executor import CpuExecutor
from service.engine.cpu.packed_network import NumberType, PackedNetwork, give_back_memory
from service.engine.device import DeviceError

__all__ = ["DTYPE_NAMES", "load_cpu_executor", "weight_type"]

_logger = logging.getLogger(__name__)

_WEIGHT_TYPES = {"f32": NumberType.F32, "bf16": NumberType.BF16, "int8": NumberType.INT8}
# As other executors name torch's types.
DTYPE_NAMES = {
    NumberType.F32: "float32",
    NumberType.BF16: "bfloat16",
    NumberType.INT8: "int8",
}


def weight_type(name: str, stored: torch.dtype) -> NumberType:
    """What the weights are packed as.

    Args:
        name: A setting; "auto" is the stored type if the kernels have it, else f32.
        stored: Of the folder.

    Raises:
        DeviceError: It is no type that a CPU computes with.
    """
    if name == "auto":
        return NumberType.BF16 if stored is torch.bfloat16 else NumberType.F32
    if name not in _WEIGHT_TYPES:
        raise DeviceError(f"dtype must be auto, f32, bf16 or int8, got {name}")
    return _WEIGHT_TYPES[name]


def load_cpu_executor(
    stored: StoredWeights, *, dtype: str, num_threads: int, context_tokens: int, num_blocks: int
) -> CpuExecutor:
    """Pack a folder's weights.

    Args:
        stored: The folder.
        dtype: Setting of that name.
        num_threads: Threads that compute a step.
        context_tokens: Longest sequence.
        num_blocks: Blocks of the cache.

    Raises:
        LibraryError: There are no compiled kernels.
        KernelError: They take no network of this shape; nothing was read yet.
        WeightsError: As of `StoredWeights.tensors`, or a weight is too large for the type.
        DeviceError: As of `weight_type`.
        MemoryError: There is no room for weights or cache.
    """
    packed = PackedNetwork(
        stored.config,
        weight_type=weight_type(dtype, stored.dtype),
        tables_PD=rotation_tables(stored.config, num_positions=context_tokens),
        num_threads=num_threads,
    )
    is_exact = packed.weight_type is NumberType.F32
    cache_type = NumberType.F32 if is_exact else NumberType.BF16
    for name, tensor in stored.tensors():
        if packed.rounds_to_bf16(name, tensor) and not _is_finite_in_bf16(tensor):
            raise WeightsError(
                f"{stored.directory}: tensor {name} holds a value that is not finite in bfloat16"
            )
        packed.load(name, tensor)
    packed.check()
    give_back_memory()
    _logger.info("the CPU kernels compute with %s on %d threads", packed.isa, num_threads)
    return CpuExecutor(packed, num_blocks=num_blocks, cache_type=cache_type)


def _is_finite_in_bf16(tensor: Tensor) -> bool:
    # The extremes stand for all: nothing is copied.
    extremes = torch.stack(tensor.aminmax())
    return bool(extremes.to(torch.bfloat16).isfinite().all())
