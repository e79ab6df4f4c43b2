"""The gRPC server: our service, health with a real Watch, reflection in both of its versions."""

import asyncio
import functools
from collections.abc import Collection
from typing import Protocol, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2_grpc import HealthServicer
from nextword.v1 import text_generation_pb2 as pb

from service.api_keys import ApiKeys
from service.errors import not_offered
from service.glass_box.glass_box import GlassBox
from service.grpc_api.calls import Calls, RpcHandler
from service.grpc_api.glass_box_handlers import GLASS_BOX_SERVICE, glass_box_methods
from service.grpc_api.handlers import Handlers
from service.grpc_api.key_guard import KeyGuard
from service.grpc_api.reflection import REFLECTION_SERVICES, add_reflection
from service.health import Health
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.request_log import RequestLog
from service.text_generator import TextGenerator
from service.transport_limits import MAX_MESSAGE_BYTES, TransportLimits

__all__ = ["GrpcServer"]

SERVICE = pb.DESCRIPTOR.services_by_name["TextGenerationService"].full_name
# The exact limit is ours, with an error of the one table; the library ends what is far above it.
LIBRARY_MESSAGE_BYTES = 2 * MAX_MESSAGE_BYTES
# Streams of one connection; more wait at the client.
MAX_CONNECTION_STREAMS = 1024
MAX_METADATA_BYTES = 16 * 1024
_HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
# Without a glass box.
CLOSED_SERVICES = frozenset((GLASS_BOX_SERVICE, *REFLECTION_SERVICES))


class _Statuses(Protocol):
    async def set(self, service: str, status: int) -> None: ...


class GrpcServer:
    """The whole gRPC surface on one port.

    Args:
        keys: Asked for by every method but those of health; None asks nobody.
        glass_box: Answers how words are chosen; None shows nothing of it, and no reflection.
        address: HOST:PORT; port 0 takes a free one.
        tls: Encrypts every connection; None leaves them in the clear.

    Attributes:
        port: The port that was taken.

    Raises:
        RuntimeError: The port is taken.
    """

    def __init__(
        self,
        generator: TextGenerator,
        models: ServedModels,
        *,
        readiness: Health,
        log: RequestLog,
        metrics: Metrics | None = None,
        limits: TransportLimits | None = None,
        keys: ApiKeys | None = None,
        glass_box: GlassBox | None = None,
        address: str,
        tls: grpc.ServerCredentials | None = None,
    ) -> None:
        limits = limits or TransportLimits()
        metrics = metrics or Metrics()
        self._readiness = readiness
        self._tasks: set[asyncio.Task[None]] = set()
        handlers = Handlers(generator, models)
        make_calls = functools.partial(Calls, log=log, metrics=metrics, limits=limits, keys=keys)
        calls, inspecting = make_calls(SERVICE), make_calls(GLASS_BOX_SERVICE)
        self._calls = (calls, inspecting)
        guards = [] if keys is None else [KeyGuard(keys, calls)]
        self._server = grpc.aio.server(options=_options(limits), interceptors=guards)
        methods = {
            "GenerateText": calls.unary(
                "GenerateText", pb.GenerateTextRequest, handlers.generate_text
            ),
            "StreamGenerateText": calls.stream(
                "StreamGenerateText", pb.StreamGenerateTextRequest, handlers.stream_generate_text
            ),
            "Tokenize": calls.unary("Tokenize", pb.TokenizeRequest, handlers.tokenize),
            "Detokenize": calls.unary("Detokenize", pb.DetokenizeRequest, handlers.detokenize),
            "ListModels": calls.unary("ListModels", pb.ListModelsRequest, handlers.list_models),
            "GetModel": calls.unary("GetModel", pb.GetModelRequest, handlers.get_model),
        }
        # The stubs of the health package leave its asyncio half out.
        servicer = cast("HealthServicer", health.aio.HealthServicer())  # pyright: ignore
        health_pb2_grpc.add_HealthServicer_to_server(servicer, self._server)
        self._statuses = cast("_Statuses", servicer)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, methods),)
        )
        self._services = (SERVICE,)
        if glass_box is None:
            closed = _EveryMethod(calls.refusing(not_offered()), within=CLOSED_SERVICES)
            self._server.add_generic_rpc_handlers((closed,))
        else:
            self._services = (SERVICE, GLASS_BOX_SERVICE)
            shown = glass_box_methods(glass_box, inspecting)
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(GLASS_BOX_SERVICE, shown),)
            )
            add_reflection(self._server, (*self._services, _HEALTH_SERVICE))
        # Asked last, for what nobody before it offers.
        self._server.add_generic_rpc_handlers((_EveryMethod(calls.unknown()),))
        readiness.subscribe(self._follow_health)
        self.port = (
            self._server.add_insecure_port(address)
            if tls is None
            else self._server.add_secure_port(address, tls)
        )

    async def start(self) -> None:
        """Take calls from now on."""
        await self._tell_health()
        await self._server.start()

    async def wait_delivered(self) -> None:
        """Return when every answer of our service has been sent; health watches may go on."""
        for calls in self._calls:
            await calls.wait_delivered()

    async def stop(self) -> None:
        """End what is left (health watches too) and return when the port is free."""
        await self._server.stop(grace=0.5)

    def _follow_health(self) -> None:
        task = asyncio.get_running_loop().create_task(self._tell_health())
        # A task that nobody holds may vanish.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_health(self) -> None:
        status = (
            health_pb2.HealthCheckResponse.SERVING
            if self._readiness.ready().is_ok
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in ("", *self._services):
            await self._statuses.set(service, status)


class _EveryMethod(grpc.GenericRpcHandler):
    """Has the same handler for every method, or for every one of some services."""

    def __init__(self, handler: RpcHandler, *, within: Collection[str] | None = None) -> None:
        self._handler = handler
        self._within = within

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "RpcHandler | None":
        service = handler_call_details.method.strip("/").partition("/")[0]
        return self._handler if self._within is None or service in self._within else None


def _options(limits: TransportLimits) -> list[tuple[str, int]]:
    options = [
        # Two servers on one port would share its calls; the second one must fail instead.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", LIBRARY_MESSAGE_BYTES),
        ("grpc.max_concurrent_streams", MAX_CONNECTION_STREAMS),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
        # Clients may ping a quiet connection every 10 seconds.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Notices within a minute that a peer has lost its power.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Connections are not counted here, so those that do nothing must not stay.
        ("grpc.max_connection_idle_ms", round(limits.idle_timeout_seconds * 1000)),
        ("grpc.server_handshake_timeout_ms", round(limits.receive_timeout_seconds * 1000)),
    ]
    if limits.max_connection_age_seconds > 0:
        options.append(
            ("grpc.max_connection_age_ms", round(limits.max_connection_age_seconds * 1000))
        )
    if limits.max_connection_age_grace_seconds > 0:
        # The library's own default is for ever.
        grace = max(1, round(limits.max_connection_age_grace_seconds * 1000))
        options.append(("grpc.max_connection_age_grace_ms", grace))
    return options
