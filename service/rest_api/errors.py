"""Errors as REST bodies: one shape for everything that is not a success."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from service.errors import ErrorKind, RequestError

__all__ = ["error_body", "error_headers", "error_response"]


def error_body(error: RequestError) -> dict[str, dict[str, object]]:
    """The JSON object of an error, in a body or in an event of a stream."""
    return {
        "error": {
            "message": error.message,
            "type": error.kind.error_type,
            "param": error.field,
            "code": error.kind.code,
            # All of them are counts; gRPC can carry them as strings only.
            **{name: int(value) for name, value in error.metadata.items()},
        }
    }


def error_headers(error: RequestError) -> dict[str, str]:
    """Headers beside the body: when to retry, or that it is no use."""
    headers: dict[str, str] = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if error.kind.http_status >= 500 and not error.kind.is_retryable:
        # Client libraries retry every 5xx by themselves unless they are told not to.
        headers["x-should-retry"] = "false"
    if error.kind is ErrorKind.INVALID_API_KEY:
        headers["WWW-Authenticate"] = "Bearer"
    if error.kind is ErrorKind.DRAINING:
        headers["Connection"] = "close"
    return headers


def error_response(error: RequestError, *, headers: Mapping[str, str] | None = None) -> Response:
    """A whole answer."""
    return Response(
        msgspec.json.encode(error_body(error)),
        status_code=error.kind.http_status,
        media_type="application/json",
        headers={**(headers or {}), **error_headers(error)},
    )
