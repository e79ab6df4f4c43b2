"""Errors as gRPC statuses with google.rpc details: reason, field at fault, when to retry.

Trailers have a default limit of 8 KiB in clients, so the details stay below 4 KiB whatever the
message says.
"""

import itertools
from typing import NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from service.errors import RequestError
from service.grpc_transport.call import Call

__all__ = ["MAX_DETAILS_BYTES", "abort", "status_message", "status_metadata"]

DOMAIN = "nextword"
MAX_DETAILS_BYTES = 4000
# The message stands in the status, in its details and, percent-encoded, in a header of its own.
_MAX_MESSAGE_BYTES = 600
_MAX_NAME_BYTES = 100
_MAX_FACTS = 8
_DETAILS_KEY = "grpc-status-details-bin"


def status_message(error: RequestError) -> str:
    """The message of the status."""
    return _cut(error.message, _MAX_MESSAGE_BYTES)


def status_metadata(error: RequestError, *, request_id: str) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata that carries an error's details."""
    status = status_pb2.Status(
        code=grpc.StatusCode[error.kind.grpc_status].value[0], message=status_message(error)
    )
    for detail in _details(error, request_id):
        status.details.add().Pack(detail)
    data = status.SerializeToString()
    assert len(data) <= MAX_DETAILS_BYTES
    return ((_DETAILS_KEY, data),)


def _details(error: RequestError, request_id: str) -> list[Message]:
    message = status_message(error)
    facts = itertools.islice(error.metadata.items(), _MAX_FACTS)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=error.kind.code.upper(),
            domain=DOMAIN,
            metadata={
                _cut(name, _MAX_NAME_BYTES): _cut(value, _MAX_NAME_BYTES) for name, value in facts
            },
        ),
        error_details_pb2.RequestInfo(request_id=_cut(request_id, _MAX_NAME_BYTES)),
    ]
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(error.field, _MAX_NAME_BYTES), description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_seconds is not None:
        delay = Duration(seconds=error.retry_after_seconds)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.quota is not None:
        exceeded = error_details_pb2.QuotaFailure.Violation(
            subject=_cut(error.quota, _MAX_NAME_BYTES), description=message
        )
        details.append(error_details_pb2.QuotaFailure(violations=[exceeded]))
    return details


def _cut(text: str, max_bytes: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return data.decode("utf-8")
    return data[: max_bytes - 3].decode("utf-8", "ignore") + "..."


async def abort(context: Call, error: RequestError, *, request_id: str) -> NoReturn:
    """End a call with an error."""
    await context.abort(
        grpc.StatusCode[error.kind.grpc_status],
        status_message(error),
        trailing_metadata=status_metadata(error, request_id=request_id),
    )
