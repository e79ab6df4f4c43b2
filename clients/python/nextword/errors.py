"""What can go wrong when a program asks a Nextword server, the same over both protocols.

NextwordError
  NotPossibleError         what was asked for cannot be done, and nothing was sent
    AddressError           the URL is not one of a server
  ConnectionFailedError    nobody answers there, or the connection broke
  ProtocolError            what came back is not what a Nextword server sends
  StatusError              the server answered with an error: a row of its table
    InvalidRequestError    the request is wrong and stays wrong
    AuthenticationError    the key is missing or wrong
    NotFoundError          no such model, no such path
    OverloadedError        the server or the caller's share is full: come back later
    DeadlineExceededError  the time was over, there or here
    UnavailableError       loading, leaving, or the engine is coming back
    ServerFaultError       the server failed at this request
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

__all__ = [
    "ERROR_ROWS",
    "AddressError",
    "AuthenticationError",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "ErrorFacts",
    "ErrorRow",
    "InvalidRequestError",
    "NextwordError",
    "NotFoundError",
    "NotPossibleError",
    "OverloadedError",
    "ProtocolError",
    "ServerFaultError",
    "StatusError",
    "UnavailableError",
    "status_error",
    "status_of",
]


class NextwordError(Exception):
    """Anything that this client raises; its text is one line for a person."""


class NotPossibleError(NextwordError):
    """What was asked for cannot be done, and nothing was sent."""


class AddressError(NotPossibleError):
    """The URL is not one of a server."""


class ConnectionFailedError(NextwordError):
    """Nobody answers at the address, or the connection broke before the answer was whole.

    Args:
        message: What happened.
        was_sent: Whether the server may have got the request, and may be working on it.
    """

    def __init__(self, message: str, *, was_sent: bool = False) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class ProtocolError(NextwordError):
    """What came back is not what a Nextword server sends, or ended in the middle."""


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What an error says beside its message.

    Attributes:
        code: The stable word of the row, for example ``server_overloaded``.
        status: The row's HTTP status, over gRPC too.
        field: Name of the field at fault.
        retry_after_seconds: When the server would rather be asked again.
        request_id: The request's id, as in the server's log.
        should_retry: The server's own word on whether to ask again, where it gave one.
        metadata: Further facts, for example ``n_prompt`` and ``n_ctx``.
    """

    code: str
    status: int
    field: str | None = None
    retry_after_seconds: float | None = None
    request_id: str | None = None
    should_retry: bool | None = None
    metadata: Mapping[str, str] = dataclass_field(default_factory=dict[str, str])


class StatusError(NextwordError):
    """The server answered with an error.

    Args:
        message: The server's own line.
        facts: What it says beside the message.
    """

    def __init__(self, message: str, *, facts: ErrorFacts) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    @property
    def code(self) -> str:
        """The stable word of the error, for example ``context_length_exceeded``."""
        return self.facts.code

    @property
    def status(self) -> int:
        """The error's HTTP status, over gRPC too."""
        return self.facts.status

    @property
    def field(self) -> str | None:
        """Name of the field at fault."""
        return self.facts.field

    @property
    def retry_after_seconds(self) -> float | None:
        """When the server would rather be asked again."""
        return self.facts.retry_after_seconds

    @property
    def request_id(self) -> str | None:
        """The request's id, as in the server's log."""
        return self.facts.request_id

    @property
    def is_retryable(self) -> bool:
        """Whether the same request may succeed later."""
        if self.facts.should_retry is not None:
            return self.facts.should_retry
        row = ERROR_ROWS.get(self.code)
        return row.is_retryable if row is not None else self.status in (408, 429, 502, 503)


class InvalidRequestError(StatusError):
    """The request is wrong, and stays wrong."""


class AuthenticationError(StatusError):
    """The key is missing or wrong."""


class NotFoundError(StatusError):
    """No such model, or no such path."""


class OverloadedError(StatusError):
    """The server or the caller's share of it is full; `retry_after_seconds` says when to return."""


class DeadlineExceededError(StatusError):
    """The request's time was over, there or here."""


class UnavailableError(StatusError):
    """The server is loading, leaving, or its engine is coming back."""


class ServerFaultError(StatusError):
    """The server failed at this request."""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row of the table that the server's two protocols share."""

    status: int
    error: type[StatusError]
    is_retryable: bool = False


ERROR_ROWS: Mapping[str, ErrorRow] = {
    "invalid_value": ErrorRow(400, InvalidRequestError),
    "invalid_json": ErrorRow(400, InvalidRequestError),
    "unsupported_parameter": ErrorRow(400, InvalidRequestError),
    "context_length_exceeded": ErrorRow(400, InvalidRequestError),
    "invalid_http": ErrorRow(400, InvalidRequestError),
    "url_too_long": ErrorRow(414, InvalidRequestError),
    "request_too_large": ErrorRow(413, InvalidRequestError),
    "headers_too_large": ErrorRow(431, InvalidRequestError),
    "unsupported_media_type": ErrorRow(415, InvalidRequestError),
    "method_not_allowed": ErrorRow(405, InvalidRequestError),
    "invalid_api_key": ErrorRow(401, AuthenticationError),
    "unknown_url": ErrorRow(404, NotFoundError),
    "model_not_found": ErrorRow(404, NotFoundError),
    "server_overloaded": ErrorRow(429, OverloadedError, is_retryable=True),
    "rate_limit_exceeded": ErrorRow(429, OverloadedError, is_retryable=True),
    "deadline_exceeded": ErrorRow(504, DeadlineExceededError),
    "request_timeout": ErrorRow(408, DeadlineExceededError, is_retryable=True),
    "model_loading": ErrorRow(503, UnavailableError, is_retryable=True),
    "draining": ErrorRow(503, UnavailableError, is_retryable=True),
    "too_many_connections": ErrorRow(503, UnavailableError, is_retryable=True),
    "engine_unavailable": ErrorRow(503, UnavailableError, is_retryable=True),
    "reader_too_slow": ErrorRow(503, UnavailableError, is_retryable=True),
    "numerical_error": ErrorRow(500, ServerFaultError),
    "internal_error": ErrorRow(500, ServerFaultError),
}


def status_of(code: str, *, otherwise: int) -> int:
    """The HTTP status of a code's row; where the code is a new one, the other one."""
    row = ERROR_ROWS.get(code)
    return row.status if row is not None else otherwise


def status_error(message: str, *, facts: ErrorFacts) -> StatusError:
    """The error of the right class: by its code, or by its status where the code is a new one."""
    row = ERROR_ROWS.get(facts.code)
    error = row.error if row is not None else _class_of_status(facts.status)
    return error(message, facts=facts)


def _class_of_status(status: int) -> type[StatusError]:
    match status:
        case 401 | 403:
            return AuthenticationError
        case 404:
            return NotFoundError
        case 408 | 504:
            return DeadlineExceededError
        case 429:
            return OverloadedError
        case 502 | 503:
            return UnavailableError
        case _ if 400 <= status < 500:
            return InvalidRequestError
        case _:
            return ServerFaultError
