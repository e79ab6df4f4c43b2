"""Installs clients/python alone into a fresh environment, uses it, and then its command (network).

`make check-client` runs it: what it checks depends on what pip installs, which no test of the suite
can see in an environment that has everything.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_WANTED = ("torch", "fastapi", "numpy", "service", "model", "training")
USE_LIBRARY = f"""
import importlib.util
import nextword
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub
names = [getattr(nextword, name) for name in nextword.__all__]
with nextword.Client("http://127.0.0.1:9") as rest, nextword.Client("grpc://127.0.0.1:9") as rpc:
    for client in (rest, rpc):
        try:
            client.list_models()
        except nextword.ConnectionFailedError as error:
            assert "nobody answers" in str(error)
        else:
            raise SystemExit("a server answers on port 9")
found = [name for name in {NOT_WANTED!r} if importlib.util.find_spec(name) is not None]
assert not found, found
"""


def main() -> None:
    """Run every step; the first that fails ends it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        install(environment, str(REPOSITORY / "clients/python"))
        run(environment, "python", "-c", USE_LIBRARY)
        names = top_level_names(environment)
        assert names == {"nextword"}, names
        print("the library alone: imports, speaks both protocols, brings no torch")
        done = run(environment, "nextword", "--version", code=1)
        assert "pip install 'nextword[cli]'" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        print("the command without its extra: one line that says what to install")
        install(environment, f"{REPOSITORY / 'clients/python'}[cli]")
        for command in ("generate", "tokens", "models", "health", "bench"):
            run(environment, "nextword", command, "--help")
        run(environment, "nextword", "models", "--url", "http://127.0.0.1:9", code=3)
        run(environment, "nextword", "health", "--url", "grpc://127.0.0.1:9", code=1)
        print(f"the command: {run(environment, 'nextword', '--version').stdout.strip()}, all of it")


def install(environment: Path, what: str) -> None:
    """Install with the versions that the repository pins."""
    constraints = ("--constraint", str(REPOSITORY / "constraints.txt"))
    run(environment, "python", "-m", "pip", "install", "--quiet", *constraints, what)


def run(
    environment: Path, program: str, *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment far from the checkout; it must end with the code."""
    done = subprocess.run(
        [environment / "bin" / program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=environment,
    )
    assert done.returncode == code, (program, arguments, done.returncode, done.stdout, done.stderr)
    return done


def top_level_names(environment: Path) -> set[str]:
    """What the distribution adds to the names that can be imported."""
    script = (
        "from importlib.metadata import files; "
        "print(*{path.parts[0] for path in files('nextword') if path.suffix == '.py'})"
    )
    return set(run(environment, "python", "-c", script).stdout.split())


if __name__ == "__main__":
    main()
