"""Inspections as JSON, in generated answers and in those of the glass box."""

import base64
from collections.abc import Iterable

import msgspec

from service.glass_box.inspection import (
    CandidateInspection,
    InspectionRequest,
    NgramInspection,
    TokenInspection,
    TokenView,
)
from service.rest_api.bodies import JsonFields

__all__ = ["inspection_object", "raw_list", "read_inspect", "token_view_object"]


def read_inspect(fields: JsonFields) -> InspectionRequest | None:
    """What the field `inspect` asks; None where there is none.

    Raises:
        RequestError: A field of it is unknown or of the wrong type.
    """
    inner = fields.fields("inspect")
    if inner is None:
        return None
    candidates, logits = inner.integer("candidates"), inner.boolean("logits")
    inner.finish(inside="inspect")
    usual = InspectionRequest()
    return InspectionRequest(
        candidates=usual.candidates if candidates is None else candidates,
        logits=usual.logits if logits is None else logits,
    )


def raw_list(objects: Iterable[object]) -> msgspec.Raw:
    """A list as JSON, made one by one: together they may take a hundred megabytes before."""
    return msgspec.Raw(b"[%b]" % b",".join(map(msgspec.json.encode, objects)))


def inspection_object(inspection: TokenInspection) -> dict[str, object]:
    """One position of a text."""
    return {
        "position": inspection.position,
        "token": token_view_object(inspection.token),
        "byte_start": inspection.byte_start,
        "byte_end": inspection.byte_end,
        "ends_text": inspection.ends_text,
        "stages": inspection.stages,
        "candidates": [_candidate_object(each) for each in inspection.candidates],
        "random_word": inspection.random_word,
        "random_number": inspection.random_number,
        "drawn_token": token_view_object(inspection.drawn_token),
        "rank": inspection.rank,
        "surprise_bits": inspection.surprise_bits,
        "chosen_probability": inspection.chosen_probability,
        "logits": base64.b64encode(inspection.logits).decode("ascii"),
        "ngram": None if inspection.ngram is None else _ngram_object(inspection.ngram),
    }


def token_view_object(token: TokenView) -> dict[str, object]:
    """A token; its bytes as numbers, as logprobs have them."""
    return {
        "id": token.id,
        "text": token.text,
        "bytes": list(token.bytes),
        "is_control": token.is_control,
    }


def _candidate_object(candidate: CandidateInspection) -> dict[str, object]:
    return {
        "token": token_view_object(candidate.token),
        "logit": candidate.logit,
        "changed_logit": candidate.changed_logit,
        "probabilities": candidate.probabilities,
        "removed_by": candidate.removed_by,
        "line_start": candidate.line_start,
        "line_end": candidate.line_end,
    }


def _ngram_object(ngram: NgramInspection) -> dict[str, object]:
    return {
        "order": ngram.order,
        "window": [token_view_object(token) for token in ngram.window],
        "levels": ngram.levels,
    }
