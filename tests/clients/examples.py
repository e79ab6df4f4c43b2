"""The examples in other languages and tools: how each is asked, and how its text is read."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["NAMES", "Example", "new_example"]

CLIENTS = Path(__file__).resolve().parents[2] / "clients"
BUILD_SECONDS = 300


@dataclass(frozen=True)
class Asked:
    """What a test wants of an example; None is the example's own default."""

    prompt: str
    max_tokens: int
    temperature: float | None = None
    seed: int | None = None
    deadline_seconds: float | None = None
    num_pieces: int | None = None

    def parameters(self) -> dict[str, object]:
        """What concerns the tokens, as JSON has it."""
        fields = {"temperature": self.temperature, "seed": self.seed}
        given = {name: value for name, value in fields.items() if value is not None}
        return {"max_tokens": self.max_tokens, **given}


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        protocol: What it speaks.
        command: The command that asks a server, by its address, for something.
        variables: Beside those of the environment.
        read: The text in what it prints.
        leaves_by_itself: Whether it can be told to cancel after so many pieces.
    """

    protocol: str
    command: Callable[[str, Asked], Sequence[str | Path]]
    variables: Callable[[Asked], Mapping[str, str]] = field(default=lambda _: {})
    read: Callable[[str], str] = field(default=lambda out: out.removesuffix("\n"))
    leaves_by_itself: bool = True

    def start(self, address: str, **asked: object) -> "subprocess.Popen[str]":
        """Ask a server for a continuation."""
        wanted = Asked(**asked)  # pyright: ignore[reportArgumentType]
        return subprocess.Popen(
            self.command(address, wanted),
            env={**os.environ, **self.variables(wanted)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )


def _needs(names: Sequence[str], what: str) -> None:
    if missing := [name for name in names if shutil.which(name) is None]:
        pytest.skip(f"{what} is not installed: {', '.join(missing)} cannot be found")


def _options(dash: str, asked: Asked, *, seconds: Callable[[float], str] = str) -> list[str]:
    options = [f"{dash}max-tokens", str(asked.max_tokens)]
    if asked.temperature is not None:
        options += [f"{dash}temperature", str(asked.temperature)]
    if asked.seed is not None:
        options += [f"{dash}seed", str(asked.seed)]
    if asked.deadline_seconds is not None:
        options += [f"{dash}deadline", seconds(asked.deadline_seconds)]
    if asked.num_pieces is not None:
        options += [f"{dash}cancel-after", str(asked.num_pieces)]
    return options


def _node(folder: Path) -> Example:
    del folder
    _needs(("node",), "Node")
    script = CLIENTS / "javascript" / "stream_words.mjs"

    def command(address: str, asked: Asked) -> Sequence[str | Path]:
        return ["node", script, asked.prompt, "--server", address, *_options("--", asked)]

    return Example("rest", command)


def _go(folder: Path) -> Example:
    _needs(("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"), "Go with gRPC")
    if not Path("/usr/share/gocode/src/google.golang.org/grpc").is_dir():
        pytest.skip("Go with gRPC is not installed: golang-google-grpc-dev is missing")
    variables = {**os.environ, "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    _build([CLIENTS / "go" / "build.sh", folder], variables)

    def command(address: str, asked: Asked) -> Sequence[str | Path]:
        options = _options("-", asked, seconds=lambda seconds: f"{seconds}s")
        return [folder / "stream_words", "-address", address, *options, asked.prompt]

    return Example("grpc", command)


def _java(folder: Path) -> Example:
    _needs(("java", "javac", "protoc", "grpc_java_plugin"), "Java with gRPC")
    jars = subprocess.run(
        [CLIENTS / "java" / "debian_jars.sh"], capture_output=True, text=True, check=False
    )
    if jars.returncode:
        pytest.skip(f"Java with gRPC is not installed: {jars.stderr.strip()}")
    _build([CLIENTS / "java" / "build.sh", folder], dict(os.environ))

    def command(address: str, asked: Asked) -> Sequence[str | Path]:
        # One test does not run long enough for what the compiler of the last stage would win.
        words = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}:{jars.stdout.strip()}"]
        return [*words, "StreamWords", asked.prompt, "--address", address, *_options("--", asked)]

    return Example("grpc", command)


def _curl(folder: Path) -> Example:
    del folder
    _needs(("curl",), "curl")

    def variables(asked: Asked) -> Mapping[str, str]:
        fields = asked.parameters()
        if asked.deadline_seconds is not None:
            fields["timeout_seconds"] = asked.deadline_seconds
        return {"NEXTWORD_PARAMETERS": json.dumps(fields)[1:-1]}

    def read(out: str) -> str:
        payloads = [line.removeprefix("data: ") for line in out.split("\n") if line[:5] == "data:"]
        return "".join(json.loads(each)["text"] for each in payloads if each != "[DONE]")

    script = CLIENTS / "curl" / "stream_words.sh"
    return Example(
        "rest",
        lambda address, asked: [script, asked.prompt, address],
        variables,
        read,
        leaves_by_itself=False,
    )


def _grpcurl(folder: Path) -> Example:
    del folder
    _needs(("grpcurl",), "grpcurl")

    def variables(asked: Asked) -> Mapping[str, str]:
        fields = asked.parameters()
        seconds = 60 if asked.deadline_seconds is None else asked.deadline_seconds
        return {
            "NEXTWORD_PARAMETERS": json.dumps(fields)[1:-1],
            "NEXTWORD_SECONDS": str(seconds),
        }

    def read(out: str) -> str:
        decoder, texts, place = json.JSONDecoder(), list[str](), 0
        while place < len(out):
            message, place = decoder.raw_decode(out, place)
            texts.append(message.get("text", ""))
            place += len(out[place:]) - len(out[place:].lstrip())
        return "".join(texts)

    script = CLIENTS / "grpcurl" / "stream_words.sh"
    return Example(
        "grpc",
        lambda address, asked: [script, asked.prompt, address],
        variables,
        read,
        leaves_by_itself=False,
    )


_EXAMPLES = {"node": _node, "go": _go, "java": _java, "curl": _curl, "grpcurl": _grpcurl}
NAMES = tuple(_EXAMPLES)


def new_example(name: str, folder: Path) -> Example:
    """An example, built where it has to be; the test is skipped where its tools are missing."""
    return _EXAMPLES[name](folder)


def _build(command: Sequence[str | Path], variables: Mapping[str, str]) -> None:
    done = subprocess.run(
        command,
        env=variables,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
