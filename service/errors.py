"""The one table of errors that both protocols share, and the exception that carries a row of it.

Messages are composed by us; the text of other people's exceptions goes to the log only.
"""

import enum
from collections.abc import Generator, Mapping
from contextlib import contextmanager

__all__ = [
    "ErrorKind",
    "RequestError",
    "fields_inside",
    "invalid_value",
    "not_offered",
    "unsupported_parameter",
]


class ErrorKind(enum.Enum):
    """Every error that a client can be told.

    Each row: the code in a REST body (in upper case the reason in gRPC's ErrorInfo), the HTTP
    status of an answer whose headers are not out yet, the name of the grpc.StatusCode, OpenAI's
    word for the class of errors, and whether the same request may succeed later.
    """

    INVALID_VALUE = ("invalid_value", 400, "INVALID_ARGUMENT", "invalid_request_error", False)
    INVALID_JSON = ("invalid_json", 400, "INVALID_ARGUMENT", "invalid_request_error", False)
    UNSUPPORTED_PARAMETER = (
        "unsupported_parameter",
        400,
        "INVALID_ARGUMENT",
        "invalid_request_error",
        False,
    )
    CONTEXT_LENGTH_EXCEEDED = (
        "context_length_exceeded",
        400,
        "INVALID_ARGUMENT",
        "invalid_request_error",
        False,
    )
    REQUEST_TOO_LARGE = (
        "request_too_large",
        413,
        "RESOURCE_EXHAUSTED",
        "invalid_request_error",
        False,
    )
    # What is no HTTP/1.1 that we read; gRPC has its own framing.
    INVALID_HTTP = ("invalid_http", 400, "INVALID_ARGUMENT", "invalid_request_error", False)
    HEADERS_TOO_LARGE = (
        "headers_too_large",
        431,
        "RESOURCE_EXHAUSTED",
        "invalid_request_error",
        False,
    )
    URL_TOO_LONG = ("url_too_long", 414, "RESOURCE_EXHAUSTED", "invalid_request_error", False)
    # It did not arrive whole in time.
    REQUEST_TIMEOUT = ("request_timeout", 408, "DEADLINE_EXCEEDED", "timeout_error", True)
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported_media_type",
        415,
        "INVALID_ARGUMENT",
        "invalid_request_error",
        False,
    )
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        405,
        "UNIMPLEMENTED",
        "invalid_request_error",
        False,
    )
    INVALID_API_KEY = ("invalid_api_key", 401, "UNAUTHENTICATED", "authentication_error", False)
    UNKNOWN_URL = ("unknown_url", 404, "UNIMPLEMENTED", "not_found_error", False)
    MODEL_NOT_FOUND = ("model_not_found", 404, "NOT_FOUND", "not_found_error", False)
    SERVER_OVERLOADED = ("server_overloaded", 429, "RESOURCE_EXHAUSTED", "overloaded_error", True)
    RATE_LIMIT_EXCEEDED = (
        "rate_limit_exceeded",
        429,
        "RESOURCE_EXHAUSTED",
        "rate_limit_error",
        True,
    )
    DEADLINE_EXCEEDED = ("deadline_exceeded", 504, "DEADLINE_EXCEEDED", "timeout_error", False)
    # The client went away: seen in log and metrics only.
    CANCELLED = ("cancelled", 499, "CANCELLED", "cancelled", False)
    MODEL_LOADING = ("model_loading", 503, "UNAVAILABLE", "unavailable_error", True)
    DRAINING = ("draining", 503, "UNAVAILABLE", "unavailable_error", True)
    TOO_MANY_CONNECTIONS = ("too_many_connections", 503, "UNAVAILABLE", "unavailable_error", True)
    ENGINE_UNAVAILABLE = ("engine_unavailable", 503, "UNAVAILABLE", "unavailable_error", True)
    # A stream whose reader took nothing for long gave its place to others.
    READER_TOO_SLOW = ("reader_too_slow", 503, "UNAVAILABLE", "unavailable_error", True)
    NUMERICAL_ERROR = ("numerical_error", 500, "INTERNAL", "server_error", False)
    INTERNAL_ERROR = ("internal_error", 500, "INTERNAL", "server_error", False)

    def __init__(
        self, code: str, http_status: int, grpc_status: str, error_type: str, is_retryable: bool
    ) -> None:
        self.code = code
        self.http_status = http_status
        self.grpc_status = grpc_status
        self.error_type = error_type
        self.is_retryable = is_retryable


class RequestError(Exception):
    """A request ends with a row of the table.

    Args:
        kind: The row.
        message: One line for the client: what is wrong, the limit and the given value.
        field: Name of the field at fault, None where none is.
        retry_after_seconds: When to come back, for kinds that can be retried.
        metadata: Facts beside the message, as gRPC's ErrorInfo carries them.
        quota: Which allowance is used up, for RATE_LIMIT_EXCEEDED; gRPC's QuotaFailure names it.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        field: str | None = None,
        retry_after_seconds: int | None = None,
        metadata: Mapping[str, str] | None = None,
        quota: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.field = field
        self.retry_after_seconds = retry_after_seconds
        self.metadata = dict(metadata or {})
        self.quota = quota


def invalid_value(field: str, message: str) -> RequestError:
    """The error of a field whose value cannot be used; the message begins with the field."""
    return RequestError(ErrorKind.INVALID_VALUE, f"{field} {message}", field=field)


def unsupported_parameter(field: str, message: str) -> RequestError:
    """The error of a field that is not offered."""
    return RequestError(ErrorKind.UNSUPPORTED_PARAMETER, f"{field} {message}", field=field)


@contextmanager
def fields_inside(place: str) -> Generator[None, None, None]:
    """Where the block raises the error of a field, tell what holds the field.

    Args:
        place: What stands before the field's name, as in ``parameters[1].``.
    """
    try:
        yield
    except RequestError as error:
        if error.field is None:
            raise
        # The message begins with the field.
        raise RequestError(
            error.kind, f"{place}{error.message}", field=f"{place}{error.field}"
        ) from None


def not_offered() -> RequestError:
    """The error of what a server without a glass box does not show."""
    return RequestError(ErrorKind.UNKNOWN_URL, "not offered: this server runs with --glass-box off")
