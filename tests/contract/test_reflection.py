"""Reflection in both versions: everything that is listed is described, and so are its methods."""

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2 as pb

from tests.contract.live_server import START_SECONDS, Server

VERSIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


def ask(
    server: Server, version: str, *requests: pb.ServerReflectionRequest
) -> list[pb.ServerReflectionResponse]:
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.stream_stream(
            f"/{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=pb.ServerReflectionRequest.SerializeToString,
            response_deserializer=pb.ServerReflectionResponse.FromString,
        )
        return list(call(iter(requests), timeout=START_SECONDS))


def of_symbol(name: str) -> pb.ServerReflectionRequest:
    return pb.ServerReflectionRequest(file_containing_symbol=name)


@pytest.mark.parametrize("version", VERSIONS)
def test_whatever_is_listed_is_described(server: Server, version: str) -> None:
    """Interfaces 29, 39: k6 gives up at the first service that it cannot look up."""
    (listed,) = ask(server, version, pb.ServerReflectionRequest(list_services=""))
    names = [each.name for each in listed.list_services_response.service]
    assert {f"{each}.ServerReflection" for each in VERSIONS} < set(names)
    assert "nextword.v1.TextGenerationService" in names
    answers = ask(server, version, *map(of_symbol, names))
    for name, answer in zip(names, answers, strict=True):
        files = [
            FileDescriptorProto.FromString(data)
            for data in answer.file_descriptor_response.file_descriptor_proto
        ]
        described = {f"{each.package}.{one.name}" for each in files for one in each.service}
        assert name in described
        # Whoever has these files needs no others.
        known = {each.name for each in files}
        assert all(set(each.dependency) <= known for each in files)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_method_is_found_by_its_name(server: Server, version: str) -> None:
    """Interfaces 29: `grpcurl describe SERVICE.METHOD`."""
    names = (
        "nextword.v1.TextGenerationService.StreamGenerateText",
        "grpc.reflection.v1.ServerReflection.ServerReflectionInfo",
        "nextword.v1.Nobody.Nothing",
    )
    found, also_found, missing = ask(server, version, *map(of_symbol, names))
    assert found.HasField("file_descriptor_response")
    assert also_found.HasField("file_descriptor_response")
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
