"""What only gRPC has: unreadable messages, deadlines, metadata, health, reflection."""

from collections.abc import Iterable, Iterator
from typing import cast

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from nextword.v1 import text_generation_pb2 as pb
from nextword.v1.text_generation_pb2_grpc import TextGenerationServiceStub

from tests.contract.live_server import Server, health_stub

SERVICE = "nextword.v1.TextGenerationService"


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def code_of(error: pytest.ExceptionInfo[grpc.RpcError]) -> grpc.StatusCode:
    return cast("grpc.Call", error.value).code()


@pytest.mark.parametrize("method", ["GenerateText", "StreamGenerateText", "Tokenize"])
@pytest.mark.parametrize("data", [b"\x12\x02\xff\xfe", b"\xff\xff\xff", b"\x12\x50abc"])
def test_bytes_that_are_no_message_are_an_invalid_argument(
    channel: grpc.Channel, method: str, data: bytes
) -> None:
    """H32: bad UTF-8 in a string, garbage, a truncated field."""
    path = f"/{SERVICE}/{method}"
    open_call = channel.unary_stream if method == "StreamGenerateText" else channel.unary_unary
    with pytest.raises(grpc.RpcError) as error:
        # Either kind of call ends before its first answer.
        list(cast("Iterable[bytes]", open_call(path)(data, timeout=30)))
    assert code_of(error) is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_beyond_the_limit_is_refused(channel: grpc.Channel) -> None:
    """H85."""
    request = pb.GenerateTextRequest(prompt="x" * (1024 * 1024 + 1))
    with pytest.raises(grpc.RpcError) as error:
        TextGenerationServiceStub(channel).GenerateText(request, timeout=30)
    assert code_of(error) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    """H90."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"/{SERVICE}/Nothing")(b"", timeout=30)
    assert code_of(error) is grpc.StatusCode.UNIMPLEMENTED


def test_zero_temperature_differs_from_none(channel: grpc.Channel) -> None:
    """Interfaces 31."""
    stub = TextGenerationServiceStub(channel)
    zero = stub.GenerateText(
        pb.GenerateTextRequest(prompt="x", parameters=pb.SamplingParameters(temperature=0))
    )
    none = stub.GenerateText(pb.GenerateTextRequest(prompt="x"))
    assert (zero.parameters.temperature, none.parameters.temperature) == (0.0, 0.9)


def test_the_request_id_comes_back_in_metadata_and_answer(channel: grpc.Channel) -> None:
    """Interfaces 41."""
    call = TextGenerationServiceStub(channel).GenerateText
    answer, info = call.with_call(
        pb.GenerateTextRequest(prompt="x"), metadata=(("x-request-id", "my-id"),)
    )
    assert dict(info.initial_metadata())["x-request-id"] == "my-id" == answer.id


def test_models_and_tokens_are_those_of_rest(server: Server, channel: grpc.Channel) -> None:
    stub = TextGenerationServiceStub(channel)
    model, ngram = stub.ListModels(pb.ListModelsRequest()).models
    assert (ngram.id, ngram.kind) == ("tiny:ngram", pb.MODEL_KIND_NGRAM)
    rest = server.get("/v1/models/tiny").json()
    assert (model.id, model.version, model.context_tokens) == ("tiny", "1", 4096)
    assert model.num_parameters == rest["num_parameters"]
    assert not model.default_parameters.HasField("seed")
    assert (model.status, list(model.versions)) == (pb.MODEL_STATUS_READY, ["1"])
    assert (model.device, model.dtype, model.executor) == ("cpu", "float32", "cpu-kernels")
    assert model.max_running == 4
    assert model.kv_cache_tokens >= model.context_tokens
    assert stub.GetModel(pb.GetModelRequest(id="tiny@1")).card == rest["card"]
    tokens = stub.Tokenize(pb.TokenizeRequest(text="a\u00e9")).tokens
    assert [token.id for token in tokens] == [
        token["id"] for token in server.post("/v1/tokenize", {"text": "a\u00e9"}).json()["tokens"]
    ]
    ids = [token.id for token in tokens]
    assert stub.Detokenize(pb.DetokenizeRequest(ids=ids)).text == "a\u00e9"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_shows_the_services_and_their_files(channel: grpc.Channel, version: str) -> None:
    """Interfaces 29."""
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    questions = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]
    listed, described = ask(iter(questions), timeout=30)
    names = {service.name for service in listed.list_services_response.service}
    assert names == {
        SERVICE,
        "nextword.v1.GlassBoxService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    files = described.file_descriptor_response.file_descriptor_proto
    found = {FileDescriptorProto.FromString(file).name for file in files}
    assert "nextword/v1/text_generation.proto" in found


def test_health_knows_the_server_and_the_service_only(channel: grpc.Channel) -> None:
    """Interfaces 37, H111."""
    stub = health_stub(channel)
    for service in ("", SERVICE):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=30)
    assert code_of(error) is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=30)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()
