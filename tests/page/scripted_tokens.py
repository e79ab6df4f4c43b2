"""Inspections of tokens that no real model would make, in the shapes of the native API.

The numbers are those of a sampler at temperature 1 that cuts nothing, so that they agree with one
another and the page computes the same from the logits.
"""

import base64
import itertools
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

Event: TypeAlias = dict[str, object]

VOCABULARY = 512
LARGEST_WEIGHT = 2**30
STAGES = ("model", "penalties", "bias", "temperature", "top_k", "top_p", "min_p")
_IDS: dict[bytes, int] = {}


def token_id(content: bytes) -> int:
    """The id of some bytes, the same whenever they are asked for; 0 ends a text."""
    assert len(_IDS) < VOCABULARY - 1
    return _IDS.setdefault(content, len(_IDS) + 1)


def content_of(token: int) -> bytes | None:
    """The bytes of an id; None of the one that ends a text."""
    return next((content for content, known in _IDS.items() if known == token), None)


def view(content: bytes | None) -> Event:
    """A token as the API shows it; None is the one that ends a text."""
    if content is None:
        return {"id": 0, "text": "<|end|>", "bytes": [], "is_control": True}
    return {
        "id": token_id(content),
        "text": content.decode("utf-8", "backslashreplace"),
        "bytes": list(content),
        "is_control": False,
    }


def inspection(
    content: bytes | None,
    rivals: Sequence[bytes] = (),
    *,
    likelihood: float = 0.25,
    position: int = 0,
) -> Event:
    """How a token came about that was as likely as this; each rival was less and less so."""
    listed = [content, *(rival for rival in rivals if rival != content)]
    views = [view(each) for each in listed]
    ids = [int(str(each["id"])) for each in views]
    shares = [likelihood / (place + 1) for place in range(len(ids))]
    rest = max(1e-9, 1 - sum(shares)) / (VOCABULARY - len(ids))
    logits = np.full(VOCABULARY, math.log(rest), dtype=np.float32)
    for each, share in zip(ids, shares, strict=True):
        logits[each] = math.log(share)
    scaled = np.exp((logits - logits.max()).astype(np.float64))
    probabilities = scaled / scaled.sum()
    weights = [round(float(each) * LARGEST_WEIGHT) for each in scaled]
    ends = [running / sum(weights) for running in itertools.accumulate(weights)]
    word = int((ends[ids[0]] - probabilities[ids[0]] / 2) * 2**32)
    entropy = float(-(probabilities * np.log2(probabilities)).sum())
    order = sorted(range(len(ids)), key=lambda place: (-logits[ids[place]], ids[place]))
    return {
        "position": position,
        "token": views[0],
        "byte_start": 0,
        "byte_end": len(content or b""),
        "ends_text": content is None,
        "stages": [
            {"stage": name, "num_kept": VOCABULARY, "entropy_bits": entropy} for name in STAGES
        ],
        "candidates": [
            {
                "token": views[place],
                "logit": float(logits[ids[place]]),
                "changed_logit": float(logits[ids[place]]),
                "probabilities": [float(probabilities[ids[place]])] * len(STAGES),
                "removed_by": None,
                "line_start": float(ends[ids[place]] - probabilities[ids[place]]),
                "line_end": float(ends[ids[place]]),
            }
            for place in order
        ],
        "random_word": word,
        "random_number": word / 2**32,
        "drawn_token": views[0],
        "rank": 1,
        "surprise_bits": -math.log2(probabilities[ids[0]]),
        "chosen_probability": float(probabilities[ids[0]]),
        "logits": base64.b64encode(logits.astype("<f4").tobytes()).decode(),
        "ngram": None,
    }


def tokenized(text: str) -> list[Event]:
    """The tokens of a text: its words, each with the space before it."""
    tokens: list[Event] = []
    start = 0
    for piece in text.replace(" ", "\0 ").split("\0"):
        content = piece.encode()
        if not content:
            continue
        end = start + len(content)
        tokens.append({"id": token_id(content), "text": piece, "start": start, "end": end})
        start = end
    return tokens
