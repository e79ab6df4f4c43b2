"""From a run's best checkpoint to a published version, proven to be what was trained."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import tokenizers
import torch

from model.artifact import read_artifact
from model.store import publish
from model.tokenizer import Tokenizer
from model.transformer import Transformer
from model.weights import load_transformer, save_weights
from training.ngram.training import TrainedNgram
from training.report import model_card, write_report
from training.tokenizer_training import save_tokenizer

__all__ = ["Publication", "PublishingError", "publish_version"]

_PROBE_TOKENS = 48
# Rounding to 8 bits of mantissa, through a dozen layers, on logits of order 10.
_BF16_TOLERANCE = 0.35


class PublishingError(RuntimeError):
    """What was written does not compute what was trained; nothing was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Everything that goes into a version besides the weights.

    Attributes:
        tokenizer: As trained, or as taken over from the parent.
        ngram: None where none was trained.
        log_path: Log of the run, from which report and card are made.
        export_dtype: "f32" or "bf16".
        max_shard_bytes: Largest weights file.
        manifest: Facts to record.
        probe_ids: Ids on which the written model must agree with the trained one.
        text_status: What the user says about the texts; None leaves a warning in the card.
    """

    tokenizer: tokenizers.Tokenizer
    ngram: TrainedNgram | None
    log_path: Path
    export_dtype: str
    max_shard_bytes: int
    manifest: Mapping[str, object]
    probe_ids: Sequence[int]
    text_status: str | None


def publish_version(name_directory: Path, model: Transformer, publication: Publication) -> Path:
    """Write, load back, compare and publish a version; the returned folder is complete.

    Args:
        name_directory: ROOT/NAME of a model store.
        model: With the best weights, in evaluation mode.
        publication: The rest.

    Raises:
        ArtifactError: The disk refused it, or what was written is not readable.
        PublishingError: The folder, loaded back, computes other logits than the model.
    """

    def write(directory: Path) -> None:
        dtype = torch.bfloat16 if publication.export_dtype == "bf16" else torch.float32
        save_weights(model, directory, dtype=dtype, max_shard_bytes=publication.max_shard_bytes)
        save_tokenizer(
            publication.tokenizer, directory, context_length=model.config.max_position_embeddings
        )
        end_id = model.config.eos_token_ids[0]
        defaults = {
            "bos_token_id": end_id,
            "eos_token_id": end_id,
            "do_sample": True,
            "temperature": 0.8,
            "top_k": 50,
        }
        _write_json(directory / "generation_config.json", defaults)
        if publication.ngram is not None:
            publication.ngram.save(directory)
        _check_same_logits(directory, model, publication)
        pictures = write_report(publication.log_path, directory / "report")
        picture = PurePosixPath("report/loss.png")
        has_picture = any(path.name == picture.name for path in pictures)
        files = {
            path.relative_to(directory).as_posix(): path.stat().st_size
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        }
        card = model_card(
            publication.log_path,
            text_status=publication.text_status,
            picture=picture if has_picture else None,
            files=files,
        )
        (directory / "README.md").write_text(card, "utf-8")

    return publish(name_directory, write, manifest=publication.manifest)


@torch.no_grad()
def _check_same_logits(directory: Path, model: Transformer, publication: Publication) -> None:
    """Load the written folder back and compare it with the trained model on a probe (H128)."""
    loaded = load_transformer(directory)
    read_artifact(directory, verify=False)
    Tokenizer.load(directory)
    num_tokens = min(_PROBE_TOKENS, model.config.max_position_embeddings)
    probe = torch.tensor([list(publication.probe_ids[:num_tokens])])
    device = model.output_weight.device
    model.to("cpu")
    difference = float((loaded(probe) - model(probe)).abs().max())
    model.to(device)
    tolerance = _BF16_TOLERANCE if publication.export_dtype == "bf16" else 0.0
    if not difference <= tolerance or math.isnan(difference):
        raise PublishingError(
            f"the written model's logits differ from the trained one's by {difference:g}, "
            f"more than {tolerance:g}"
        )


def _write_json(path: Path, values: Mapping[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")
