"""Servers and libraries that answer the same load, each started and measured in the same way.

Ours and llama.cpp's are asked over HTTP by `nextword bench`; OpenVINO GenAI has no server in its
package and is asked in its own process.
"""

import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import httpx2

__all__ = ["Contestant", "Level", "LlamaServer", "OpenVino", "Ours", "RivalMissingError", "Sample"]

READY_SECONDS = 180
RUN_SECONDS = 900
OPENVINO_LOOP = Path(__file__).with_name("openvino_loop.py")


class RivalMissingError(Exception):
    """A rival, or a file that it needs, is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load: so many streams at once, each with its next request when its last one has ended."""

    streams: int
    requests: int
    prompt_tokens: int
    max_tokens: int
    vocabulary_size: int
    seed: int = 0
    parameters: Mapping[str, float] = field(default_factory=lambda: {"temperature": 0.0})
    shared_prefix_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one turn brought. Seconds; None where a library in process does not tell.

    Attributes:
        tokens_per_second: Generated tokens over the time of the whole turn.
        first_token_p50: From the request to its first token.
        between_p50: Between two tokens of a stream.
        between_p99: The same.
    """

    tokens_per_second: float
    first_token_p50: float | None = None
    between_p50: float | None = None
    between_p99: float | None = None


class Contestant(Protocol):
    """Something that generates tokens, running."""

    @property
    def name(self) -> str:
        """As the tables call it."""
        ...

    @property
    def version(self) -> str:
        """As it says itself."""
        ...

    @property
    def process_id(self) -> int:
        """The process whose children and itself do the work."""
        ...

    def measure(self, level: Level) -> Sample:
        """One turn."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class _HttpContestant:
    """A server with OpenAI's API, in a process of its own."""

    def __init__(
        self, name: str, command: Sequence[str], port: int, health: str, *, version: str
    ) -> None:
        self.name = name
        self.version = version
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the server)
        self._url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self.ready_seconds = self._wait_until_ready(self._url + health)

    @property
    def process_id(self) -> int:
        """The server's."""
        return self._process.pid

    def measure(self, level: Level) -> Sample:
        """Ask through the load tester; every request must get its exact number of tokens."""
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            command = [
                *(sys.executable, "-m", "nextword", "bench", "--url", self._url, "--api", "openai"),
                *("--concurrency", str(level.streams), "--requests", str(level.requests)),
                *("--prompt-tokens", str(level.prompt_tokens)),
                *("--max-tokens", str(level.max_tokens), "--warmup", str(level.streams)),
                *("--vocabulary-size", str(level.vocabulary_size), "--seed", str(level.seed)),
                *("--shared-prefix-tokens", str(level.shared_prefix_tokens)),
                *("--output", str(report)),
            ]
            for name, value in level.parameters.items():
                # The load tester has an option of its own for this one.
                own = [f"--{name}", str(value)]
                other = ["--parameter", f"{name}={value}"]
                command += own if name == "temperature" else other
            done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
            if done.returncode != 0:
                raise RuntimeError(f"{self.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
            (result,) = json.loads(report.read_text())["levels"]
        if result["num_ok"] != level.requests:
            raise RuntimeError(f"{self.name}: failures {result['errors']}")
        return Sample(
            tokens_per_second=result["output_tokens_per_second"],
            first_token_p50=result["first_token_seconds"]["p50"],
            between_p50=result["between_tokens_seconds"]["p50"],
            between_p99=result["between_tokens_seconds"]["p99"],
        )

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait_until_ready(self, url: str) -> float:
        began = time.monotonic()
        with httpx2.Client(timeout=5, trust_env=False) as client:
            while time.monotonic() - began < READY_SECONDS:
                if self._process.poll() is not None:
                    break
                try:
                    if client.get(url).status_code == 200:
                        return time.monotonic() - began
                except httpx2.TransportError:
                    pass
                time.sleep(0.05)
        self._process.kill()
        self._log.seek(0)
        said = self._log.read()[-1500:].decode(errors="replace")
        raise RuntimeError(f"{self.name} did not become ready:\n{said}")


class Ours(_HttpContestant):
    """Nextword's service."""

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str,
        context_tokens: int,
        max_running: int = 64,
        options: Sequence[str] = (),
    ) -> None:
        port = _free_port()
        command = [
            *(sys.executable, "-m", "service", "--model", str(folder), "--dtype", dtype),
            *("--rest-port", str(port), "--grpc-port", "0"),
            *("--max-running", str(max_running)),
            *("--max-context", str(context_tokens), "--max-queued", "1024", *options),
        ]
        version = importlib.metadata.version("nextword-service")
        super().__init__("nextword", command, port, "/readyz", version=version)


class LlamaServer(_HttpContestant):
    """llama.cpp's server: two threads, one slot for each stream."""

    def __init__(
        self,
        program: Path,
        weights: Path,
        *,
        streams: int,
        context_tokens: int,
        threads: int = 2,
        options: Sequence[str] = (),
    ) -> None:
        for needed in (program, weights):
            if not needed.exists():
                raise RivalMissingError(f"{needed} is not there")
        port = _free_port()
        command = [
            *(str(program), "-m", str(weights), "--host", "127.0.0.1", "--port", str(port)),
            *("-t", str(threads), "-np", str(streams), "-c", str(streams * context_tokens)),
            *("--no-webui", *options),
        ]
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        version = " ".join((said.stdout + said.stderr).split())
        super().__init__("llama.cpp server", command, port, "/health", version=version)


class OpenVino:
    """OpenVINO GenAI's continuous batching, in a process of its own without HTTP."""

    name = "OpenVINO GenAI"

    def __init__(self, python: Path, weights: Path, *, streams: int, threads: int = 2) -> None:
        for needed in (python, weights):
            if not needed.exists():
                raise RivalMissingError(f"{needed} is not there")
        command = [str(python), str(OPENVINO_LOOP), str(weights), str(streams), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        ready = self._read()
        self.version = str(ready.get("version"))
        if not ready.get("ready"):
            raise RivalMissingError(f"OpenVINO GenAI does not start: {ready}")

    @property
    def process_id(self) -> int:
        """Of the process that it runs in."""
        return self._process.pid

    def measure(self, level: Level) -> Sample:
        """Waves of as many requests as there are streams, all of equal length."""
        assert self._process.stdin is not None
        ask = {
            "streams": level.streams,
            "waves": max(1, level.requests // level.streams),
            "prompt_tokens": level.prompt_tokens,
            "max_tokens": level.max_tokens,
            "vocabulary_size": level.vocabulary_size,
            "seed": level.seed,
        }
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        return Sample(tokens_per_second=cast("float", answer["tokens_per_second"]))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict[str, object]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # The library prints lines of its own.
            if line.startswith("{"):
                return cast("dict[str, object]", json.loads(line))
        raise RivalMissingError("OpenVINO GenAI ended; is it installed for that Python?")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return cast("int", listening.getsockname()[1])
