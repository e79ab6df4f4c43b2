"""What the glass box's JSON bodies ask, as the core's values.

Readers raise RequestError where a field is of the wrong type.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import cast

from service.errors import fields_inside, invalid_value
from service.glass_box.glass_box_values import (
    AttentionRequest,
    GivenText,
    InspectTextRequest,
    ResampleRequest,
    ScoreRequest,
    TimeLimit,
    TokenEmbeddingRequest,
)
from service.glass_box.inspection import InspectionRequest
from service.parameters import RequestedParameters
from service.rest_api.bodies import JsonFields, wrong_type
from service.rest_api.inspection_messages import read_inspect
from service.rest_api.messages import read_parameters

__all__ = [
    "read_attention_body",
    "read_embed_body",
    "read_embedding_body",
    "read_inspect_body",
    "read_resample_body",
    "read_score_body",
]


def read_inspect_body(fields: JsonFields) -> InspectTextRequest:
    """The body of /v1/inspect."""
    return InspectTextRequest(
        given=_given(fields),
        start=fields.integer("start"),
        end=fields.integer("end"),
        num_prompt_tokens=fields.integer("num_prompt_tokens"),
        choice_index=fields.integer("choice_index"),
        parameters=read_parameters(fields),
        inspect=read_inspect(fields) or InspectionRequest(),
    )


def read_resample_body(fields: JsonFields) -> ResampleRequest:
    """The body of /v1/resample."""
    return ResampleRequest(
        model=fields.string("model"),
        logits=_base64("logits", fields.string("logits") or ""),
        ids=fields.integers("ids") or (),
        num_prompt_tokens=fields.integer("num_prompt_tokens"),
        choice_index=fields.integer("choice_index"),
        parameters=_parameter_sets(fields.take("parameters")),
        inspect=read_inspect(fields) or InspectionRequest(),
        limit=_limit(fields),
    )


def read_attention_body(fields: JsonFields) -> AttentionRequest:
    """The body of /v1/attention."""
    return AttentionRequest(
        given=_given(fields),
        # As the proto has it: none named is all.
        layers=fields.integers("layers") or None,
        heads=fields.integers("heads") or None,
        start=fields.integer("start"),
        end=fields.integer("end"),
    )


def read_embedding_body(fields: JsonFields) -> TokenEmbeddingRequest:
    """The body of /v1/embedding."""
    return TokenEmbeddingRequest(
        model=fields.string("model"),
        id=fields.integer("id"),
        text=fields.string("text"),
        neighbours=fields.integer("neighbours"),
        limit=_limit(fields),
    )


def read_embed_body(fields: JsonFields) -> GivenText:
    """The body of /v1/embed-text."""
    return _given(fields)


def read_score_body(fields: JsonFields) -> ScoreRequest:
    """The body of /v1/score."""
    return ScoreRequest(
        given=GivenText(
            model=fields.string("model"),
            text=fields.string("text"),
            ids=fields.integers("ids"),
            limit=_limit(fields),
        ),
        side_by_side=fields.boolean("side_by_side") or False,
        token_surprises=fields.boolean("token_surprises") or False,
    )


def _given(fields: JsonFields) -> GivenText:
    return GivenText(
        model=fields.string("model"),
        text=fields.string("text"),
        ids=fields.integers("ids"),
        parse_special_tokens=fields.boolean("parse_special_tokens") or False,
        limit=_limit(fields),
    )


def _limit(fields: JsonFields) -> TimeLimit:
    return TimeLimit(timeout_seconds=fields.number("timeout_seconds"))


def _base64(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid_value(name, "must be base64") from None


def _parameter_sets(value: object) -> tuple[RequestedParameters, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise wrong_type("parameters", "a list of objects", value)
    sets: list[RequestedParameters] = []
    for index, item in enumerate(cast("list[object]", value)):
        if not isinstance(item, dict):
            raise wrong_type(f"parameters[{index}]", "an object", item)
        fields = JsonFields(cast("Mapping[str, object]", item))
        with fields_inside(f"parameters[{index}]."):
            sets.append(read_parameters(fields))
            fields.finish()
    return tuple(sets)
