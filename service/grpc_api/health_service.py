"""grpc.health.v1.Health of our readiness.

The health package's own servicer is not used: it writes to one watcher while it holds what every
other waits for, so that one that does not read keeps all of them from learning anything, and it
forgets those that are left when one of them leaves.
Protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
from collections.abc import Collection

import grpc
from grpc_health.v1 import health_pb2

from service.grpc_transport.call import Call
from service.health import Health

__all__ = ["HEALTH_SERVICE", "health_handler"]

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_Question = health_pb2.HealthCheckRequest
_Status = health_pb2.HealthCheckResponse


def health_handler(readiness: Health, services: Collection[str]) -> grpc.GenericRpcHandler:
    """Tells whether new requests are taken.

    Args:
        readiness: Judges it.
        services: Full names of the services that it holds for; it holds for "", the server, too.
    """
    own = _HealthService(readiness, services)
    methods = {
        "Check": grpc.unary_unary_rpc_method_handler(
            own.check, _Question.FromString, _Status.SerializeToString
        ),
        "Watch": grpc.unary_stream_rpc_method_handler(
            own.watch, _Question.FromString, _Status.SerializeToString
        ),
    }
    return grpc.method_handlers_generic_handler(HEALTH_SERVICE, methods)


class _HealthService:
    def __init__(self, readiness: Health, services: Collection[str]) -> None:
        self._readiness = readiness
        self._services = ("", *services)
        self._has_changed = asyncio.Event()
        readiness.subscribe(self._note_change)

    async def check(self, question: _Question, context: Call) -> _Status:
        if question.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {question.service!r}")
        return self._status(question.service)

    async def watch(self, question: _Question, context: Call) -> None:
        told: _Status | None = None
        while True:
            # Before the status is looked at: what changes while it is written is seen next time.
            has_changed = self._has_changed
            status = self._status(question.service)
            if status != told:
                told = status
                await context.write(status)
            await has_changed.wait()

    def _status(self, service: str) -> _Status:
        if service not in self._services:
            return _Status(status=_Status.SERVICE_UNKNOWN)
        is_ok = self._readiness.ready().is_ok
        return _Status(status=_Status.SERVING if is_ok else _Status.NOT_SERVING)

    def _note_change(self) -> None:
        changed, self._has_changed = self._has_changed, asyncio.Event()
        changed.set()
