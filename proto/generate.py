"""Write the Python stubs of the proto files: `python proto/generate.py [--check] [DIRECTORY]`.

The stubs go to clients/python (or DIRECTORY). With --check nothing is written: the exit status is 1
when the committed stubs are not what the committed proto files give.
"""

import argparse
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import cast

from grpc_tools import protoc

PROTO_ROOT = Path(__file__).resolve().parent
STUBS_ROOT = PROTO_ROOT.parent / "clients" / "python"


def generate(destination: Path) -> None:
    """Write the stubs and their types below ``destination``.

    Raises:
        SystemExit: protoc refused a file; it has said why.
    """
    names = sorted(path.relative_to(PROTO_ROOT).as_posix() for path in PROTO_ROOT.rglob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    # Beside this interpreter, so that the environment need not be activated.
    plugins = Path(sys.executable).parent
    options = [
        "protoc",
        f"--proto_path={PROTO_ROOT}",
        f"--proto_path={well_known}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--python_out={destination}",
        f"--grpc_python_out={destination}",
        f"--mypy_out={destination}",
        f"--mypy_grpc_out={destination}",
        *names,
    ]
    status = cast("int", protoc.main(options))  # its types are unknown to checkers
    if status != 0:
        raise SystemExit(status)


def stub_texts(root: Path) -> dict[str, str]:
    """Relative path and content of every generated file below ``root``."""
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for pattern in ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")
        for path in sorted((root / "nextword").rglob(pattern))
    }


def main() -> int:
    """Run the command; 1 when --check found a difference."""
    parser = argparse.ArgumentParser(description="Write the Python stubs of the proto files.")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("directory", nargs="?", type=Path, default=STUBS_ROOT)
    arguments = parser.parse_args()
    if not arguments.check:
        generate(arguments.directory)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        generate(Path(temporary))
        fresh, committed = stub_texts(Path(temporary)), stub_texts(arguments.directory)
    differing = sorted(
        name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name)
    )
    for name in differing:
        print(f"{name} is not what proto/ gives; run `make proto`", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
