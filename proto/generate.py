"""Write the Python stubs of the proto files: `python proto/generate.py [--check] [DIRECTORY]`.

The stubs go to clients/python. `proto/published.binpb` holds what the files said last: a change
that would break a client made from it is refused unless --accept-breaking is given. With DIRECTORY
only the stubs are written, there.
With --check nothing is written: the exit status is 1 when stubs or published.binpb are not what the
proto files give.
"""

import argparse
import importlib
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import cast

from google.protobuf.descriptor_pb2 import FileDescriptorSet

PROTO_ROOT = Path(__file__).resolve().parent
STUBS_ROOT = PROTO_ROOT.parent / "clients" / "python"
PUBLISHED = PROTO_ROOT / "published.binpb"
# Beside this interpreter, so that the environment need not be activated.
PROGRAMS = Path(sys.executable).parent
# Stubs refuse runtimes older than their generator. This one is the oldest whose stubs run on Python
# 3.14, and of the oldest protobuf major that is still supported (6, until March 2027); since it
# wants a protobuf older than the environment's, it gets a folder of its own.
GENERATOR = "grpcio-tools==1.76.0"
GENERATOR_ROOT = Path(sys.prefix) / GENERATOR.replace("==", "-")


def install_generator() -> None:
    """Fetch the generator into its folder unless it is there.

    Raises:
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    if not GENERATOR_ROOT.exists():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        subprocess.run([*install, str(GENERATOR_ROOT), GENERATOR], check=True)


def generate(destination: Path) -> None:
    """Write the stubs and their types below ``destination``.

    Raises:
        SystemExit: protoc refused a file; it has said why.
    """
    names = sorted(path.relative_to(PROTO_ROOT).as_posix() for path in PROTO_ROOT.rglob("*.proto"))
    install_generator()
    if str(GENERATOR_ROOT) not in sys.path:
        sys.path.insert(0, str(GENERATOR_ROOT))
    protoc = importlib.import_module("grpc_tools.protoc")
    well_known = resources.files("grpc_tools") / "_proto"
    options = [
        "protoc",
        f"--proto_path={PROTO_ROOT}",
        f"--proto_path={well_known}",
        f"--plugin=protoc-gen-mypy={PROGRAMS / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={PROGRAMS / 'protoc-gen-mypy_grpc'}",
        f"--python_out={destination}",
        f"--grpc_python_out={destination}",
        f"--mypy_out={destination}",
        f"--mypy_grpc_out={destination}",
        *names,
    ]
    status = cast("int", protoc.main(options))  # its types are unknown to checkers
    if status != 0:
        raise SystemExit(status)


def describe(root: Path, destination: Path) -> None:
    """Write what the proto files below ``root`` say, without their comments.

    Raises:
        subprocess.CalledProcessError: buf refused a file; it has said why.
    """
    command = ["build", str(root), "--as-file-descriptor-set", "--exclude-source-info"]
    subprocess.run([PROGRAMS / "buf", *command, "--output", str(destination)], check=True)


def breaking_changes(root: Path, published: Path) -> str:
    """What the files below ``root`` would break for clients of ``published``, a line each."""
    done = subprocess.run(
        [PROGRAMS / "buf", "breaking", str(root), "--against", str(published)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0 and not done.stdout:
        raise SystemExit(done.returncode)  # buf has said why
    return done.stdout


def stub_texts(root: Path) -> dict[str, str]:
    """Relative path and content of every generated file below ``root``."""
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for pattern in ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")
        for path in sorted((root / "nextword").rglob(pattern))
    }


def differing_files(directory: Path) -> list[str]:
    """Names of committed files that are not what the proto files give."""
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        fresh, committed = stub_texts(Path(temporary)), stub_texts(directory)
        described = Path(temporary) / "described.binpb"
        describe(PROTO_ROOT, described)
        is_published = _descriptors(described) == _descriptors(PUBLISHED)
    names = [
        name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name)
    ]
    return sorted(names if is_published else [*names, "proto/published.binpb"])


def main() -> int:
    """Run the command; 1 when --check found a difference or a change would break clients."""
    parser = argparse.ArgumentParser(description="Write the Python stubs of the proto files.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--prepare", action="store_true", help="only fetch the generator")
    parser.add_argument(
        "--accept-breaking", action="store_true", help="write what breaks clients all the same"
    )
    parser.add_argument("directory", nargs="?", type=Path, default=STUBS_ROOT)
    arguments = parser.parse_args()
    if arguments.prepare:
        install_generator()
        return 0
    if arguments.check:
        differing = differing_files(arguments.directory)
        for name in differing:
            print(f"{name} is not what proto/ gives; run `make proto`", file=sys.stderr)
        return 1 if differing else 0
    if arguments.directory != STUBS_ROOT:
        generate(arguments.directory)
        return 0
    broken = breaking_changes(PROTO_ROOT, PUBLISHED) if PUBLISHED.exists() else ""
    if broken and not arguments.accept_breaking:
        print(broken, end="", file=sys.stderr)
        print("This breaks clients; --accept-breaking writes it all the same.", file=sys.stderr)
        return 1
    generate(STUBS_ROOT)
    describe(PROTO_ROOT, PUBLISHED)
    return 0


def _descriptors(path: Path) -> FileDescriptorSet:
    return FileDescriptorSet.FromString(path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
