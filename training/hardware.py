"""What this machine can do for a training run: device, threads, number type, compiler, speed.

"auto" settings are decided here, by measurement where that is cheap, once at a run's first start;
the decisions are recorded, and a resumed run takes the recorded ones so that its numbers agree.
"""

import os
import shutil
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from training.config import ConfigurationError, RunSettings
from training.parallel import Processes

__all__ = ["Hardware", "choose_hardware"]

# A compiled step has to save more than its compilation costs, which is about half a minute.
_MIN_MINUTES_TO_COMPILE = 8.0
_PRODUCT_SIZE = 512
_MEASURE_SECONDS = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Where and how the matrix products of a run are computed.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        dtype: "f32" or "bf16", of the matrix products; weights and sums stay in f32.
        is_compiled: Whether the step goes through torch.compile.
        num_threads: CPU threads of torch.
        flops_per_second: Measured rate of a matrix product of ``dtype``; 0 where not measured.
    """

    device: str
    dtype: str
    is_compiled: bool
    num_threads: int
    flops_per_second: float

    @property
    def is_gpu(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device.startswith("cuda")

    @property
    def description(self) -> str:
        """In words, for the user."""
        where = self.device if self.is_gpu else _cpu_threads(self.num_threads)
        return f"{where} in {self.dtype}{', compiled' if self.is_compiled else ''}"


def has_cuda() -> bool:
    """Whether torch finds a CUDA device."""
    return torch.cuda.is_available()


def choose_hardware(
    settings: RunSettings,
    *,
    minutes: float,
    processes: Processes,
    announce: Callable[[str], None],
) -> Hardware:
    """Decide what "auto" means here, and measure how fast it is.

    Args:
        settings: What the user fixed.
        minutes: Planned length of the run; 0 where another limit counts.
        processes: Those of the run; each takes a CUDA device, or its share of the cores.
        announce: Told what was decided and why.

    Raises:
        ConfigurationError: A CUDA device is asked for and none is there.
    """
    if settings.device == "cuda" and not has_cuda():
        raise ConfigurationError("run.device is cuda, but torch finds no CUDA device here")
    is_gpu = has_cuda() and settings.device != "cpu"
    device = f"cuda:{processes.local_rank}" if is_gpu else "cpu"
    num_threads = settings.threads or _granted_cores(processes)
    torch.set_num_threads(num_threads)
    rates = {
        name: _product_rate(torch.device(device), dtype)
        for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16))
        if settings.dtype in ("auto", name)
    }
    # bf16 has to be clearly faster: it costs casts, and digits.
    dtype = "bf16" if rates.get("bf16", 0.0) > 1.4 * rates.get("f32", 0.0) else "f32"
    is_compiled = settings.compile == "on"
    if settings.compile == "auto":
        missing = None if is_gpu else _missing_for_compile()
        is_compiled = missing is None and (is_gpu or not 0 < minutes < _MIN_MINUTES_TO_COMPILE)
        if missing:
            announce(f"torch.compile is not used: {missing} is not installed")
    where = torch.cuda.get_device_name(device) if is_gpu else _cpu_threads(num_threads)
    announce(
        f"computes on {where} in {dtype}{', compiled' if is_compiled else ''}; "
        f"matrix products run at {rates[dtype] / 1e9:,.0f} GFLOP/s"
    )
    return Hardware(
        device=device,
        dtype=dtype,
        is_compiled=is_compiled,
        num_threads=num_threads,
        flops_per_second=rates[dtype],
    )


def _granted_cores(processes: Processes) -> int:
    limit = os.environ.get("OMP_NUM_THREADS", "")
    # torchrun sets 1 for whoever set nothing, however many cores there are.
    if limit.isdecimal() and int(limit) > 0 and processes.count == 1:
        return int(limit)
    return max(1, _cores() // processes.local_count)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _missing_for_compile() -> str | None:
    """What torch.compile's C++ backend lacks on this machine, None where it can work."""
    compiler = os.environ.get("CXX", "")
    if not any(shutil.which(name) for name in (compiler, "g++", "clang++") if name):
        return "a C++ compiler (g++ or clang++)"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        return "Python's C header (python3-dev)"
    return None


def _product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a square matrix product."""
    size = _PRODUCT_SIZE * (8 if device.type == "cuda" else 1)
    left = torch.ones(size, size, dtype=dtype, device=device)
    best_seconds = float("inf")
    deadline = time.perf_counter() + _MEASURE_SECONDS
    while True:
        started = time.perf_counter()
        product = left @ left
        # Reading a value waits for the device.
        float(product[0, 0])
        best_seconds = min(best_seconds, time.perf_counter() - started)
        if time.perf_counter() > deadline:
            return 2.0 * size**3 / best_seconds


def _cpu_threads(number: int) -> str:
    return f"{number} CPU thread{'' if number == 1 else 's'}"
