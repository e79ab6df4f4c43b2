"""The sampling parameters that a load test adds to each request of the native API."""

import json
from collections.abc import Mapping
from dataclasses import fields

from nextword.bench.plan_error import PlanError
from nextword.errors import ProtocolError
from nextword.json_fields import JsonFields
from nextword.parameter_fields import read_parameters
from nextword.request import SamplingParameters

__all__ = ["read_native_parameters"]

_NAMES = {field.name for field in fields(SamplingParameters)}


def read_native_parameters(values: Mapping[str, object]) -> SamplingParameters:
    """What is given, with types that the API has; the server looks at the values.

    Raises:
        PlanError: There is no such parameter, or it cannot have such a type.
    """
    if unknown := sorted(values.keys() - _NAMES):
        raise PlanError(f"--parameter {unknown[0]}: the native API has no such parameter")
    try:
        return read_parameters(JsonFields(values))
    except ProtocolError:
        given = json.dumps(dict(values))
        raise PlanError(f"--parameter: one has a type that it cannot have: {given}") from None
