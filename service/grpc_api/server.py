"""The gRPC server: our service, health with a real Watch, reflection in both of its versions."""

import functools
import socket
import ssl
from collections.abc import Collection

import grpc
from nextword.v1 import text_generation_pb2 as pb

from service.api_keys import ApiKeys
from service.errors import not_offered
from service.glass_box.glass_box import GlassBox
from service.grpc_api.calls import Calls, RpcHandler
from service.grpc_api.glass_box_handlers import GLASS_BOX_SERVICE, glass_box_methods
from service.grpc_api.handlers import Handlers
from service.grpc_api.health_service import HEALTH_SERVICE, health_handler
from service.grpc_api.key_guard import KeyGuard
from service.grpc_api.reflection import REFLECTION_SERVICES, add_reflection
from service.grpc_transport.connection_limits import ConnectionLimits
from service.grpc_transport.server import TransportServer
from service.health import Health
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.request_log import RequestLog
from service.text_generator import TextGenerator
from service.transport_limits import MAX_MESSAGE_BYTES, TransportLimits

__all__ = ["GrpcServer"]

SERVICE = pb.DESCRIPTOR.services_by_name["TextGenerationService"].full_name
# The exact limit is ours, with an error of the one table; the transport ends what is far above it.
_TRANSPORT_MESSAGE_BYTES = 2 * MAX_MESSAGE_BYTES
# Streams of one connection; more wait at the client.
MAX_CONNECTION_STREAMS = 1024
# Without a glass box.
CLOSED_SERVICES = frozenset((GLASS_BOX_SERVICE, *REFLECTION_SERVICES))


class GrpcServer:
    """The whole gRPC surface on one port.

    Args:
        keys: Asked for by every method but those of health; None asks nobody.
        glass_box: Answers how words are chosen; None shows nothing of it, and no reflection.
        listener: Where calls come; the server's own from now on.
        tls: Encrypts every connection; None leaves them in the clear.

    Attributes:
        port: The port that was taken.
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
        listener: socket.socket,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        limits = limits or TransportLimits()
        metrics = metrics or Metrics()
        handlers = Handlers(generator, models)
        make_calls = functools.partial(Calls, log=log, metrics=metrics, limits=limits, keys=keys)
        calls, inspecting = make_calls(SERVICE), make_calls(GLASS_BOX_SERVICE)
        self._calls = (calls, inspecting)
        guards = [] if keys is None else [KeyGuard(keys, calls)]
        self._server = TransportServer(
            listener,
            _connection_limits(limits),
            max_connections=limits.max_connections,
            tls=tls,
            interceptors=guards,
        )
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
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, methods),)
        )
        services = (SERVICE,)
        if glass_box is None:
            closed = _EveryMethod(calls.refusing(not_offered()), within=CLOSED_SERVICES)
            self._server.add_generic_rpc_handlers((closed,))
        else:
            services = (SERVICE, GLASS_BOX_SERVICE)
            shown = glass_box_methods(glass_box, inspecting)
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(GLASS_BOX_SERVICE, shown),)
            )
            add_reflection(self._server, (*services, HEALTH_SERVICE))
        self._server.add_generic_rpc_handlers((health_handler(readiness, services),))
        # Asked last, for what nobody before it offers.
        self._server.add_generic_rpc_handlers((_EveryMethod(calls.unknown()),))
        self.port = int(listener.getsockname()[1])

    async def start(self) -> None:
        """Take calls from now on."""
        await self._server.start()

    async def wait_delivered(self) -> None:
        """Return when every answer of our service has been sent; health watches may go on."""
        for calls in self._calls:
            await calls.wait_delivered()

    async def stop(self) -> None:
        """End what is left (health watches too) and return when the port is free."""
        await self._server.stop(grace=0.5)


class _EveryMethod(grpc.GenericRpcHandler):
    """Has the same handler for every method, or for every one of some services."""

    def __init__(self, handler: RpcHandler, *, within: Collection[str] | None = None) -> None:
        self._handler = handler
        self._within = within

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "RpcHandler | None":
        service = handler_call_details.method.strip("/").partition("/")[0]
        return self._handler if self._within is None or service in self._within else None


def _connection_limits(limits: TransportLimits) -> ConnectionLimits:
    return ConnectionLimits(
        max_calls=MAX_CONNECTION_STREAMS,
        max_header_bytes=limits.max_head_bytes,
        # The exact limit is ours, with an error of the one table.
        max_message_bytes=_TRANSPORT_MESSAGE_BYTES,
        greeting_seconds=limits.receive_timeout_seconds,
        message_seconds=limits.receive_timeout_seconds,
        idle_seconds=limits.idle_timeout_seconds,
        stall_seconds=limits.stall_timeout_seconds,
        max_age_seconds=limits.max_connection_age_seconds,
        age_grace_seconds=limits.max_connection_age_grace_seconds,
    )
