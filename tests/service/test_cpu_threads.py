"""The kernels' own threads: idle ones sleep on every system, and too many are refused in a line."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from service.engine.cpu import build
from service.engine.cpu.kernel_library import LibraryError
from service.engine.cpu.threads import thread_pool

# Jobs of all sizes, then a wait for a line, twice; 1 where a piece was lost or done twice.
PROGRAM = """
#include <stdio.h>
#include "pool.h"
int main() {
    nextword_pool *pool = nextword_pool::create(4);
    if (pool == nullptr) return 2;
    for (int round = 0; round < 2; round++) {
        for (int job = 0; job < 2000; job++) {
            const int pieces = job % 17;
            std::atomic<int> sum{0};
            pool->run(pieces, [&](int piece) { sum += piece + 1; });
            if (sum != pieces * (pieces + 1) / 2) return 1;
        }
        puts("idle");
        fflush(stdout);
        getchar();
    }
    delete pool;
    return 0;
}
"""
WAIT_SECONDS = 20.0


def states_of_threads(process_id: int) -> set[str]:
    tasks = Path(f"/proc/{process_id}/task")
    return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks.iterdir()}


@pytest.mark.parametrize("flags", [(), ("-DNEXTWORD_WITHOUT_FUTEX",)], ids=["futex", "condition"])
def test_threads_without_a_job_sleep(flags: tuple[str, ...], tmp_path: Path) -> None:
    """Without Linux's futex too, as on macOS, where they would otherwise turn for ever."""
    compiler = build.find_compiler()
    assert compiler is not None
    (tmp_path / "main.cpp").write_text(PROGRAM)
    sources = [str(tmp_path / "main.cpp"), str(build.NATIVE / "pool.cpp")]
    options = ["-std=c++17", "-O1", "-pthread", f"-I{build.NATIVE}", *flags]
    program = tmp_path / "pool"
    subprocess.run([*compiler, *options, *sources, "-o", str(program)], check=True)
    with subprocess.Popen(
        [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for _ in range(2):
                assert process.stdout.readline() == "idle\n"
                end = time.monotonic() + WAIT_SECONDS
                while states_of_threads(process.pid) != {"S"} and time.monotonic() < end:
                    os.sched_yield()
                assert states_of_threads(process.pid) == {"S"}
                process.stdin.write("\n")
                process.stdin.flush()
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            process.kill()


def test_more_threads_than_the_kernels_have_is_a_line_for_the_operator() -> None:
    with pytest.raises(LibraryError, match=r"from 1 to 1024 threads \(--threads\), got 2000"):
        thread_pool(2000)


def test_threads_that_the_system_does_not_give_are_a_line_for_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*_: object) -> None:
        raise MemoryError("no thread")

    monkeypatch.setattr("service.engine.cpu.threads.new_handle", none_left)
    with pytest.raises(LibraryError, match=r"1003 threads \(--threads\), more than this system"):
        thread_pool(1003)
