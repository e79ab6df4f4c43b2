"""Defaults that fit the machine: threads, memory, and how many requests to take on.

Each is worked out from the limits of the machine or from a setting before it, and says so.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from service.machine_limits import MachineLimits, memory_text, uses_cpu_kernels

__all__ = ["DERIVED_SETTINGS", "Derived"]

MEMORY_SHARE_OF_CACHES = 4
MEMORY_BYTES_PER_RUNNING = 128 << 20
FEWEST_RUNNING, MOST_RUNNING = 4, 32
QUEUED_PER_RUNNING = 4
# A waiting token is a number in two processes and in a message between them; all that wait may take
# a small share of the memory.
BYTES_PER_QUEUED_TOKEN = 128
MEMORY_SHARE_OF_QUEUE = 64


@dataclass(frozen=True, slots=True)
class Derived:
    """A default and where it comes from."""

    value: int
    source: str


def _threads(machine: MachineLimits, values: Mapping[str, object]) -> Derived:
    # The front and the kernel need a core too. The compiled kernels take work in small pieces, so
    # that nobody waits for a thread that lost its core; torch's threads wait for each other at
    # every product, and so for whoever shares its core with the front.
    spared = 0 if uses_cpu_kernels(str(values["device"]), str(values["executor"])) else 1
    threads = max(1, math.floor(machine.cores.cores) - spared)
    return Derived(threads, f"from {machine.cores.source}")


def _memory_limit(machine: MachineLimits, values: Mapping[str, object]) -> Derived:
    return Derived(machine.memory.limit_bytes, f"from {machine.memory.source}")


def _kv_cache_memory(machine: MachineLimits, values: Mapping[str, object]) -> Derived:
    limit = cast("int", values["memory_limit"])
    return Derived(limit // MEMORY_SHARE_OF_CACHES, f"from memory limit {memory_text(limit)}")


def _max_running(machine: MachineLimits, values: Mapping[str, object]) -> Derived:
    limit = cast("int", values["memory_limit"])
    running = min(max(limit // MEMORY_BYTES_PER_RUNNING, FEWEST_RUNNING), MOST_RUNNING)
    return Derived(running, f"from memory limit {memory_text(limit)}")


def _max_queued(machine: MachineLimits, values: Mapping[str, object]) -> Derived:
    running = cast("int", values["max_running"])
    return Derived(QUEUED_PER_RUNNING * running, f"from max_running {running}")


def _max_queued_tokens(machine: MachineLimits, values: Mapping[str, object]) -> Derived:
    limit = cast("int", values["memory_limit"])
    tokens = limit // MEMORY_SHARE_OF_QUEUE // BYTES_PER_QUEUED_TOKEN
    return Derived(tokens, f"from memory limit {memory_text(limit)}")


# In the order in which one follows from another.
DERIVED_SETTINGS: Mapping[str, Callable[[MachineLimits, Mapping[str, object]], Derived]] = {
    "threads": _threads,
    "memory_limit": _memory_limit,
    "kv_cache_memory": _kv_cache_memory,
    "max_running": _max_running,
    "max_queued": _max_queued,
    "max_queued_tokens": _max_queued_tokens,
}
