"""A network whose weights the compiled kernels hold, in the order in which they read them.

Each tensor is packed, and rounded where that was asked for, as it comes; the source may go then.
Shape letters: V vocabulary, C hidden width, P positions, D head width, R rows.
"""

import ctypes
import os
import weakref
from ctypes import byref, c_int32
from enum import IntEnum

import torch
from torch import Tensor

from model.config import ModelConfig
from service.engine.cpu.kernel_library import Shape, check_status, load_library, new_handle
from service.engine.cpu.threads import thread_pool

__all__ = ["NumberType", "PackedNetwork", "give_back_memory"]

# Names one of the processor's sets of instructions, to compute as a lesser processor would.
ISA_VARIABLE = "NEXTWORD_CPU_ISA"


class NumberType(IntEnum):
    """`nextword_type`."""

    F32 = 0
    BF16 = 1
    F16 = 2
    INT8 = 3


_SOURCE_TYPES = {
    torch.float32: NumberType.F32,
    torch.bfloat16: NumberType.BF16,
    torch.float16: NumberType.F16,
}
# `nextword_tensor` by the names of Hugging Face's folders.
_EMBEDDING = "model.embed_tokens.weight"
_TENSORS = {
    _EMBEDDING: 0,
    "lm_head.weight": 1,
    "model.norm.weight": 2,
}
_LAYER_PREFIX = "model.layers."
_LAYER_TENSORS = {
    "input_layernorm.weight": 3,
    "post_attention_layernorm.weight": 4,
    "self_attn.q_proj.weight": 5,
    "self_attn.k_proj.weight": 6,
    "self_attn.v_proj.weight": 7,
    "self_attn.o_proj.weight": 8,
    "mlp.gate_proj.weight": 9,
    "mlp.up_proj.weight": 10,
    "mlp.down_proj.weight": 11,
    "self_attn.q_proj.bias": 12,
    "self_attn.k_proj.bias": 13,
    "self_attn.v_proj.bias": 14,
    "self_attn.o_proj.bias": 15,
    "self_attn.q_norm.weight": 16,
    "self_attn.k_norm.weight": 17,
}


class PackedNetwork:
    """A network in the kernels' memory.

    Args:
        config: Its shape.
        weight_type: Of the matrices: F32, BF16 or INT8.
        tables_PD: Cosines and sines of the rotary angles of as many positions as there will be.
        num_threads: Threads that compute a step, the caller's included.

    Attributes:
        config: Its shape.
        weight_type: Of the matrices.
        kernels: Their functions.
        handle: The model in them.
        isa: The set of instructions that computes.

    Raises:
        LibraryError: There are no compiled kernels.
        KernelError: They take no such shape.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        weight_type: NumberType,
        tables_PD: tuple[Tensor, Tensor],
        num_threads: int,
    ) -> None:
        self.config = config
        self.weight_type = weight_type
        self.kernels = load_library()
        half = config.head_dim // 2
        cosines, sines = (table[:, :half].float().contiguous() for table in tables_PD)
        self.shape = Shape(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_layers=config.num_hidden_layers,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            num_positions=cosines.shape[0],
            is_tied=config.tie_word_embeddings,
            has_attention_bias=config.attention_bias,
            has_output_bias=config.attention_output_bias,
            has_qk_norm=config.qk_norm,
            weight_type=weight_type,
            rms_norm_eps=config.rms_norm_eps,
        )
        isa = os.environ.get(ISA_VARIABLE, "").encode() or None
        self.handle = new_handle(
            self.kernels,
            "nextword_model_create",
            *(byref(self.shape), thread_pool(num_threads), isa),
            *(cosines.data_ptr(), sines.data_ptr()),
        )
        weakref.finalize(self, self.kernels.nextword_model_destroy, self.handle)
        self.isa: str = self.kernels.nextword_model_isa(self.handle).decode()

    def load(self, name: str, tensor: Tensor) -> None:
        """Pack one tensor.

        Args:
            name: As in a Hugging Face folder.
            tensor: On the CPU in f32, bf16 or f16; it is not needed afterwards.

        Raises:
            KernelError: It has another shape than the configuration says.
            KeyError: No network has a tensor of this name.
        """
        number, layer = _TENSORS.get(name), 0
        if number is None:
            place, _, rest = name.removeprefix(_LAYER_PREFIX).partition(".")
            number, layer = _LAYER_TENSORS[rest], int(place)
        tensor = tensor.detach().contiguous()
        rows, columns = (1, *tensor.shape) if tensor.dim() == 1 else tensor.shape
        status = self.kernels.nextword_model_load(
            *(self.handle, number, layer, tensor.data_ptr()),
            *(_SOURCE_TYPES[tensor.dtype], rows, columns),
        )
        check_status(self.kernels, status)

    def rounds_to_bf16(self, name: str, tensor: Tensor) -> bool:
        """Whether a tensor is kept in bf16; vectors are in f32, an embedding is not in 8 bits."""
        if tensor.dim() == 1 or self.weight_type is NumberType.F32:
            return False
        is_own_embedding = name == _EMBEDDING and not self.config.tie_word_embeddings
        return self.weight_type is NumberType.BF16 or is_own_embedding

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return self.kernels.nextword_weight_bytes(byref(self.shape))

    def cache_bytes(self, num_blocks: int, cache_type: NumberType) -> int:
        """Memory of a cache of so many blocks."""
        return self.kernels.nextword_cache_bytes(byref(self.shape), num_blocks, cache_type)

    def check(self) -> None:
        """See that every tensor was packed.

        Raises:
            KernelError: One is missing.
        """
        number, layer = c_int32(), c_int32()
        status = self.kernels.nextword_model_check(self.handle, byref(number), byref(layer))
        check_status(self.kernels, status)

    def embedding_rows(self, first: int, last: int) -> Tensor:
        """Vectors [last - first, C] of consecutive token ids, as the network reads them."""
        rows_RC = torch.empty((last - first, self.config.hidden_size))
        ids = (c_int32 * (last - first))(*range(first, last))
        status = self.kernels.nextword_model_embedding(
            self.handle, ids, last - first, rows_RC.data_ptr()
        )
        check_status(self.kernels, status)
        return rows_RC


def give_back_memory() -> None:
    """Hand memory back to the system that was freed piece by piece between what is used."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
