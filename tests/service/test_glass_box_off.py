"""--glass-box: who may see how words are chosen, and what all others are told."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import grpc
import httpx2
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from nextword.v1 import glass_box_pb2

from service.errors import ErrorKind, RequestError
from service.exposure import offers_glass_box
from service.generation import GenerationRequest
from service.glass_box.inspection import InspectionRequest
from service.health import Health
from service.metrics import Metrics
from service.models.served_models import ServedModels
from service.page.routes import page_paths
from service.parameters import RequestedParameters
from service.request_log import RequestLog, RequestRecord
from service.rest_api.glass_box_routes import GLASS_BOX_PATHS
from service.rest_api.server import create_app
from service.text_generator import TextGenerator
from tests.contract.live_server import health_stub
from tests.service.grpc_connections import running_grpc_server

TOLD = "--glass-box off"


@pytest.mark.parametrize(
    ("choice", "host", "has_keys", "is_offered"),
    [
        ("auto", "127.0.0.1", False, True),
        ("auto", "::1", False, True),
        ("auto", "localhost", False, True),
        ("auto", "0.0.0.0", False, False),
        ("auto", "203.0.113.5", False, False),
        ("auto", "0.0.0.0", True, True),
        ("on", "0.0.0.0", False, True),
        ("off", "127.0.0.1", True, False),
    ],
)
def test_it_is_offered_to_this_machine_and_to_those_with_keys(
    choice: str, host: str, has_keys: bool, is_offered: bool
) -> None:
    assert offers_glass_box(choice, host, has_keys=has_keys) is is_offered


def closed_app() -> Any:
    metrics = Metrics()
    return create_app(
        TextGenerator(ServedModels(), offers_inspection=False),
        ServedModels(),
        health=Health(),
        log=RequestLog(metrics),
        metrics=metrics,
        glass_box=None,
    )


def test_rest_says_of_each_of_its_paths_that_it_is_off() -> None:
    async def statuses() -> dict[tuple[str, str], tuple[int, str]]:
        transport = httpx2.ASGITransport(closed_app())
        seen: dict[tuple[str, str], tuple[int, str]] = {}
        async with httpx2.AsyncClient(transport=transport, base_url="http://nextword") as http:
            for path in (*GLASS_BOX_PATHS, *page_paths(), "/openapi.json"):
                for method in ("GET", "POST"):
                    answer = await http.request(method, path)
                    error = answer.json()["error"]
                    assert error["code"] == "unknown_url", path
                    seen[method, path] = (answer.status_code, error["message"])
            assert (await http.get("/livez")).status_code == 200
        return seen

    seen = asyncio.run(statuses())
    assert len(seen) > 2 * len(GLASS_BOX_PATHS)
    assert {status for status, _ in seen.values()} == {404}
    assert all(TOLD in message for _, message in seen.values())


@pytest.mark.parametrize(
    "method",
    [
        "nextword.v1.GlassBoxService/InspectText",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_grpc_says_of_its_services_that_they_are_off(method: str) -> None:
    async def refused() -> grpc.aio.AioRpcError:
        async with running_grpc_server() as server, server.channel() as channel:
            call = cast(
                "grpc.aio.StreamStreamMultiCallable[bytes, bytes]",
                channel.stream_stream(f"/{method}"),
            )
            request = glass_box_pb2.InspectTextRequest(text="ab").SerializeToString()
            with pytest.raises(grpc.aio.AioRpcError) as error:
                async for _ in call(iter([request])):
                    pass
            return error.value

    error = asyncio.run(refused())
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert TOLD in (error.details() or "")
    metadata = dict(cast("Iterable[tuple[str, bytes]]", error.trailing_metadata()))
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "UNKNOWN_URL"


def test_health_does_not_know_a_service_that_is_off() -> None:
    async def asked() -> grpc.StatusCode:
        async with running_grpc_server() as server, server.channel() as channel:
            request = health_pb2.HealthCheckRequest(service="nextword.v1.GlassBoxService")
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await health_stub(cast("grpc.Channel", channel)).Check(request)
            return error.value.code()

    assert asyncio.run(asked()) is grpc.StatusCode.NOT_FOUND


def test_generating_refuses_to_be_inspected() -> None:
    generator = TextGenerator(ServedModels(), offers_inspection=False)
    request = GenerationRequest(
        model=None,
        prompt="a",
        prompt_ids=None,
        parameters=RequestedParameters(),
        inspect=InspectionRequest(),
    )
    record = RequestRecord(request_id="r", protocol="rest", route="/v1/generate")
    with pytest.raises(RequestError) as refused:
        asyncio.run(generator.prepare(request, record))
    assert (refused.value.kind, refused.value.field) == (
        ErrorKind.UNSUPPORTED_PARAMETER,
        "inspect",
    )
    assert TOLD in refused.value.message
