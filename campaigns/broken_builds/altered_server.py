"""A server that is broken on purpose, for the controls of campaigns.

`python -m campaigns.broken_builds.altered_server ALTERATION [options of nextword-serve]`: a real
server but for one fault, each of a kind that has been seen in servers.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import fields, replace

from nextword.v1 import text_generation_pb2 as pb

from service.engine_link import engine_launch
from service.generation import GenerationRequest
from service.grpc_api import handlers
from service.main import main
from service.rest_api.bodies import JsonFields

__all__ = ["ALTERATIONS", "ENGINE_VARIABLE"]

# Tells the engine process of an altered server what to break.
ENGINE_VARIABLE = "NEXTWORD_CAMPAIGN_ENGINE_FAULT"


def _break_engine(fault: str) -> None:
    os.environ[ENGINE_VARIABLE] = fault
    engine_launch.ENGINE_MODULE = "campaigns.broken_builds.altered_engine"


def _company_changes_tokens() -> None:
    _break_engine("company")


def _prefixes_are_confused() -> None:
    _break_engine("prefix")


def _zero_is_unset_over_grpc() -> None:
    """The classic `value or default`, in one of the two protocols."""
    read = handlers.read_generation_request

    def altered(
        message: pb.GenerateTextRequest | pb.StreamGenerateTextRequest, *, deadline: float | None
    ) -> GenerationRequest:
        request = read(message, deadline=deadline)
        given = request.parameters
        unset = {each.name: getattr(given, each.name) or None for each in fields(given)}
        return replace(request, parameters=replace(given, **unset))

    handlers.read_generation_request = altered


def _unknown_fields_are_ignored_over_rest() -> None:
    """A misspelt parameter that changes nothing, silently."""

    def altered(self: JsonFields, *, inside: str | None = None) -> None:
        del self, inside

    JsonFields.finish = altered


ALTERATIONS: dict[str, Callable[[], None]] = {
    "company": _company_changes_tokens,
    "prefix": _prefixes_are_confused,
    "zero": _zero_is_unset_over_grpc,
    "unknown": _unknown_fields_are_ignored_over_rest,
}

if __name__ == "__main__":
    ALTERATIONS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
