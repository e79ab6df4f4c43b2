"""``nextword-train evaluate``: how well a model folder predicts a text."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from model.artifact import read_artifact
from model.ngram import NgramModel
from model.tokenizer import Tokenizer
from model.weights import load_transformer
from training.config import ConfigurationError
from training.corpus import CorpusSettings, load_corpus
from training.encoding import encode_documents
from training.evaluate import score_tokens
from training.ngram.training import evaluate_ngram

__all__ = ["evaluate_directory"]


def evaluate_directory(
    directory: Path,
    settings: CorpusSettings,
    *,
    context_length: int,
    device: str,
    as_json: bool,
) -> None:
    """Score every document of a corpus, held-out or not, and print the figures.

    Args:
        directory: A model folder, ours or others'.
        settings: The corpus.
        context_length: Tokens of a window; 0 is the model's own.
        device: Where torch computes.
        as_json: One JSON object instead of lines for people.

    Raises:
        ArtifactError, ConfigurationError, CorpusError, TokenizerError: One line for the user.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("--device is cuda, but torch finds no CUDA device here")
    artifact = read_artifact(directory)
    longest = artifact.config.max_position_embeddings
    if not 0 <= context_length <= longest:
        raise ConfigurationError(
            f"--context must be from 1 to {longest} for this model, got {context_length}"
        )
    tokenizer = Tokenizer.load(directory)
    if tokenizer.end_of_text_id is None:
        raise ConfigurationError(f"{directory}: the tokenizer has no end-of-text token")
    corpus = load_corpus(settings, announce=print if not as_json else _say_nothing)
    tokens = np.concatenate(list(encode_documents(tokenizer, corpus.all_documents())))
    model = load_transformer(directory, device=device)
    score = score_tokens(
        model,
        tokens,
        num_bytes=corpus.statistics.num_bytes,
        context_length=context_length or longest,
        first_id=tokenizer.end_of_text_id,
        device=torch.device(device),
    )
    result: dict[str, object] = {
        "model": f"{artifact.name}@{artifact.version}",
        "bytes": corpus.statistics.num_bytes,
        "context_length": context_length or longest,
        **asdict(score),
    }
    if (directory / "ngram").is_dir():
        ngram = evaluate_ngram(
            NgramModel.load(directory), [tokens], total_bytes=corpus.statistics.num_bytes
        )
        result["ngram_bits_per_byte"] = ngram.bits_per_byte
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")


def _say_nothing(line: str) -> None:
    del line
