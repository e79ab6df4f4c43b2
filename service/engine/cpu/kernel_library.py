"""The compiled kernels as Python calls them; torch-free.

The structures repeat `native/nextword_cpu.h`. A library that was built from another header is
refused, since its structures may have other fields.
"""

import ctypes
import logging
from ctypes import POINTER, Structure, byref, c_char_p, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path

from service.engine.cpu.build import LIBRARY, interface_mark, is_current

__all__ = [
    "Inspection",
    "KernelError",
    "LibraryError",
    "Shape",
    "StepInput",
    "check_status",
    "instruction_sets",
    "load_library",
]

_logger = logging.getLogger(__name__)

OUT_OF_MEMORY = 1


class LibraryError(Exception):
    """There are no compiled kernels that can be used here; one line says why."""


class KernelError(ValueError):
    """The kernels refused their arguments."""


class Shape(Structure):
    """`nextword_shape`."""

    _fields_ = (
        ("vocab_size", c_int32),
        ("hidden_size", c_int32),
        ("intermediate_size", c_int32),
        ("num_layers", c_int32),
        ("num_heads", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("num_positions", c_int32),
        ("is_tied", c_int32),
        ("has_attention_bias", c_int32),
        ("has_output_bias", c_int32),
        ("has_qk_norm", c_int32),
        ("weight_type", c_int32),
        ("rms_norm_eps", c_float),
    )


class Inspection(Structure):
    """`nextword_inspection`."""

    _fields_ = (
        ("chunk", c_int32),
        ("num_attention_layers", c_int32),
        ("attention_layers", c_void_p),
        ("hidden_states", c_void_p),
        ("attention", c_void_p),
    )


class StepInput(Structure):
    """`nextword_step_input`."""

    _fields_ = (
        ("num_chunks", c_int32),
        ("table_stride", c_int32),
        ("token_ids", c_void_p),
        ("chunk_tokens", c_void_p),
        ("chunk_starts", c_void_p),
        ("block_tables", c_void_p),
        ("num_logit_rows", c_int32),
        ("num_inspections", c_int32),
        ("logit_tokens", c_void_p),
        ("logits", c_void_p),
        ("logits_stride", c_int64),
        ("inspections", POINTER(Inspection)),
    )


# Arguments of each function; all return a status unless they are named below.
_ARGUMENTS = {
    "nextword_interface": (),
    "nextword_status_text": (c_int32,),
    "nextword_isas": (),
    "nextword_pool_create": (c_int32, POINTER(c_void_p)),
    "nextword_pool_destroy": (c_void_p,),
    "nextword_model_create": (
        *(POINTER(Shape), c_void_p, c_char_p, c_void_p, c_void_p, POINTER(c_void_p)),
    ),
    "nextword_model_destroy": (c_void_p,),
    "nextword_model_isa": (c_void_p,),
    "nextword_weight_bytes": (POINTER(Shape),),
    "nextword_model_load": (c_void_p, c_int32, c_int32, c_void_p, c_int32, c_int64, c_int64),
    "nextword_model_check": (c_void_p, POINTER(c_int32), POINTER(c_int32)),
    "nextword_model_embedding": (c_void_p, c_void_p, c_int32, c_void_p),
    "nextword_cache_bytes": (POINTER(Shape), c_int32, c_int32),
    "nextword_cache_create": (c_void_p, c_int32, c_int32, POINTER(c_void_p)),
    "nextword_cache_destroy": (c_void_p,),
    "nextword_cache_clear": (c_void_p, c_void_p, c_int32),
    "nextword_step": (c_void_p, c_void_p, POINTER(StepInput)),
}
_RESULTS = {
    "nextword_status_text": c_char_p,
    "nextword_isas": c_char_p,
    "nextword_pool_destroy": None,
    "nextword_model_destroy": None,
    "nextword_model_isa": c_char_p,
    "nextword_weight_bytes": c_int64,
    "nextword_cache_bytes": c_int64,
    "nextword_cache_destroy": None,
}


@cache
def load_library(path: Path = LIBRARY) -> ctypes.CDLL:
    """The compiled kernels. Their calls leave the interpreter to other threads.

    Raises:
        LibraryError: They were not built, or from another header, or cannot be loaded.
    """
    if not path.exists():
        raise LibraryError("compiled kernels, which a C++ compiler and `make install` give")
    try:
        library = ctypes.CDLL(str(path))
        mark = ctypes.c_char.in_dll(library, "nextword_cpu_interface")
    except (OSError, ValueError) as error:
        raise LibraryError(f"compiled kernels that can be loaded: {error}") from error
    if ctypes.string_at(ctypes.addressof(mark)).decode() != interface_mark():
        raise LibraryError("kernels compiled from the sources as they are: run `make install`")
    if not is_current(path):
        _logger.warning("the CPU kernels were compiled from older sources: run `make install`")
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = _RESULTS.get(name, c_int32)
    return library


def instruction_sets(library: ctypes.CDLL) -> list[str]:
    """What this processor has of the sets that were built, best first."""
    return library.nextword_isas().decode().split()


def check_status(library: ctypes.CDLL, status: int) -> None:
    """Raise for what is not well.

    Raises:
        MemoryError: There was no memory.
        KernelError: The arguments contradict each other or the model; the text says which.
    """
    if status == 0:
        return
    text = library.nextword_status_text(status).decode()
    if status == OUT_OF_MEMORY:
        raise MemoryError(f"the CPU kernels: {text}")
    raise KernelError(f"the CPU kernels refused their arguments: {text}")


def new_handle(library: ctypes.CDLL, function: str, *arguments: object) -> c_void_p:
    """Call what hands out a handle as its last argument.

    Raises:
        MemoryError, KernelError: As `check_status` says.
    """
    handle = c_void_p()
    check_status(library, getattr(library, function)(*arguments, byref(handle)))
    return handle
