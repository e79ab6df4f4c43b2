"""One question to a server's health check, with as few imports as a probe can do with."""

import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from nextword.address import Address

__all__ = ["Health", "check_health"]

_READY = "ready"


@dataclass(frozen=True, slots=True)
class Health:
    """A server's answer over one protocol.

    Attributes:
        url: Who was asked.
        is_ready: Whether requests are taken there.
        status: ``ready``, or why not in the server's words or in ours.
    """

    url: str
    is_ready: bool
    status: str


def check_health(
    address: Address, *, timeout_seconds: float, ca_file: Path | None = None
) -> Health:
    """Ask whether requests are taken: ``/readyz`` over REST, ``grpc.health.v1`` over gRPC.

    Args:
        address: Who is asked.
        timeout_seconds: How long to wait for the answer.
        ca_file: Certificates to trust (PEM) instead of this machine's.

    Raises:
        AddressError: The certificates cannot be read.
    """
    match address.protocol:
        case "rest":
            status = _ask_rest(address, timeout_seconds, ca_file)
        case "grpc":
            status = _ask_grpc(address, timeout_seconds, ca_file)
    return Health(url=address.url, is_ready=status == _READY, status=status)


def _ask_rest(address: Address, timeout_seconds: float, ca_file: Path | None) -> str:
    # The standard library's client: this has to answer before a probe's patience ends.
    parts = urlsplit(address.url)
    if address.is_encrypted:
        from nextword.certificates import trusted

        connection = http.client.HTTPSConnection(
            address.host, address.port, timeout=timeout_seconds, context=trusted(ca_file)
        )
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_seconds)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/readyz")
        response = connection.getresponse()
        body = response.read()
    except TimeoutError:
        return f"no answer within {timeout_seconds:g} s"
    except OSError as error:
        return f"nobody answers: {error.strerror or error}"
    except http.client.HTTPException as error:
        return f"no HTTP answer: {type(error).__name__}"
    finally:
        connection.close()
    return _READY if response.status == 200 else _reason(response.status, body)


def _reason(status: int, body: bytes) -> str:
    try:
        reason = cast("object", json.loads(body)["status"])
    except (ValueError, KeyError, TypeError):
        reason = None
    return f"not ready: {reason if isinstance(reason, str) else f'HTTP status {status}'}"


def _ask_grpc(address: Address, timeout_seconds: float, ca_file: Path | None) -> str:
    import grpc
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

    from nextword.grpc_channel import open_channel

    with open_channel(address, ca_file=ca_file) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=HealthCheckRequest.SerializeToString,
            response_deserializer=HealthCheckResponse.FromString,
        )
        try:
            answer = check(HealthCheckRequest(), timeout=timeout_seconds)
        except grpc.RpcError as error:
            call = cast("grpc.Call", error)
            if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"no answer within {timeout_seconds:g} s"
            return f"nobody answers: {call.code().name}: {call.details()}"
    name = HealthCheckResponse.ServingStatus.Name(answer.status)
    return _READY if name == "SERVING" else f"not ready: {name}"
