"""Installs clients/python alone into fresh environments, and uses it with a real server (network).

`make check-client` runs it, on the versions that the repository pins, on the oldest that the client
allows and on the newest there are: what it checks depends on what pip installs, which no test of
the suite can see in an environment that has everything.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENT = REPOSITORY / "clients" / "python"
PINNED = ("--constraint", str(REPOSITORY / "constraints.txt"))
NOT_WANTED = ("torch", "fastapi", "numpy", "training")
# A program with packages of its own that are named like the server's.
PROGRAM = f"""
import asyncio, importlib.util, sys
from importlib.metadata import version
import model, service
assert (model.WHOSE, service.WHOSE) == ("mine", "mine"), (model, service)
import nextword
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub
for name in nextword.__all__:
    getattr(nextword, name)
found = [name for name in {NOT_WANTED!r} if importlib.util.find_spec(name) is not None]
assert not found, found
PARAMETERS = nextword.SamplingParameters(max_tokens=6, seed=2**63 + 1, logprobs=1)
answers = []

def ask(url):
    with nextword.Client(url) as client:
        answers.append(client.generate("Once", parameters=PARAMETERS).choices)
        with client.stream("Once", parameters=PARAMETERS) as stream:
            answers.append(stream.read_all().choices)
        assert client.glass_box.inspect_text("Once").inspections
        assert client.detokenize([token.id for token in client.tokenize("Once")]) == "Once"
        try:
            client.get_model("nobody")
        except nextword.NotFoundError as error:
            assert error.code == "model_not_found"

async def ask_async(url):
    async with nextword.AsyncClient(url) as client:
        answers.append((await client.generate("Once", parameters=PARAMETERS)).choices)
        async with client.stream("Once", parameters=PARAMETERS) as stream:
            answers.append((await stream.read_all()).choices)

for url in sys.argv[1:]:
    ask(url)
    asyncio.run(ask_async(url))
assert len(answers) == 8 and all(answer == answers[0] for answer in answers), answers
print(*(f"{{name}} {{version(name)}}" for name in ("protobuf", "grpcio", "httpx2")), sep=", ")
"""


def main() -> None:
    """Run every step; the first that fails ends it."""
    # The script's own folder is on the path, the repository is not.
    sys.path.insert(0, str(REPOSITORY))
    from campaigns.live.server_process import running_server
    from campaigns.live.tiny_model import publish_tiny_model

    with tempfile.TemporaryDirectory() as folder:
        tiny = publish_tiny_model(Path(folder) / "tiny")
        flags = ("--model", str(tiny), "--threads", "1", "--dtype", "f32", "--device", "cpu")
        with running_server(*flags) as server:
            urls = (server.rest, f"grpc://{server.grpc}")
            use_library("the pinned versions", PINNED, urls)
            use_library("the oldest versions", oldest(), urls)
            use_library("the newest versions", ("--upgrade",), urls)
            use_command(server.rest)


def oldest() -> list[str]:
    """The floors of what the client needs, as requirements."""
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text("utf-8"))["project"]
    return [re.sub(r">=", "==", need) for need in project["dependencies"]]


def use_library(what: str, requirements: Sequence[str], urls: Sequence[str]) -> None:
    """Install the library beside a program with a `model` and a `service`, and run the program."""
    with tempfile.TemporaryDirectory() as folder:
        environment = new_environment(folder)
        program = environment / "program"
        for name in ("model", "service"):
            (program / name).mkdir(parents=True)
            (program / name / "__init__.py").write_text('WHOSE = "mine"\n', "ascii")
        (program / "main.py").write_text(PROGRAM, "utf-8")
        install(environment, *requirements, str(CLIENT))
        names = top_level_names(environment)
        assert names == {"nextword"}, names
        # A warning is an error: what is deprecated today is gone in somebody's next version.
        done = run(environment, "python", "-W", "error", str(program / "main.py"), *urls)
        print(f"the library with {what}: {done.stdout.strip()}")
        done = run(environment, "nextword", "--version", code=1)
        assert "pip install 'nextword[cli]'" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr


def use_command(url: str) -> None:
    """Install the command too, and type it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = new_environment(folder)
        install(environment, *PINNED, f"{CLIENT}[cli]")
        for command in ("generate", "chat", "inspect", "tokens", "models", "health", "bench"):
            run(environment, "nextword", command, "--help")
        run(environment, "nextword", "generate", "Once", "--url", url, "--max-tokens", "3")
        run(environment, "nextword", "models", "--url", "http://127.0.0.1:9", code=3)
        run(environment, "nextword", "health", "--url", "grpc://127.0.0.1:9", code=1)
        print(f"the command: {run(environment, 'nextword', '--version').stdout.strip()}, all of it")


def new_environment(folder: str) -> Path:
    """A virtual environment in a folder."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return Path(folder)


def install(environment: Path, *what: str) -> None:
    """Install with pip."""
    run(environment, "python", "-m", "pip", "install", "--quiet", *what)


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
