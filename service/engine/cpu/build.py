"""Compiles native/ into one shared library beside this file; run as a script when installing.

Needs Python's standard library and a C++ compiler, nothing else. Without a compiler nothing fails:
the service then computes with PyTorch's own operations. The library says what it was made from.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = [
    "LIBRARY",
    "NATIVE",
    "BuildError",
    "build",
    "find_compiler",
    "interface_mark",
    "is_current",
    "sources_mark",
]

NATIVE = Path(__file__).resolve().parent / "native"
LIBRARY = Path(__file__).resolve().parent / "libnextword_cpu.so"
# Set where a build without kernels would be a mistake, as in an image.
REQUIRED_VARIABLE = "NEXTWORD_REQUIRE_KERNELS"

COMPILERS = ("c++", "g++", "clang++")
# Contraction would round as the compiler sees fit, for other numbers of rows otherwise.
FLAGS = (
    *("-std=c++17", "-O3", "-fPIC", "-pthread", "-Wall", "-Wextra"),
    *("-fvisibility=hidden", "-fno-math-errno", "-ffp-contract=off"),
)
# Sources named isa_*.cpp are compiled once for each; which one computes is decided where it runs.
_AVX2 = ("-mavx2", "-mfma", "-mf16c")
_AVX512 = (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni")
X86_SETS: Mapping[str, Sequence[str]] = {
    "avx2": _AVX2,
    "avx512": _AVX512,
    "avx512bf16": (*_AVX512, "-mavx512bf16"),
}
MAX_ERROR_LINES = 20


class BuildError(Exception):
    """The compiler refused a source; the text is what it said."""


def find_compiler(environment: Mapping[str, str] = os.environ) -> list[str] | None:
    """A C++ compiler and options of its own: what CXX says, else the first that is here."""
    named = shlex.split(environment.get("CXX", ""))
    for name, *options in [named] if named else [[compiler] for compiler in COMPILERS]:
        if found := shutil.which(name, path=environment.get("PATH")):
            return [found, *options]
    return None


def interface_mark(native: Path = NATIVE) -> str:
    """Stands for the C interfaces: a library with others must not be called."""
    return _digest(sorted(native.glob("nextword_*.h")))


def sources_mark(native: Path = NATIVE) -> str:
    """Stands for all that the library is made from and for, this file included."""
    files = (path for path in native.iterdir() if path.suffix in {".cpp", ".h"})
    # Two machines may share one checkout.
    system = f"{sys.platform} {platform.machine()}"
    return _digest([Path(__file__), *sorted(files)], system=system)


def is_current(library: Path = LIBRARY, native: Path = NATIVE) -> bool:
    """Whether a library was made from the sources as they are, for a system like this one."""
    return library.exists() and sources_mark(native).encode() in library.read_bytes()


def build(compiler: Sequence[str], *, library: Path = LIBRARY, native: Path = NATIVE) -> None:
    """Compile all sources and put the library in its place at once.

    Args:
        compiler: A C++ compiler that takes GCC's options, and some of them.
        library: Replaced only when everything is compiled; whoever uses the old one keeps it.
        native: Holds the sources.

    Raises:
        BuildError: The compiler refused a source.
        OSError: It cannot be run, or the library's folder cannot be written to.
    """
    # Beside the library, which then is replaced at once; each build has a folder of its own.
    with tempfile.TemporaryDirectory(prefix=".build-", dir=library.parent) as folder:
        marks = Path(folder) / "marks.cpp"
        marks.write_text(_marks(native))
        sets = _known_sets(compiler, marks)
        known = [f"-DNEXTWORD_HAS_{name.upper()}=1" for name in sets]
        jobs: list[tuple[Path, Path, Sequence[str]]] = [(marks, Path(folder) / "marks.o", ())]
        for source in sorted(native.glob("*.cpp")):
            variants = {"baseline": (), **sets} if source.name.startswith("isa_") else {"": ()}
            for name, options in variants.items():
                compiled = Path(folder) / f"{source.stem}-{name}.o"
                chosen = (f"-DNEXTWORD_ISA={name}",) if name else ()
                jobs.append((source, compiled, (*known, *chosen, *options)))

        def compile_one(job: tuple[Path, Path, Sequence[str]]) -> None:
            source, compiled, options = job
            _run([*compiler, *FLAGS, *options, "-c", str(source), "-o", str(compiled)])

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
            list(threads.map(compile_one, jobs))
        linked = Path(folder) / library.name
        objects = [str(compiled) for _, compiled, _ in jobs]
        _run([*compiler, "-shared", "-pthread", *objects, "-o", str(linked)])
        linked.replace(library)


def _known_sets(compiler: Sequence[str], source: Path) -> Mapping[str, Sequence[str]]:
    """The sets of instructions beyond the least that a compiler knows, with its options."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return {}
    return {
        name: options
        for name, options in X86_SETS.items()
        if _succeeds([*compiler, *FLAGS, *options, "-fsyntax-only", str(source)])
    }


def _marks(native: Path) -> str:
    exported = 'extern "C" __attribute__((visibility("default"), used)) const char'
    return (
        f'{exported} nextword_cpu_interface[] = "{interface_mark(native)}";\n'
        f'{exported} nextword_cpu_sources[] = "{sources_mark(native)}";\n'
    )


def _digest(files: Sequence[Path], *, system: str = "") -> str:
    digest = hashlib.sha256(system.encode())
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[:MAX_ERROR_LINES]
        raise BuildError("\n".join([f"{Path(command[0]).name} failed:", *said]))


def _wanted_compilers() -> str:
    named = os.environ.get("CXX")
    return f"CXX={named} is not here" if named else "g++ or clang++"


def _can_be_loaded(library: Path) -> bool:
    try:
        ctypes.CDLL(str(library))
    except OSError:
        return False
    return True


def main() -> int:
    """Build what is not current, and say in one line what was done."""
    is_required = os.environ.get(REQUIRED_VARIABLE, "") not in ("", "0")
    if is_current() and _can_be_loaded(LIBRARY):
        print("The CPU kernels are built already")
        return 0
    compiler = find_compiler()
    if compiler is None:
        print(
            f"No C++ compiler ({_wanted_compilers()}): the service will compute with "
            "PyTorch's operations, several times slower than with kernels of its own",
            file=sys.stderr,
        )
        return int(is_required)
    try:
        build(compiler)
    except (BuildError, OSError) as error:
        print(
            f"The CPU kernels cannot be built, PyTorch computes instead: {error}", file=sys.stderr
        )
        return int(is_required)
    print(f"CPU kernels built by {shlex.join(compiler)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
