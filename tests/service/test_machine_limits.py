"""Limits of the machine, read from trees of files as control groups of both versions leave them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from service.machine_limits import available_bytes, memory_text, read_machine_limits

GIB = 1 << 30
MEMINFO = {
    "proc/meminfo": "MemTotal:       25165824 kB\nMemFree: 1 kB\nMemAvailable: 20971520 kB\n"
}
V2 = {
    **MEMINFO,
    "proc/self/cgroup": "0::/system.slice/next.service\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
}
V2_GROUP = "sys/fs/cgroup/system.slice/next.service"
V1 = {
    **MEMINFO,
    # Inside a container without a namespace of its own: the groups are named from the host.
    "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n",
    "proc/self/mountinfo": (
        "31 23 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "32 23 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    ),
}

Tree = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files below a root, which stands for /."""

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def cores(root: Path, *, num_cores: int = 8, num_usable: int = 8) -> tuple[float, str]:
    limit = read_machine_limits(root, num_cores=num_cores, num_usable=num_usable).cores
    return limit.cores, limit.source


def memory(root: Path) -> tuple[int, str]:
    limit = read_machine_limits(root).memory
    return limit.limit_bytes, limit.source


def test_a_quota_of_version_2_limits_the_cores(tree: Tree) -> None:
    root = tree({**V2, f"{V2_GROUP}/cpu.max": "150000 100000\n"})
    assert cores(root) == (1.5, "cgroup quota of 1.5 cores")


def test_a_quota_of_version_1_limits_the_cores(tree: Tree) -> None:
    group = "sys/fs/cgroup/cpu,cpuacct"
    root = tree({**V1, f"{group}/cpu.cfs_quota_us": "50000", f"{group}/cpu.cfs_period_us": "25000"})
    assert cores(root) == (2.0, "cgroup quota of 2 cores")


@pytest.mark.parametrize("text", ["max 100000", "", "max", "x y", "0 0", "-1 100000", "1 2 3"])
def test_no_quota_and_nonsense_limit_nothing(tree: Tree, text: str) -> None:
    root = tree({**V2, f"{V2_GROUP}/cpu.max": text})
    assert cores(root) == (8.0, "8 cores")


def test_a_quota_above_the_affinity_limits_nothing(tree: Tree) -> None:
    root = tree({**V2, f"{V2_GROUP}/cpu.max": "600000 100000"})
    assert cores(root, num_usable=3) == (3.0, "affinity to 3 of 8 cores")


def test_the_tightest_group_above_counts(tree: Tree) -> None:
    root = tree(
        {
            **V2,
            f"{V2_GROUP}/memory.max": f"{8 * GIB}",
            "sys/fs/cgroup/system.slice/memory.max": f"{4 * GIB}",
            "sys/fs/cgroup/system.slice/cpu.max": "300000 100000",
            f"{V2_GROUP}/cpu.max": "max 100000",
        }
    )
    assert memory(root) == (4 * GIB, "cgroup memory limit 4 GiB")
    assert cores(root)[0] == 3.0


def test_memory_high_limits_as_memory_max_does(tree: Tree) -> None:
    root = tree({**V2, f"{V2_GROUP}/memory.max": "max", f"{V2_GROUP}/memory.high": f"{GIB}"})
    assert memory(root)[0] == GIB


def test_a_memory_limit_of_version_1_counts_and_its_word_for_none_does_not(tree: Tree) -> None:
    group = "sys/fs/cgroup/memory"
    root = tree({**V1, f"{group}/memory.limit_in_bytes": "9223372036854771712\n"})
    assert memory(root) == (24 * GIB, "24 GiB of physical memory")
    tree({f"{group}/memory.limit_in_bytes": f"{GIB // 2}\n"})
    assert memory(root) == (GIB // 2, "cgroup memory limit 512 MiB")


def test_a_limit_above_the_physical_memory_limits_nothing(tree: Tree) -> None:
    root = tree({**V2, f"{V2_GROUP}/memory.max": f"{64 * GIB}"})
    assert memory(root) == (24 * GIB, "24 GiB of physical memory")


def test_both_versions_side_by_side(tree: Tree) -> None:
    """The hybrid layout: controllers in version 1, an empty version 2 beside them."""
    root = tree(
        {
            **MEMINFO,
            "proc/self/cgroup": "4:memory:/job\n0::/\n",
            "proc/self/mountinfo": (
                "40 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
                "41 30 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            ),
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{2 * GIB}",
            "sys/fs/cgroup/unified/cgroup.procs": "",
        }
    )
    assert memory(root)[0] == 2 * GIB


def test_a_group_that_cannot_be_seen_leaves_those_above_it(tree: Tree) -> None:
    root = tree({**V2, "sys/fs/cgroup/cpu.max": "100000 100000"})
    assert cores(root)[0] == 1.0


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_available_counts_the_file_cache_as_free(tree: Tree, version: int) -> None:
    files = (
        {
            **V2,
            f"{V2_GROUP}/memory.max": f"{4 * GIB}",
            f"{V2_GROUP}/memory.current": f"{3 * GIB}",
            f"{V2_GROUP}/memory.stat": f"anon 5\ninactive_file {GIB}\n",
        }
        if version == 2
        else {
            **V1,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{4 * GIB}",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{3 * GIB}",
            "sys/fs/cgroup/memory/memory.stat": f"cache 5\ntotal_inactive_file {GIB}\n",
        }
    )
    assert available_bytes(tree(files)) == 2 * GIB


def test_what_is_available_without_groups_is_what_the_kernel_says(tree: Tree) -> None:
    assert available_bytes(tree(MEMINFO)) == 20 * GIB


def test_a_machine_without_such_files_has_its_hardware(tmp_path: Path) -> None:
    limits = read_machine_limits(tmp_path, num_cores=4, num_usable=4)
    assert limits.cores.cores == 4.0
    assert limits.memory.limit_bytes > 0
    assert available_bytes(tmp_path) is None


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 bytes"), (2048, "2 KiB"), (512 << 20, "512 MiB"), (3 * GIB // 2, "1.5 GiB")],
)
def test_sizes_read_well(num_bytes: int, text: str) -> None:
    assert memory_text(num_bytes) == text
