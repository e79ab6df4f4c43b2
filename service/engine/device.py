"""The device and the number type that the settings of a load mean on this machine."""

import json
from pathlib import Path

import torch

__all__ = ["DeviceError", "resolve_device", "resolve_dtype"]


class DeviceError(ValueError):
    """A setting names what this machine does not have."""


def resolve_device(name: str) -> torch.device:
    """The device of a setting; "auto" takes a CUDA device when torch can use one.

    Raises:
        DeviceError: There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device must be auto or one of torch's devices, got {name}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"torch {torch.__version__} finds no CUDA device here, got device {name}")
    return device


def resolve_dtype(name: str, device: torch.device, directory: Path) -> torch.dtype | None:
    """The number type of a setting; None is the folder's own.

    "auto" keeps what the folder stores, except on a processor that would only emulate it.

    Raises:
        DeviceError: It is none of auto, f32 and bf16.
    """
    match name:
        case "f32":
            return torch.float32
        case "bf16":
            return torch.bfloat16
        case "auto":
            if device.type != "cpu" or (_has_fast_bf16() and not _stores_float16(directory)):
                return None
            return torch.float32
        case "int8":
            raise DeviceError("dtype int8 is for the executor cpu-kernels alone")
        case _:
            raise DeviceError(f"dtype must be auto, f32, bf16 or int8, got {name}")


def _has_fast_bf16() -> bool:
    # Linux names the processor's abilities here; elsewhere f32 is the safe choice.
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(word in flags.read_text() for word in (" avx512_bf16", " bf16"))


def _stores_float16(directory: Path) -> bool:
    config = json.loads((directory / "config.json").read_text("utf-8"))
    return "float16" in (config.get("dtype"), config.get("torch_dtype"))
