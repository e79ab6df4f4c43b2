"""Asks for an API key before a call is given to anybody: of every method but health's.

A method that is new is closed, and so are reflection and methods that nobody offers.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar, cast

import grpc
from grpc_health.v1 import health_pb2

from service.api_keys import ApiKeys
from service.errors import RequestError
from service.grpc_api.calls import Calls, authorizations

__all__ = ["OPEN_METHODS", "KeyGuard"]

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
# The library's classes take no parameters at run time.
Handler: TypeAlias = "grpc.RpcMethodHandler[RequestT, ResponseT] | None"
Continue: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler[RequestT, ResponseT]]]"

_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
OPEN_METHODS = frozenset(f"/{_HEALTH.full_name}/{method.name}" for method in _HEALTH.methods)


class KeyGuard(grpc.aio.ServerInterceptor):
    """Stands before all handlers.

    Args:
        keys: Those that open a method.
        calls: Makes the handler that refuses.
    """

    def __init__(self, keys: ApiKeys, calls: Calls) -> None:
        self._keys = keys
        self._calls = calls

    async def intercept_service(
        self,
        continuation: "Continue[RequestT, ResponseT]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler[RequestT, ResponseT]":
        """The handler of a call: the one that would have it, or one that refuses."""
        if handler_call_details.method not in OPEN_METHODS:
            try:
                self._keys.demand(authorizations(handler_call_details.invocation_metadata))
            except RequestError as error:
                # It reads no message, whatever their type is.
                return cast("Handler[RequestT, ResponseT]", self._calls.refusing(error))
        return await continuation(handler_call_details)
