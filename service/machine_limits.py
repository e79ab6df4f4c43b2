"""What this process may use of the machine: cores and memory, by control groups and hardware.

Reads /proc and /sys only, below a root that tests replace by a tree of their own. Where a system
has no such files (macOS), the hardware is the limit.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CoreLimit",
    "MachineLimits",
    "MemoryLimit",
    "available_bytes",
    "memory_text",
    "read_machine_limits",
    "uses_cpu_kernels",
]

# Compiled when the project was installed, if a compiler was there.
KERNELS = Path(__file__).resolve().parent / "engine" / "cpu" / "libnextword_cpu.so"

# What version 1 reports for "no limit" is a page short of 2^63.
_NO_LIMIT_BYTES = 1 << 60
_MOUNT = re.compile(
    r"^\d+ \d+ \S+ (?P<root>\S+) (?P<point>\S+) .* - (?P<kind>\S+) \S+ (?P<own>.*)$"
)


@dataclass(frozen=True, slots=True)
class CoreLimit:
    """Cores worth of computing, and what limits them."""

    cores: float
    source: str


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Memory that may be used in all, and what limits it."""

    limit_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """What this process may use."""

    cores: CoreLimit
    memory: MemoryLimit


@dataclass(frozen=True, slots=True)
class _Group:
    """One control group that this process is in, or one above it."""

    directory: Path
    is_version_2: bool


def read_machine_limits(
    root: Path = Path("/"), *, num_cores: int | None = None, num_usable: int | None = None
) -> MachineLimits:
    """Read what applies to this process.

    Args:
        root: Where /proc and /sys are.
        num_cores: Cores of the machine; None asks the system.
        num_usable: How many of them the affinity of this process leaves; None asks the system.
    """
    num_cores = num_cores or os.cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)
    num_usable = num_usable or (len(affinity(0)) if affinity is not None else num_cores)
    return MachineLimits(_core_limit(root, num_cores, num_usable), _memory_limit(root))


def uses_cpu_kernels(device: str, executor: str) -> bool:
    """Whether an engine with these settings computes with the compiled kernels for CPUs."""
    return device != "cuda" and executor in ("auto", "cpu-kernels") and KERNELS.exists()


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that can still be taken before a control group or the machine runs out.

    What the system keeps of files counts as free, since it gives that up. None where the system
    does not say.
    """
    free: list[int] = []
    meminfo = _fields(root / "proc/meminfo", separator=":")
    if "MemAvailable" in meminfo:
        free.append(meminfo["MemAvailable"] * 1024)
    for group in _groups(root, "memory"):
        limit = _group_memory(group)
        if group.is_version_2:
            used = _number(group.directory / "memory.current")
            cached = _fields(group.directory / "memory.stat").get("inactive_file", 0)
        else:
            used = _number(group.directory / "memory.usage_in_bytes")
            cached = _fields(group.directory / "memory.stat").get("total_inactive_file", 0)
        if limit is not None and used is not None:
            free.append(max(0, limit - used + cached))
    return min(free, default=None)


def memory_text(num_bytes: int) -> str:
    """A size for people: 24 GiB, 512 MiB, 1.5 GiB."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{num_bytes} bytes"


def _core_limit(root: Path, num_cores: int, num_usable: int) -> CoreLimit:
    limit = CoreLimit(float(num_cores), f"{num_cores} cores")
    if num_usable < num_cores:
        limit = CoreLimit(float(num_usable), f"affinity to {num_usable} of {num_cores} cores")
    for group in _groups(root, "cpu"):
        quota = _group_cores(group)
        if quota is not None and quota < limit.cores:
            limit = CoreLimit(quota, f"cgroup quota of {quota:g} cores")
    return limit


def _memory_limit(root: Path) -> MemoryLimit:
    meminfo = _fields(root / "proc/meminfo", separator=":")
    if "MemTotal" in meminfo:
        physical = meminfo["MemTotal"] * 1024
    else:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = MemoryLimit(physical, f"{memory_text(physical)} of physical memory")
    for group in _groups(root, "memory"):
        allowed = _group_memory(group)
        if allowed is not None and allowed < limit.limit_bytes:
            limit = MemoryLimit(allowed, f"cgroup memory limit {memory_text(allowed)}")
    return limit


def _group_cores(group: _Group) -> float | None:
    if group.is_version_2:
        words = _text(group.directory / "cpu.max").split()
        quota, period = words if len(words) == 2 else ("max", "0")
    else:
        quota = _text(group.directory / "cpu.cfs_quota_us")
        period = _text(group.directory / "cpu.cfs_period_us")
    # "max" and -1 are no limit; whatever else is not two counts is no limit that we know.
    if not quota.isdecimal() or not period.isdecimal() or int(quota) == 0 or int(period) == 0:
        return None
    return int(quota) / int(period)


def _group_memory(group: _Group) -> int | None:
    # Above memory.high a group is slowed down to a crawl, so it limits like memory.max.
    names = ("memory.max", "memory.high") if group.is_version_2 else ("memory.limit_in_bytes",)
    limits = [_number(group.directory / name) for name in names]
    return min((x for x in limits if x is not None and 0 < x < _NO_LIMIT_BYTES), default=None)


def _groups(root: Path, controller: str) -> Iterator[_Group]:
    """The groups whose limits of a controller hold for this process: its own and those above."""
    paths: dict[bool, str] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths[True] = path
        elif controller in controllers.split(","):
            paths[False] = path
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount = _MOUNT.match(line)
        if mount is None or mount["kind"] not in ("cgroup", "cgroup2"):
            continue
        is_version_2 = mount["kind"] == "cgroup2"
        if is_version_2 not in paths:
            continue
        if not is_version_2 and controller not in mount["own"].split(","):
            continue
        top = root / mount["point"].lstrip("/")
        for directory in _upwards(top, _below(paths[is_version_2], mount["root"])):
            yield _Group(directory, is_version_2)


def _below(path: str, mounted: str) -> str:
    """A group's path as seen from what is mounted: inside a container only a part is."""
    if mounted == "/":
        return path.lstrip("/")
    if path == mounted or path.startswith(f"{mounted}/"):
        return path[len(mounted) :].lstrip("/")
    return ""


def _upwards(top: Path, path: str) -> Iterator[Path]:
    directory = top / path
    # A path with .. leads out of what this process sees of the tree.
    if ".." in path.split("/") or not directory.is_dir():
        directory = top
    while directory != top:
        yield directory
        directory = directory.parent
    yield top


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _fields(path: Path, *, separator: str | None = None) -> dict[str, int]:
    """Lines of a word and a count, units left out."""
    values: dict[str, int] = {}
    for line in _text(path).splitlines():
        name, *rest = line.split(separator, 1)
        count = rest[0].split()[0] if rest and rest[0].split() else ""
        if count.isdecimal():
            values[name.strip()] = int(count)
    return values
