"""Errors as gRPC statuses with google.rpc details: reason, field at fault, when to retry."""

from typing import NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from service.errors import RequestError

__all__ = ["abort", "status_metadata"]

DOMAIN = "nextword"
_DETAILS_KEY = "grpc-status-details-bin"


def status_metadata(error: RequestError, *, request_id: str) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata that carries an error's details."""
    status = status_pb2.Status(
        code=grpc.StatusCode[error.kind.grpc_status].value[0], message=error.message
    )
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason=error.kind.code.upper(), domain=DOMAIN, metadata=error.metadata
        )
    )
    status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    if error.field is not None:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_seconds is not None:
        delay = Duration(seconds=error.retry_after_seconds)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return ((_DETAILS_KEY, status.SerializeToString()),)


async def abort(
    context: "grpc.aio.ServicerContext[object, object]", error: RequestError, *, request_id: str
) -> NoReturn:
    """End a call with an error."""
    await context.abort(
        grpc.StatusCode[error.kind.grpc_status],
        error.message,
        trailing_metadata=status_metadata(error, request_id=request_id),
    )
