"""Sampling parameters to and from the fields of JSON."""

import math

from nextword.errors import ErrorFacts, InvalidRequestError
from nextword.json_fields import JsonFields
from nextword.request import SamplingParameters

__all__ = ["parameter_body", "read_parameters"]


def parameter_body(parameters: SamplingParameters) -> dict[str, object]:
    """What is set, as a body has it.

    Raises:
        InvalidRequestError: A number is none that JSON has.
    """
    body = parameters.given()
    for name, value in body.items():
        _check_finite(name, value)
    for bias in (parameters.logit_bias or {}).values():
        _check_finite("logit_bias", bias)
    if parameters.logit_bias is not None:
        # JSON has no other keys than strings.
        biases = parameters.logit_bias.items()
        body["logit_bias"] = {str(token_id): bias for token_id, bias in biases}
    return body


def read_parameters(values: JsonFields) -> SamplingParameters:
    """What was in force.

    Raises:
        ProtocolError: It is none of ours.
    """
    return SamplingParameters(
        max_tokens=values.optional_integer("max_tokens"),
        min_tokens=values.optional_integer("min_tokens"),
        temperature=values.optional_number("temperature"),
        top_k=values.optional_integer("top_k"),
        top_p=values.optional_number("top_p"),
        min_p=values.optional_number("min_p"),
        repetition_penalty=values.optional_number("repetition_penalty"),
        presence_penalty=values.optional_number("presence_penalty"),
        frequency_penalty=values.optional_number("frequency_penalty"),
        seed=values.optional_integer("seed"),
        stop=values.texts("stop") if values.has("stop") else (),
        stop_token_ids=values.integers("stop_token_ids") if values.has("stop_token_ids") else (),
        n=values.optional_integer("n"),
        logit_bias=values.biases("logit_bias") if values.has("logit_bias") else {},
        logprobs=values.optional_integer("logprobs"),
        echo=values.optional_boolean("echo"),
        ignore_eos=values.optional_boolean("ignore_eos"),
    )


def _check_finite(name: str, value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequestError(
            f"{name} must be finite, got {value}",
            facts=ErrorFacts(code="invalid_value", status=400, field=name),
        )
