"""The errors of gRPC's calls as the table has them, whoever ended them: a server or the library."""

import re
from collections.abc import Mapping, Sequence

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from nextword.address import Address
from nextword.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorFacts,
    NextwordError,
    StatusError,
    status_error,
    status_of,
)

__all__ = ["DETAILS_KEY", "read_error", "translate"]

DETAILS_KEY = "grpc-status-details-bin"

# How the library says that it has found no connection to send a call on. In any other words of its
# own the call may have been sent: a server's first metadata may come as late as its whole answer.
_UNREACHED = re.compile(
    "failed to connect to all addresses|connections to all backends failing"
    "|DNS resolution failed|no addresses|empty address list",
    re.IGNORECASE,
)
# The HTTP status beside each gRPC status, for errors whose code is not in the table.
_HTTP_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "UNIMPLEMENTED": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def translate(error: grpc.Call, address: Address) -> NextwordError:
    """The error of a call that ended with a status."""
    code, message = error.code(), error.details() or ""
    trailing = dict(error.trailing_metadata() or ())
    initial = dict(error.initial_metadata() or ())
    details = trailing.get(DETAILS_KEY, b"")
    request_id = initial.get("x-request-id")
    if not details:
        # No server of ours sends a status without details, so it comes from the library here.
        match code:
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                facts = ErrorFacts(code="deadline_exceeded", status=504)
                return DeadlineExceededError("the time was over, and no word about it", facts=facts)
            case grpc.StatusCode.UNAVAILABLE if not initial and _UNREACHED.search(message):
                return ConnectionFailedError(f"nobody answers at {address.url}: {message}")
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
                return _broken(address, message)
            case _ if "RST_STREAM" in message:
                return _broken(address, message)
            case _:
                pass
    return read_error(
        code,
        message,
        details if isinstance(details, bytes) else details.encode(),
        request_id=request_id if isinstance(request_id, str) else None,
    )


def _broken(address: Address, message: str) -> ConnectionFailedError:
    return ConnectionFailedError(f"the connection to {address.url} broke: {message}", was_sent=True)


def read_error(
    code: grpc.StatusCode, message: str, details: bytes, *, request_id: str | None
) -> StatusError:
    """The error of a status with details, as the table has it.

    Args:
        code: The call's status.
        message: Its text.
        details: A serialized google.rpc.Status, empty where there is none.
        request_id: The request's id as the initial metadata have it.
    """
    word, field, retry_after = code.name.lower(), None, None
    metadata: Mapping[str, str] = {}
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, asked = error_details_pb2.RetryInfo(), error_details_pb2.RequestInfo()
    for packed in _details(details):
        if packed.Unpack(info):
            word, metadata = info.reason.lower(), dict(info.metadata)
        elif packed.Unpack(bad):
            field = next((item.field for item in bad.field_violations), None)
        elif packed.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        elif packed.Unpack(asked):
            request_id = asked.request_id
    facts = ErrorFacts(
        code=word,
        status=status_of(word, otherwise=_HTTP_STATUSES.get(code.name, 500)),
        field=field,
        retry_after_seconds=retry_after,
        request_id=request_id,
        metadata=metadata,
    )
    return status_error(message, facts=facts)


def _details(data: bytes) -> Sequence[any_pb2.Any]:
    try:
        return status_pb2.Status.FromString(data).details
    except DecodeError:
        return ()  # of a server of another kind
