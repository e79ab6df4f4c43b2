"""The weights in the form of each contestant, made where they are not there yet."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.rivals.random_models import SHAPES, make_folder

__all__ = ["ready_model", "ready_quantized"]


def ready_model(
    folder: Path, shape: str, *, vocabulary_size: int | None = None
) -> tuple[Path, Path]:
    """A folder of random weights and a GGUF file of the same, both in bf16.

    Args:
        folder: Where models are kept between runs.
        shape: Of ``SHAPES``.
        vocabulary_size: Another one than the shape's.
    """
    name = shape if vocabulary_size is None else f"{shape}-{vocabulary_size}"
    weights, gguf = folder / f"{name}-bf16", folder / f"{name}-bf16.gguf"
    if not (weights / "model.safetensors").exists():
        size = vocabulary_size or SHAPES[shape].vocabulary_size
        make_folder(weights, replace(SHAPES[shape], vocabulary_size=size))
    if not gguf.exists():
        command = [sys.executable, "-m", "model", "export", str(weights)]
        subprocess.run([*command, "--format", "gguf", "--out", str(gguf)], check=True)
    return weights, gguf


def ready_quantized(folder: Path, shape: str, kind: str, *, llama_server: Path) -> Path:
    """The same weights as another GGUF file, by the program that comes with llama.cpp's server.

    Args:
        folder: As for ``ready_model``.
        shape: The same.
        kind: ``f16`` or ``q8_0``.
        llama_server: The server's program; ``llama-quantize`` lies beside it.
    """
    _, source = ready_model(folder, shape)
    target = folder / f"{shape}-{kind}.gguf"
    if not target.exists():
        command = [llama_server.with_name("llama-quantize"), source, target, kind.upper()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return target
