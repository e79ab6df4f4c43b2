"""The parameters that choose a token, for calls that look at choices and make no text."""

from dataclasses import replace

from service.errors import unsupported_parameter
from service.parameters import (
    EffectiveParameters,
    ModelDefaults,
    RequestedParameters,
    resolve_parameters,
)

__all__ = ["OTHER_PARAMETERS", "resolve_choosing"]

# Those that choose no token.
OTHER_PARAMETERS = ("max_tokens", "n", "stop", "logprobs", "echo")
_NO_LIMIT = 2**31 - 1


def resolve_choosing(
    requested: RequestedParameters,
    defaults: ModelDefaults,
    *,
    vocabulary_size: int,
) -> EffectiveParameters:
    """Check what was set, and fill in the rest of the parameters that choose a token.

    Args:
        requested: What the client set.
        defaults: What the model says.
        vocabulary_size: Every token id is below it.

    Raises:
        RequestError: A value is out of range, or a parameter is set that chooses no token.
    """
    for name in OTHER_PARAMETERS:
        if getattr(requested, name) is not None:
            raise unsupported_parameter(name, "does not change how a token is chosen")
    return resolve_parameters(
        # Nothing is made, so that only min_tokens is bounded by it, and that by its own limit.
        replace(requested, max_tokens=_NO_LIMIT),
        defaults,
        num_prompt_tokens=1,
        context_tokens=_NO_LIMIT,
        vocabulary_size=vocabulary_size,
    )
