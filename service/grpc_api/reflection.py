"""Reflection in both of its versions, for clients that know no proto of ours.

The library knows v1alpha only, and of a service's methods nothing by name. Clients list services,
ask where each is described, and give up where one is not: so everything listed is described here.
"""

from typing import Protocol, cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

from service.grpc_transport.server import TransportServer

__all__ = ["REFLECTION_SERVICES", "add_reflection"]

_V1 = "grpc.reflection.v1"
_V1_SERVICE = f"{_V1}.ServerReflection"
_V1_FILE = "grpc/reflection/v1/reflection.proto"
REFLECTION_SERVICES = (reflection.SERVICE_NAME, _V1_SERVICE)


class _Pool(Protocol):
    """As much of a pool of descriptors as is looked up here."""

    def FindFileByName(self, file_name: str) -> FileDescriptor: ...  # noqa: N802
    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor: ...  # noqa: N802


class _ShownPool:
    """All descriptors of this process, those of reflection's version 1, and methods by name."""

    def __init__(self) -> None:
        self._all = descriptor_pool.Default()
        self._v1 = cast("_Pool", _pool_of_v1())

    def FindFileByName(self, file_name: str) -> FileDescriptor:  # noqa: N802
        """The file of a name."""
        pool = self._v1 if file_name == _V1_FILE else self._all
        return pool.FindFileByName(file_name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802
        """The file that describes a service, a message, or a part of either."""
        pool = self._v1 if symbol.startswith(f"{_V1}.") else self._all
        try:
            return pool.FindFileContainingSymbol(symbol)
        except KeyError:
            # The methods of a service are described where it is.
            return pool.FindFileContainingSymbol(symbol.rpartition(".")[0])

    def __getattr__(self, name: str) -> object:
        # What is asked about extensions, which there are none of.
        return getattr(self._all, name)


def _pool_of_v1() -> descriptor_pool.DescriptorPool:
    """Version 1 has the same messages as v1alpha, in a package of its own."""
    older = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(older)
    newer = descriptor_pb2.FileDescriptorProto(name=_V1_FILE, package=_V1, syntax=older.syntax)

    def renamed(type_name: str) -> str:
        return type_name.replace(f".{older.package}.", f".{_V1}.", 1)

    newer.message_type.extend(older.message_type)
    newer.service.extend(older.service)
    for field in (field for message in newer.message_type for field in message.field):
        if field.type_name:
            field.type_name = renamed(field.type_name)
    for method in (method for service in newer.service for method in service.method):
        method.input_type = renamed(method.input_type)
        method.output_type = renamed(method.output_type)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(newer)
    return pool


def add_reflection(server: TransportServer, services: tuple[str, ...]) -> None:
    """Let clients ask what there is.

    Args:
        server: Not started yet.
        services: Names of what it offers beside reflection itself.
    """
    names = (*services, *REFLECTION_SERVICES)
    servicer = reflection.aio.ReflectionServicer(names, pool=_ShownPool())
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,  # pyright: ignore[reportUnknownArgumentType]
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in REFLECTION_SERVICES:
        handler = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
        server.add_generic_rpc_handlers((handler,))
