"""Inspections from the fields of an answer, whichever protocol brought it."""

import base64
import binascii

from nextword.errors import ProtocolError
from nextword.inspections import (
    CandidateInspection,
    NgramInspection,
    NgramLevel,
    StageInspection,
    TokenInspection,
    TokenView,
)
from nextword.json_fields import JsonFields

__all__ = ["read_inspection", "read_inspections", "read_view"]


def read_inspections(values: JsonFields) -> tuple[TokenInspection, ...]:
    """Those of an answer, if there are any.

    Raises:
        ProtocolError: They are none of ours.
    """
    if not values.has("inspections"):
        return ()
    return tuple(read_inspection(each) for each in values.objects("inspections"))


def read_inspection(values: JsonFields) -> TokenInspection:
    """One position of a text.

    Raises:
        ProtocolError: It is none of ours.
    """
    return TokenInspection(
        position=values.integer("position"),
        token=read_view(values.object("token")),
        byte_start=values.integer("byte_start"),
        byte_end=values.integer("byte_end"),
        ends_text=values.boolean("ends_text"),
        stages=tuple(_stage(each) for each in values.objects("stages")),
        candidates=tuple(_candidate(each) for each in values.objects("candidates")),
        random_word=values.integer("random_word"),
        random_number=values.number("random_number"),
        drawn_token=read_view(values.object("drawn_token")),
        rank=values.integer("rank"),
        surprise_bits=values.number("surprise_bits"),
        chosen_probability=values.number("chosen_probability"),
        logits=_base64(values.text("logits")),
        ngram=_ngram(values.object("ngram")) if values.has("ngram") else None,
    )


def read_view(values: JsonFields) -> TokenView:
    """A token.

    Raises:
        ProtocolError: It is none of ours.
    """
    try:
        data = bytes(values.integers("bytes"))
    except ValueError:
        raise ProtocolError("the server's answer is broken: bytes are no bytes") from None
    return TokenView(
        id=values.integer("id"),
        text=values.text("text"),
        bytes=data,
        is_control=values.boolean("is_control"),
    )


def _stage(values: JsonFields) -> StageInspection:
    return StageInspection(
        stage=values.text("stage"),
        num_kept=values.integer("num_kept"),
        entropy_bits=values.number("entropy_bits"),
        other_probability=values.number("other_probability"),
    )


def _candidate(values: JsonFields) -> CandidateInspection:
    return CandidateInspection(
        token=read_view(values.object("token")),
        logit=values.number("logit"),
        changed_logit=values.optional_number("changed_logit"),
        probabilities=values.numbers("probabilities"),
        removed_by=values.optional_text("removed_by"),
        line_start=values.number("line_start"),
        line_end=values.number("line_end"),
    )


def _ngram(values: JsonFields) -> NgramInspection:
    return NgramInspection(
        order=values.integer("order"),
        window=tuple(read_view(each) for each in values.objects("window")),
        levels=tuple(
            NgramLevel(
                order=level.integer("order"),
                context_ids=level.integers("context_ids"),
                is_known_context=level.boolean("is_known_context"),
                num_continuations=level.integer("num_continuations"),
                discounted_count=level.number("discounted_count"),
                discounted_total=level.number("discounted_total"),
                backoff=level.number("backoff"),
                probability=level.number("probability"),
            )
            for level in values.objects("levels")
        ),
    )


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("the server's answer is broken: logits are not base64") from None
