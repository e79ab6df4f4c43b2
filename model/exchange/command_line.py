"""``nextword-model``: other people's models in, ours out, and a folder looked through.

A user's mistake is one line on the standard error and exit code 2; never a traceback.
"""

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from model.artifact import Artifact
from model.artifact_error import ArtifactError
from model.config import ModelConfig
from model.exchange.number_types import SAFETENSORS_NAMES
from model.exchange.verify import verify_folder

__all__ = ["main"]

_PATH = click.Path(path_type=Path)
_DTYPES = click.Choice([*SAFETENSORS_NAMES])


@click.group()
def _model() -> None:
    """Import models of other programs, export ours, and verify model folders."""


@_model.command("import")
@click.argument("file", type=_PATH)
@click.option("--out", "directory", type=_PATH, required=True, help="A new or empty folder.")
@click.option(
    "--dtype",
    type=_DTYPES,
    help="Type to store the weights in; left out, f16 and bf16 stay and quantised ones become f32.",
)
def import_file(file: Path, directory: Path, dtype: str | None) -> None:
    """Make a model folder out of a GGUF FILE.

    Example: nextword-model import SmolLM2-135M-Instruct.Q4_1.gguf --out models/smollm2
    """
    _need_gguf()
    from model.exchange.import_gguf import import_gguf

    made = import_gguf(file, directory, dtype=dtype)
    types = ", ".join(f"{count} {kind}" for kind, count in sorted(made.stored_as.items()))
    click.echo(f"{directory}: {_shape(made.config)}, stored as {made.dtype}")
    click.echo(f"tensors of the file: {types}")
    template = "with" if made.has_chat_template else "without"
    click.echo(f"tokenizer: byte-level BPE as {made.tokenizer_kind} cuts, {template} chat template")
    click.echo(f"serve it: nextword-serve --model {shlex.quote(str(directory))}")


@_model.command("export")
@click.argument("directory", type=_PATH)
@click.option(
    "--format", "kind", type=click.Choice(["gguf"]), required=True, help="Format of the file."
)
@click.option("--out", "file", type=_PATH, required=True, help="The new file.")
@click.option("--dtype", type=_DTYPES, help="Type of the matrices; left out, the folder's own.")
def export_folder(directory: Path, kind: str, file: Path, dtype: str | None) -> None:
    """Write the model in DIRECTORY as one file that llama.cpp loads.

    Example: nextword-model export artifacts/fairytales/1 --format gguf --out fairytales.gguf
    """
    assert kind == "gguf", "the only choice"
    _need_gguf()
    from model.exchange.export_gguf import export_gguf

    made = export_gguf(directory, file, dtype=dtype)
    click.echo(f"{file}: {_shape(made.config)}, {made.dtype}, {made.size_bytes:,} bytes")
    template = "with" if made.has_chat_template else "without"
    click.echo(f"tokenizer: byte-level BPE as {made.tokenizer_kind} cuts, {template} chat template")


@_model.command("verify")
@click.argument("directory", type=_PATH)
def verify(directory: Path) -> None:
    """Check everything in a model folder: digests, shapes, every weight, the tokenizer."""
    found = verify_folder(directory)
    artifact = found.artifact
    click.echo(f"{directory}: {artifact.name} version {artifact.version}")
    click.echo(f"network: {_shape(artifact.config)}; every value is finite")
    click.echo(f"files: {_files(artifact)}")
    text = "comes" if found.is_lossless else "does not come"
    click.echo(
        f"tokenizer: {found.tokenizer.vocab_size:,} ids; a text in several scripts {text} back "
        "as it was"
    )
    click.echo("nothing wrong")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process with 0, or 2 after a user's mistake."""
    try:
        _model.main(args=arguments, prog_name="nextword-model", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        print("nextword-model: stopped; nothing was written", file=sys.stderr)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ArtifactError as error:
        print(f"nextword-model: {_one_line(str(error))}", file=sys.stderr)
        sys.exit(2)


def _need_gguf() -> None:
    if importlib.util.find_spec("gguf") is None:
        raise ArtifactError("GGUF files need the package gguf: pip install gguf")


def _shape(config: ModelConfig) -> str:
    return (
        f"{config.model_type} of {config.num_parameters:,} parameters, "
        f"{config.num_hidden_layers} layers, vocabulary {config.vocab_size:,}, "
        f"context {config.max_position_embeddings:,}"
    )


def _files(artifact: Artifact) -> str:
    count = len(artifact.weight_files)
    weights = f"{artifact.size_bytes:,} bytes of weights in {count} file{'s' * (count > 1)}"
    if artifact.manifest is None:
        return f"{weights}; no manifest.json, so there is nothing to compare them with"
    return f"{weights}; all digests are those of manifest.json"


def _one_line(text: str) -> str:
    """A message that may quote a foreign file, without what a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
